"""The watchdog, on real processes: one that hangs is ended, one that is only busy is not."""

import subprocess
import sys

from csms.watchdog import HUNG

PROGRAM = """
import asyncio, time
from csms.watchdog import watchdog

async def main():
    async with watchdog(0.5):
        await asyncio.sleep(0.1)
        {work}

asyncio.run(main())
"""


def run(work: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work)], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_loop_that_stands_still_ends_the_process_and_shows_where() -> None:
    ended = run("time.sleep(30)")
    assert ended.returncode == HUNG
    assert "stood still" in ended.stderr and "time.sleep" not in ended.stdout
    assert 'File "<string>"' in ended.stderr


def test_a_busy_loop_goes_on() -> None:
    assert run("[await asyncio.sleep(0.01) for _ in range(100)]").returncode == 0
