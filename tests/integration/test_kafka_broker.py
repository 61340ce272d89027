"""The broker that tests, torture and bench start: where it comes from, that it says why not, that it leaves nothing."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from csms.kafka_broker import BrokerFailed, BrokerUnavailable, KafkaBroker
from csms.kafka_jars import fetch_jars

pytest_plugins = ["tests.support.kafka_broker"]

PATIENCE_S = 60.0


@pytest.fixture
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its path and an empty cache."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
    return tmp_path


async def start_and_stop() -> None:
    async with KafkaBroker.start():
        pass


async def test_a_machine_without_java_is_told_so(no_programs: Path) -> None:
    with pytest.raises(BrokerUnavailable, match="needs Java 17 or newer"):
        await start_and_stop()


def install_java(directory: Path, version: str) -> str:
    """A JAVA_HOME whose java says that it has this version."""
    java = directory / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)
    return str(java.parent.parent)


async def test_an_old_java_is_told_so(no_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", install_java(no_programs, "11.0.2"))
    with pytest.raises(BrokerUnavailable, match=r"11\.0\.2"):
        await start_and_stop()


async def test_a_machine_without_maven_is_told_so(no_programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", install_java(no_programs, "17.0.15"))
    with pytest.raises(BrokerUnavailable, match="no Maven"):
        await start_and_stop()


def test_cached_jars_need_no_maven(kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert any(path.name.startswith("kafka_2.13") for path in fetch_jars().iterdir())


async def test_a_named_broker_is_used_and_not_ours_to_kill(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_broker.bootstrap)
    async with KafkaBroker.start() as named:
        assert named.bootstrap == kafka_broker.bootstrap
        assert not named.killable
        with pytest.raises(BrokerUnavailable, match="not ours"):
            named.kill()


async def test_a_broker_that_does_not_start_shows_its_log(killable_broker: KafkaBroker) -> None:
    with pytest.raises(BrokerFailed, match=r"(?i)heap"):
        async with KafkaBroker.start(own=True, heap_mb=1):
            pytest.fail("started with a heap of one megabyte")


PROGRAM = """
import asyncio
from csms.kafka_broker import KafkaBroker

async def main():
    async with KafkaBroker.start(own=True):
        print("ready", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


@pytest.fixture
async def program(killable_broker: KafkaBroker) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has started a broker of its own."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await process.stdout.readline() == b"ready\n"
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_a_broker_does_not_outlive_its_parent(program: asyncio.subprocess.Process, how: signal.Signals) -> None:
    children = psutil.Process(program.pid).children()
    if not children:
        pytest.skip("the broker runs in a container, which its own reaper removes")
    (broker,) = children
    home = Path(broker.cwd())
    os.kill(program.pid, how)
    gone, alive = await asyncio.to_thread(psutil.wait_procs, [broker], timeout=30)
    assert (gone, alive) == ([broker], [])
    await program.communicate()
    left = await asyncio.to_thread(home.exists)
    assert left is (how is signal.SIGKILL), "a broker that was stopped leaves no files"
    await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
