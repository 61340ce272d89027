"""`csms up` as a newcomer meets it: its first start, a port that is taken, Ctrl-C, as root and as an ordinary user."""

import asyncio
import os
import pwd
import re
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from csms.harness import HOST, System, embedded, free_ports, temporary_directory
from tests.support.third_party import connected, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]

NOBODY = pwd.getpwnam("nobody")
MAY_READ = "-all,+dac_read_search"
"""Python and this tree may lie where only root can look."""
AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups", "--pdeathsig=TERM",
    f"--inh-caps={MAY_READ}", f"--ambient-caps={MAY_READ}",
)  # fmt: skip
ROOT = os.geteuid() == 0


@pytest.fixture
def owned() -> Iterator[Path]:
    """A directory of an ordinary user's own."""
    with temporary_directory(NOBODY.pw_uid if ROOT else None) as place:
        yield place


async def test_first_start_prints_its_key_once_and_ctrl_c_ends_it_cleanly(owned: Path) -> None:
    """As an ordinary user, with no key set: what `make run` is."""
    system = embedded(owned, prefix=AS_NOBODY if ROOT else ())
    system.programs["up"].environment = {k: v for k, v in system.environment.items() if k != "CSMS_ADMIN_KEY"}
    try:
        await system.start()
        up = system.programs["up"]
        assert up.process is not None
        assert psutil.Process(up.process.pid).uids().effective == (NOBODY.pw_uid if ROOT else os.geteuid())
        (key,) = re.findall(r"Administrator's key\s+(\S+)", await told(system, "Stop with Ctrl-C"))
        async with system.client(key) as api:
            await register(api, "First-1")
            async with connected(system, "First-1") as station:
                assert (await station.boot()).status == "Accepted"
                assert await up.stop(signal.SIGINT) == 0
        assert "Stopped. All data is kept" in up.tail()
        assert "Traceback" not in up.tail(10_000)

        up.output.write_bytes(b"")
        await system.start()
        await told(system, "Stop with Ctrl-C")
        assert key not in up.tail(10_000)
        async with system.client(key) as api:
            assert (await api.get("/device/stations/First-1")).json()["lastBoot"]["status"] == "Accepted"
        assert await up.stop() == 0
    finally:
        system.kill()


async def told(system: System, words: str) -> str:
    """What it has written, once these words are among it."""
    program = system.programs["up"]
    async with asyncio.timeout(30):
        while words not in (said := program.tail(10_000)):
            await asyncio.sleep(0.05)
    return said


def test_secrets_are_for_their_owner_alone(embedded_system: System) -> None:
    data = embedded_system.directory / "data"
    for path in (data / "keys" / "password", data / "keys" / "pseudonym", data / "postgres" / "password"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("setting", ["CSMS_OCPP_PORT", "CSMS_HTTP_PORT"])
async def test_another_program_on_the_port_is_named_and_left_alone(tmp_path: Path, setting: str) -> None:
    with closing(socket.create_server((HOST, 0))) as other:
        port = other.getsockname()[1]
        system = embedded(tmp_path)
        refused = await System(tmp_path, "", {**system.environment, setting: str(port)}, {}, {}, []).csms("up")
        assert refused.code == 1
        assert f"Port {port} is taken by another program" in refused.output
        assert f"{setting}={port + 1}" in refused.output
        assert "Traceback" not in refused.output
        assert not (tmp_path / "data").exists(), "something was begun"


async def test_second_system_on_the_same_data_is_refused(embedded_system: System) -> None:
    """With other ports: only the directory is taken."""
    other = embedded(embedded_system.directory)
    refused = await other.csms("up")
    assert refused.code == 1
    assert str(embedded_system.directory) in refused.output
    assert "Traceback" not in refused.output
    async with embedded_system.client() as api:
        assert (await api.get("/device/stations")).status_code == 200


WRONG = {
    "unknown log": ({"CSMS_LOG": "paper"}, "CSMS_LOG"),
    "port that is none": ({"CSMS_HTTP_PORT": "70000"}, "CSMS_HTTP_PORT"),
    "broker missing": ({"CSMS_LOG": "kafka"}, "KAFKA_BOOTSTRAP_SERVERS"),
    "short key": ({"CSMS_PSEUDONYM_KEY": "short"}, "CSMS_PSEUDONYM_KEY"),
}


@pytest.mark.parametrize(("settings", "named"), WRONG.values(), ids=WRONG)
async def test_wrong_setting_is_named(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    system = embedded(tmp_path)
    refused = await System(tmp_path, "", {**system.environment, **settings}, {}, {}, []).csms("up")
    assert refused.code == 1
    assert named in refused.output
    assert "Traceback" not in refused.output
    assert "short" not in refused.output.replace("CSMS_PSEUDONYM_KEY", "")


async def test_service_alone_asks_for_its_database(tmp_path: Path) -> None:
    system = embedded(tmp_path)
    refused = await system.csms("auth")
    assert refused.code == 1
    assert "CSMS_PSEUDONYM_KEY" in refused.output or "DATABASE_URL" in refused.output
    assert "Traceback" not in refused.output


async def test_key_that_is_not_the_first_one_is_refused(embedded_system: System) -> None:
    """Data written under one key cannot be read under another: refused at the start, not found out later."""
    own = {
        "CSMS_PASSWORD_KEY": "x" * 40,
        "CSMS_PSEUDONYM_KEY": (embedded_system.directory / "data/keys/pseudonym").read_text(encoding="ascii").strip(),
        "DATABASE_URL": embedded_system.dsn(),
        "CSMS_HTTP_PORT": str(free_ports(1)[0]),
    }
    other = System(embedded_system.directory, "", {**embedded_system.environment, **own}, {}, {}, [])
    refused = await other.csms("smartcharging")
    assert refused.code == 1
    assert "CSMS_PASSWORD_KEY is not the key" in refused.output
    assert "x" * 40 not in refused.output


async def test_health_readiness_metrics_and_documents(embedded_system: System) -> None:
    """Without a key: whoever watches the system needs none, whoever reads data does."""
    async with httpx.AsyncClient(base_url=embedded_system.addresses["device"]) as client:
        assert (await client.get("/healthz")).text == "ok\n"
        ready = (await client.get("/readyz")).json()
        assert ready["ready"] is True
        assert set(ready["checks"]) == {
            "device", "auth", "transactions", "smartcharging", "gateway", "keys", "administrator"
        }  # fmt: skip
        assert "csms_engine_cells" in (await client.get("/metrics")).text
        for service in ("device", "auth", "transactions", "smartcharging", "gateway"):
            assert (await client.get(f"/{service}/openapi.json")).json()["openapi"].startswith("3.")
            assert (await client.get(f"/{service}/docs")).status_code == 200
        assert (await client.get("/device/stations")).status_code == 401
