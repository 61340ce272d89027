"""The server's processes: started as its user, watched by what they say of themselves, stopped, found again."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import structlog

from ocppcore.embedded.cluster import SUPERUSER, Cluster
from ocppcore.embedded.errors import EmbeddedPostgresError
from ocppcore.embedded.files import own, sync

_log = structlog.get_logger(__name__)

LOG_BYTES_MAX = 8 * 1024 * 1024
INITDB_TIMEOUT_S = 300


def command(cluster: Cluster, program: str, *arguments: str, output: int) -> "subprocess.Popen[bytes]":
    """A PostgreSQL program as its user, in a session of its own: a Ctrl-C in our terminal is not for it."""
    account = cluster.account
    try:
        return subprocess.Popen(
            [cluster.binaries / "bin" / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cluster.home,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            umask=0o077,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"cannot run {program} as {account.name if account else 'ourselves'} in {cluster.home} ({error}): start as "
            "an ordinary user that owns its CSMS_DATA"
        ) from error


def initialise(cluster: Cluster, password: str) -> None:
    """Make the data directory; it appears under its name only when it is complete."""
    unfinished = cluster.home / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    own(unfinished, cluster.account)
    with tempfile.NamedTemporaryFile("w", dir=cluster.home, prefix="password-") as file:
        file.write(password + "\n")
        file.flush()
        if cluster.account is not None:
            os.chown(file.name, cluster.account.uid, cluster.account.gid)
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions")
        place = (f"--pgdata={unfinished}", f"--username={SUPERUSER}", f"--pwfile={file.name}")
        with command(cluster, "initdb", *place, *options, output=subprocess.PIPE) as initdb:
            said, _ = initdb.communicate(timeout=INITDB_TIMEOUT_S)
    if initdb.returncode != 0:
        raise EmbeddedPostgresError(f"initdb in {cluster.home} failed:\n{said.decode(errors='replace')}")
    unfinished.rename(cluster.data)
    sync(cluster.home)


def run(cluster: Cluster) -> "subprocess.Popen[bytes]":
    if cluster.log.exists() and cluster.log.stat().st_size > LOG_BYTES_MAX:
        cluster.log.replace(cluster.log.with_suffix(".log.1"))
    with os.fdopen(os.open(cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        return command(cluster, "postgres", "-D", str(cluster.data), output=log.fileno())


def state(data: Path, pid: int) -> str:
    """What the server with this pid says of itself in its pid file: starting, ready, stopping; or nothing yet."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[7].strip() if len(lines) > 7 and lines[0] == str(pid) else ""


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


def leftovers(data: Path) -> list[psutil.Process]:
    """PostgreSQL processes that work in this data directory; the server itself, if it lives, comes first."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(data):
                found.append(process)
    pids = {process.pid for process in found}
    return sorted(found, key=lambda process: process.ppid() in pids)


def end_leftovers(data: Path, patience_s: float) -> None:
    """Stop a server whose starter was killed, and backends whose server was killed: we hold the lock."""
    found = leftovers(data)
    if found:
        _log.warning("stopping the PostgreSQL of a process that was killed", pid=found[0].pid, data=str(data))
    for process in found:
        end(process, patience_s)
    # Nobody works here now. PostgreSQL would not start if the old server's number belongs to another process today, or
    # to itself until someone reaps it.
    for lock in (data / "postmaster.pid", *(data.parent / "run").glob(".s.PGSQL.*")):
        lock.unlink(missing_ok=True)


def end(process: "psutil.Process | subprocess.Popen[bytes]", patience_s: float) -> None:
    """Ask for a fast shutdown, then for an immediate one, then kill."""
    for ask, wait_s in ((signal.SIGINT, patience_s), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(ask)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            if _ended(process):
                return
            time.sleep(0.01)
        _log.warning("PostgreSQL does not stop", pid=process.pid, signal=ask.name, waited_s=wait_s)
    raise EmbeddedPostgresError(f"PostgreSQL (process {process.pid}) cannot be stopped")


def _ended(process: "psutil.Process | subprocess.Popen[bytes]") -> bool:
    """A leftover that nobody waits for has ended too: in a container the first process may not reap orphans."""
    if isinstance(process, subprocess.Popen):
        return process.poll() is not None
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
