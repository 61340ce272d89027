"""Ends a process whose event loop stands still: a record that hangs a decision must become one that killed it.

The engine counts deaths in the cell's row and parks the record at the third; it cannot count a process that hangs and
keeps its cells. A thread looks whether the loop still runs; if not, it writes all stacks to stderr and ends it.
"""

import asyncio
import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import AsyncIterator

HUNG = 70
"""The exit code (EX_SOFTWARE); whoever supervises the process starts it again."""


@contextlib.asynccontextmanager
async def watchdog(hang_s: float) -> AsyncIterator[None]:
    """Watch the running loop until the block ends; `hang_s`: how long it may stand still."""
    alive_at = [time.monotonic()]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(hang_s / 4):
            if time.monotonic() - alive_at[0] > hang_s:
                sys.stderr.write(f"csms: the event loop has stood still for {hang_s:.0f} s; ending this process\n")
                faulthandler.dump_traceback(all_threads=True)
                os._exit(HUNG)

    async def beat() -> None:
        while True:
            alive_at[0] = time.monotonic()
            await asyncio.sleep(hang_s / 10)

    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    beating = asyncio.create_task(beat())
    thread.start()
    try:
        yield
    finally:
        stop.set()
        beating.cancel()
