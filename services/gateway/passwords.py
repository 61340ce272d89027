"""Checking passwords without stopping the event loop, and without paying twice for the slow ones.

A password that the CSMS made is checked in microseconds, in place. One that a person chose takes tens of milliseconds
in a small pool of threads; that it was right is remembered (as a keyed hash), so that stations which reconnect all
at once cost nothing.
"""

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

from ocppcore import credentials


class TooBusy(Exception):
    """More slow checks wait than the limit allows."""


class Passwords:
    """`key` is `CSMS_PASSWORD_KEY`. At most `waiting_max` slow checks at a time, `remembered_max` results kept."""

    def __init__(self, key: bytes, *, threads: int, waiting_max: int, remembered_max: int) -> None:
        self._key = key
        self._threads = threads
        self._waiting_max = waiting_max
        self._remembered_max = remembered_max
        self._waiting = 0
        self._right: dict[str, bytes] = {}
        self._memory_key = secrets.token_bytes(32)
        self._pool: ThreadPoolExecutor | None = None
        self._decoy = credentials.hash_generated(secrets.token_urlsafe(30), key)

    async def check(self, station: str, password: str, stored: str) -> bool:
        """Whether it is the station's password; a station without one has none that fits. Raises TooBusy."""
        if not credentials.is_slow(stored):
            return credentials.verify(password, stored or self._decoy, self._key)
        mark = self._mark(password, stored)
        if hmac.compare_digest(self._right.get(station, b""), mark):
            return True
        if self._waiting >= self._waiting_max:
            raise TooBusy
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._executor(), credentials.verify, password, stored, self._key)
        finally:
            self._waiting -= 1
        if right:
            self._right.pop(station, None)
            self._right[station] = mark
            if len(self._right) > self._remembered_max:
                del self._right[next(iter(self._right))]
        return right

    def close(self) -> None:
        """Stop the threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _executor(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="password")
        return self._pool

    def _mark(self, password: str, stored: str) -> bytes:
        text = stored.encode() + b"\0" + password.encode(errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=32, key=self._memory_key).digest()
