"""Small files and folders of the embedded server: whole or not there, durable, and ours alone."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from ocppcore.embedded.errors import DirectoryInUse


@dataclass(frozen=True)
class Account:
    """The user as whom PostgreSQL runs when we are root."""

    name: str
    uid: int
    gid: int


def take_lock(path: Path) -> int:
    """Hold the lock file until the descriptor is closed or the process dies; it names the holder."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise DirectoryInUse(
            f"{path.parent} is in use: process {holder} runs its PostgreSQL. Stop that process or choose another "
            "directory"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock


def make_directory(path: Path) -> None:
    """As root, others may pass through what we make (PostgreSQL's user must), else it is ours alone."""
    if not path.exists():
        mode = 0o711 if os.geteuid() == 0 else 0o700
        for folder in reversed([path, *(parent for parent in path.parents if not parent.exists())]):
            folder.mkdir()
            folder.chmod(mode)


def note(path: Path, line: str) -> None:
    """Write a one-line file, readable by us alone, that is there whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make renames in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def own(folder: Path, account: Account | None) -> None:
    """A folder for the server's user alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
