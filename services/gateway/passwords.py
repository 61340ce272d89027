"""Checking passwords without stopping the event loop, and without paying twice for the slow ones.

A password that the CSMS made is checked in microseconds, in place. One that a person chose takes tens of milliseconds
in a small pool of threads; that it was right, or wrong, is remembered (as a keyed hash), so that stations which
reconnect all at once cost nothing, and neither does who tries the same wrong one again and again.
"""

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

from ocppcore import credentials


class TooBusy(Exception):
    """More slow checks wait than the limit allows."""


class Suspicious(Exception):
    """The source waits for another slow check already."""


class Passwords:
    """`key` is `CSMS_PASSWORD_KEY`. At most `waiting_max` slow checks at a time, `remembered_max` results kept."""

    def __init__(self, key: bytes, *, threads: int, waiting_max: int, remembered_max: int) -> None:
        self._key = key
        self._threads = threads
        self._waiting_max = waiting_max
        self._remembered_max = remembered_max
        self._right: dict[str, bytes] = {}
        self._wrong: dict[bytes, None] = {}
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._lanes: set[tuple[str, str]] = set()
        self._memory_key = secrets.token_bytes(32)
        self._pool: ThreadPoolExecutor | None = None
        self._decoy = credentials.hash_generated(secrets.token_urlsafe(30), key)

    async def check(self, station: str, password: str, stored: str, source: str = "", *, suspect: bool = False) -> bool:
        """Whether it is the station's password; a station without one has none that fits.

        One source has one slow check of a station at a time, and with `suspect`, when many of its handshakes have
        failed, one at all: whoever guesses does not keep the others waiting. Raises TooBusy, Suspicious.
        """
        if not credentials.is_slow(stored):
            return credentials.verify(password, stored or self._decoy, self._key)
        mark = self._mark(station, password, stored)
        if hmac.compare_digest(self._right.get(station, b""), mark):
            return True
        if mark in self._wrong:
            return False
        if mark in self._checking:
            return await asyncio.shield(self._checking[mark])
        lanes = {(source, station), (source, "")} if suspect else {(source, station)}
        if lanes & self._lanes:
            raise Suspicious
        if len(self._checking) >= self._waiting_max:
            raise TooBusy
        task = asyncio.create_task(self._slowly(station, password, stored, mark))
        self._checking[mark] = task
        self._lanes |= lanes
        try:
            return await asyncio.shield(task)
        finally:
            self._lanes -= lanes

    async def _slowly(self, station: str, password: str, stored: str, mark: bytes) -> bool:
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._executor(), credentials.verify, password, stored, self._key)
        finally:
            del self._checking[mark]
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

    def _mark(self, station: str, password: str, stored: str) -> bytes:
        text = f"{station}\0{stored}\0".encode() + password.encode(errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=32, key=self._memory_key).digest()
