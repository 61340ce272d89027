"""Programs of the operator's, run beside us: without our environment, which holds secrets, and killed with all that
they started when they take too long or say too much.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Final

from services.auth.authority.port import AuthorityFailed

OUTPUT_BYTES_MAX: Final = 65_536
ERROR_CHARACTERS_MAX: Final = 200
CLOSED_WITHIN_S: Final = 1.0
REFUSED: Final = 65
"""EX_DATAERR: it will not do this one, however often it is asked."""
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": os.defpath, "LANG": "C.UTF-8"}


async def run(
    argv: Sequence[str], text: bytes, timeout_s: float, environment: Mapping[str, str] | None = None
) -> bytes:
    """What it wrote to its output, given `text` on its input and `environment` beside a bare one.

    Raises AuthorityFailed: for good when it ended with REFUSED, else it may be otherwise later.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, env={**ENVIRONMENT, **(environment or {})}, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise AuthorityFailed(f"{argv[0]} cannot be run: {error.strerror}", again=True) from None
    try:
        async with asyncio.timeout(timeout_s):
            output, said = await _talk(process, text)
            code = await process.wait()
    except TimeoutError:
        await _kill(process)
        raise AuthorityFailed(f"{argv[0]} took longer than {timeout_s:g} s", again=True) from None
    except BaseException:
        await _kill(process)
        raise
    if code != 0:
        why = said.decode(errors="replace").strip()[:ERROR_CHARACTERS_MAX]
        raise AuthorityFailed(f"{argv[0]} ended with {code}: {why}", again=code != REFUSED)
    return output


async def _kill(process: asyncio.subprocess.Process) -> None:
    """With whatever it has started, also where it has ended itself: the session is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    assert process.stdout and process.stderr, "pipes"
    with contextlib.suppress(TimeoutError):  # somebody who left the session may hold them open
        async with asyncio.timeout(CLOSED_WITHIN_S):
            for pipe in (process.stdout, process.stderr):
                while await pipe.read(8192):
                    """What it still had to say."""


async def _talk(process: asyncio.subprocess.Process, text: bytes) -> tuple[bytes, bytes]:
    """Its output and what it said on stderr, each read to its end; AuthorityFailed when either is too long."""
    assert process.stdin and process.stdout and process.stderr, "three pipes"
    written = asyncio.create_task(_write(process.stdin, text))
    output, said = asyncio.create_task(_all(process.stdout)), asyncio.create_task(_all(process.stderr))
    try:
        await asyncio.gather(output, said, written)
    finally:
        for one in (output, said, written):
            one.cancel()
        await asyncio.gather(output, said, written, return_exceptions=True)
    return output.result(), said.result()


async def _write(stdin: asyncio.StreamWriter, text: bytes) -> None:
    try:
        stdin.write(text)
        await stdin.drain()
        stdin.close()
        await stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return  # it does not want to read: what it says counts


async def _all(stream: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while part := await stream.read(8192):
        found += part
        if len(found) > OUTPUT_BYTES_MAX:
            raise AuthorityFailed(f"the program wrote more than {OUTPUT_BYTES_MAX} bytes", again=True)
    return bytes(found)
