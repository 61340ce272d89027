"""Where the system on this machine is: noted in `CSMS_DATA/running` by `csms up` for as long as it runs.

`csms simulate --register` sends the administrator's key, so it goes to that address and to no other program that
happens to listen on the default port. A lock says whether the file is true: it ends with the process, however it ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

NAME: Final = "running"
BYTES_MAX: Final = 4096


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """URLs that reach it from this machine; `tls` is empty where it takes no TLS."""

    api: str
    stations: str
    tls: str = ""


@contextmanager
def noted(data: Path, addresses: Addresses) -> Iterator[None]:
    """Note the addresses. Where another process holds the file (two systems on one directory), it stays that one's;
    where none can be made (keys and database are elsewhere, the directory is not needed), nothing is noted."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(data / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield
        return
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(addresses), 0)
        yield
    finally:
        os.ftruncate(descriptor, 0)
        os.close(descriptor)


def running(data: Path) -> Addresses | None:
    """The addresses of the system that runs on this directory, None if none does."""
    try:
        descriptor = os.open(data / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            return msgspec.json.decode(os.pread(descriptor, BYTES_MAX, 0), type=Addresses)
        except msgspec.DecodeError:
            return None  # it is about to be written
    else:
        return None
    finally:
        os.close(descriptor)
