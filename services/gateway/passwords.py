"""Checking passwords without stopping the event loop, and without paying twice for the slow ones.

A password that the CSMS made is checked in microseconds, in place. One that a person chose takes tens of milliseconds
in a small pool of threads; that it was right, or wrong, is remembered (as a keyed hash), so that stations which
reconnect all at once cost nothing, and neither does who tries the same wrong one again and again. Whose turn does not
come is told so: no password is called wrong that was not checked.
"""

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ocppcore import credentials
from services.gateway.line import Line

WAIT_S: Final = 5.0
"""For a slow check's turn: less than a handshake has."""
SHARE: Final = 4
"""One station's part of the slow checks that wait: a quarter."""


class Passwords:
    """`key` is `CSMS_PASSWORD_KEY`. At most `waiting_max` slow checks wait for a thread, `remembered_max` results are
    kept."""

    def __init__(self, key: bytes, *, threads: int, waiting_max: int, remembered_max: int) -> None:
        self._key = key
        self._threads = threads
        self._remembered_max = remembered_max
        self._line = Line(threads, waiting_max, max(1, waiting_max // SHARE), WAIT_S)
        self._right: dict[str, bytes] = {}
        self._wrong: dict[bytes, None] = {}
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._memory_key = secrets.token_bytes(32)
        self._pool: ThreadPoolExecutor | None = None
        self._decoy = credentials.hash_generated(secrets.token_urlsafe(30), key)

    def at_once(self, station: str, password: str, stored: str) -> bool | None:
        """Whether it is the station's password; a station without one has none that fits. None: that is for `check`
        to find out."""
        if not credentials.is_slow(stored):
            return credentials.verify(password, stored or self._decoy, self._key)
        mark = self.mark(station, password, stored)
        if hmac.compare_digest(self._right.get(station, b""), mark):
            return True
        return False if mark in self._wrong else None

    async def check(self, station: str, password: str, stored: str, source: str = "") -> bool:
        """The same, slowly where it has to be. Raises TooBusy: then it was not judged at all."""
        if (known := self.at_once(station, password, stored)) is not None:
            return known
        mark = self.mark(station, password, stored)
        if (task := self._checking.get(mark)) is None:
            task = asyncio.create_task(self._slowly(station, password, stored, mark, source))
            self._checking[mark] = task
            task.add_done_callback(lambda done: self._checked(mark, done))
        return await asyncio.shield(task)

    def _checked(self, mark: bytes, done: "asyncio.Task[bool]") -> None:
        """An error is for those who wait for it; maybe all of them have gone."""
        del self._checking[mark]
        if not done.cancelled():
            done.exception()

    async def _slowly(self, station: str, password: str, stored: str, mark: bytes, source: str) -> bool:
        async with self._line.turn(station, source):
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._executor(), credentials.verify, password, stored, self._key)
        if right:
            self._right.pop(station, None)
            self._right[station] = mark
        else:
            self._wrong[mark] = None
        if len(self._right) > self._remembered_max:
            del self._right[next(iter(self._right))]
        if len(self._wrong) > self._remembered_max:
            del self._wrong[next(iter(self._wrong))]
        return right

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="password")
        return self._pool

    def mark(self, station: str, password: str, stored: str = "") -> bytes:
        """What tells this password from others, in this process only."""
        text = f"{station}\0{stored}\0".encode() + password.encode(errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=32, key=self._memory_key).digest()
