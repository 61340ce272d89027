"""An external program as authority: the CSR (PEM) on its input, the certificate and its CAs (PEM, any order) on its
output. Exit code 0: signed; 65 (EX_DATAERR): refused for good; any other: it may be otherwise later.

It runs without our environment, which holds secrets, and is killed when it takes too long or says too much.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocppcore.contracts.auth import CertificateUse
from services.auth.authority.port import AuthorityFailed, Wanted

OUTPUT_BYTES_MAX: Final = 65_536
ERROR_CHARACTERS_MAX: Final = 200
REFUSED: Final = 65
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": os.defpath, "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class CommandAuthority:
    """`commands`: the program and its arguments for each use."""

    commands: Mapping[CertificateUse, Sequence[str]]
    timeout_s: float

    @property
    def uses(self) -> frozenset[CertificateUse]:
        return frozenset(self.commands)

    async def sign(self, wanted: Wanted) -> Sequence[x509.Certificate]:
        """What the program wrote. Raises AuthorityFailed."""
        argv = self.commands[wanted.use]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, env=ENVIRONMENT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise AuthorityFailed(f"{argv[0]} cannot be run: {error.strerror}", again=True) from None
        try:
            async with asyncio.timeout(self.timeout_s):
                output, said = await _talk(process, wanted.request.public_bytes(Encoding.PEM))
                code = await process.wait()
        except TimeoutError:
            raise AuthorityFailed(f"{argv[0]} took longer than {self.timeout_s:g} s", again=True) from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started: the session is its own
                await process.wait()
        if code != 0:
            text = said.decode(errors="replace").strip()[:ERROR_CHARACTERS_MAX]
            raise AuthorityFailed(f"{argv[0]} ended with {code}: {text}", again=code != REFUSED)
        try:
            return x509.load_pem_x509_certificates(output)
        except (ValueError, x509.InvalidVersion):
            raise AuthorityFailed(f"{argv[0]} wrote no certificates in PEM", again=True) from None


async def _talk(process: asyncio.subprocess.Process, text: bytes) -> tuple[bytes, bytes]:
    """Its output and what it said on stderr, each read to its end; AuthorityFailed when either is too long."""
    assert process.stdin and process.stdout and process.stderr, "three pipes"
    written = asyncio.create_task(_write(process.stdin, text))
    try:
        output, said = await asyncio.gather(_all(process.stdout), _all(process.stderr))
        await written
    finally:
        written.cancel()
    return output, said


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
