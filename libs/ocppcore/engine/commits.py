"""Commits, pipelined with deciding: while the store takes one batch, the next is decided on top of it.

At most one is under way, and a commit begins when the one before it is there: so they are durable in order, and what
was decided on top of one that failed is never sent to the store. Nothing of a batch leaves before its commit.
"""

import asyncio
from collections.abc import Awaitable, Callable

from ocppcore.store import Commit, Store


class Commits:
    """The one commit that may be under way."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._under_way: asyncio.Task[None] | None = None

    def begin(self, commit: Commit, then: Callable[[], Awaitable[None]]) -> None:
        """Send it to the store, and do `then` once it is there; what came before must have `landed`."""
        assert self._under_way is None, "the commit before this one has not landed"
        self._under_way = asyncio.create_task(self._carry_out(commit, then))

    async def _carry_out(self, commit: Commit, then: Callable[[], Awaitable[None]]) -> None:
        await self._store.commit(commit)
        await then()

    async def landed(self) -> None:
        """Wait until nothing is under way. Raises, once, what the commit failed with: all decided since is void."""
        task = self._under_way
        if task is not None:
            try:
                await task
            finally:
                self._under_way = None

    async def ended(self) -> None:
        """Wait until what is under way now has ended, however it did."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way])

    async def give_up(self) -> None:
        """Cancel what is under way: whether the store has it, the next owner of its cells finds there."""
        task, self._under_way = self._under_way, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()
