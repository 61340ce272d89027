"""Work that comes in crowds, a little of it in each turn of the event loop: between any two turns the loop serves those
who are connected."""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """`at_once` pieces of work in one turn, in the order in which they came."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._waiting: deque[Callable[[], None]] = deque()
        self._turning = False

    def add(self, work: Callable[[], None]) -> None:
        """Have it done in its turn."""
        self._waiting.append(work)
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._next)

    async def mine(self) -> None:
        """Return in one's turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add(lambda: None if turn.done() else turn.set_result(None))
        await turn

    def _next(self) -> None:
        """What fails takes its turn only."""
        try:
            for _ in range(min(self._at_once, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            self._turning = bool(self._waiting)
            if self._turning:
                asyncio.get_running_loop().call_soon(self._next)
