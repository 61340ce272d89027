"""What the command line says when something is wrong: one line that names it, no traceback."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from pydantic import SecretStr
from rich.console import Console
from typer import Exit
from typer.testing import CliRunner, Result

from csms import cli, runtime
from csms.running import Addresses, noted
from csms.tools import rerating
from csms.tools.parked import table
from ocppcore.clock import system_clock
from ocppcore.errors import OperatorError
from ocppcore.settings import BaseServiceSettings
from ocppcore.store import Value

HERE = Addresses(api="http://127.0.0.1:1", stations="ws://127.0.0.1:1/ocpp")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "data"
    monkeypatch.setenv("CSMS_DATA", str(place))
    monkeypatch.delenv("CSMS_ADMIN_KEY", raising=False)
    monkeypatch.setattr(cli, "console", Console(width=200))
    monkeypatch.setattr(cli, "errors", Console(width=200, stderr=True))
    return place


def csms(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, arguments, catch_exceptions=False)


def test_an_error_is_said_to_the_letter(capfd: pytest.CaptureFixture[str]) -> None:
    async def fail(_: object) -> None:
        raise OperatorError("[bold] stands in [/x] and [data]")

    with pytest.raises(Exit):
        cli._run(fail)
    assert "csms: [bold] stands in [/x] and [data]" in capfd.readouterr().err


def test_a_setting_that_cannot_be_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSMS_HTTP_PORT", "abc")
    said = csms("simulate", "--stations", "1")
    assert said.exit_code == 1
    assert "CSMS_HTTP_PORT" in said.output


@pytest.mark.parametrize("command", [["up"], ["frames"]])
def test_a_data_directory_that_cannot_be_made_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    data.touch()
    monkeypatch.setenv("CSMS_DATA", str(data / "inside"))
    monkeypatch.setattr("csms.up.check_port", lambda *_: None)
    said = csms(*command)
    assert said.exit_code == 1
    assert "CSMS_DATA" in said.output
    assert str(data / "inside") in said.output


class Stranger(BaseHTTPRequestHandler):
    """Another program on the port; it notes what it is sent."""

    heard: list[str]

    def do_POST(self) -> None:
        self.heard.append(str(self.headers))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a program that is no CSMS hears on the port that the settings name."""
    Stranger.heard = []
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("CSMS_HTTP_PORT", str(server.server_port))
        try:
            yield Stranger.heard
        finally:
            server.shutdown()


def test_the_administrators_key_goes_to_the_running_system_and_to_nobody_else(data: Path, stranger: list[str]) -> None:
    data.mkdir()
    (data / "admin.key").write_text("the administrator's own key")
    said = csms("simulate", "--stations", "1", "--register", "--duration", "1")
    assert said.exit_code == 1
    assert "no system runs on" in said.output
    with noted(data, HERE):
        said = csms("simulate", "--stations", "1", "--register", "--duration", "1")
    assert (said.exit_code, stranger) == (2, [])
    assert "cannot prepare the CSMS" in said.output


@pytest.mark.parametrize(
    "command",
    [
        ("rerate", "day"), ("tokens", "import", "{file}"), ("tokens", "export", "{file}"),
        ("simulate", "--stations", "1", "--register"), ("simulate", "--stations", "1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("runs", [True, False])
def test_another_api_is_never_sent_the_key_of_the_system_here(
    data: Path, stranger: list[str], command: tuple[str, ...], runs: bool
) -> None:
    data.mkdir()
    (data / "admin.key").write_text("the administrator's own key")
    tokens = data / "tokens.jsonl"
    tokens.write_text('{"idToken": "A", "type": "Central", "status": "Accepted"}\n')
    other = f"http://127.0.0.1:{os.environ['CSMS_HTTP_PORT']}"
    named = tuple(part.format(file=tokens) for part in command)
    with noted(data, HERE) if runs else nullcontext():
        said = csms(*named, "--api", other)
    assert (said.exit_code, stranger) == (1, [])
    assert f"{other} is not the system that runs on {data}" in said.output
    assert "give --key" in said.output


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:1", "http://127.0.0.1:1/"])
def test_the_running_system_is_sent_its_own_key_also_where_it_is_named(
    data: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    data.mkdir()
    (data / "admin.key").write_text("the administrator's own key")
    sent: list[tuple[str, str]] = []

    async def run(api: str, key: str, *_: object) -> rerating.Done:
        sent.append((api.rstrip("/"), key))
        return rerating.Done(0, 0, 0)

    monkeypatch.setattr(rerating, "run", run)
    with noted(data, HERE):
        assert csms("rerate", "day", *(("--api", address) if address else ())).exit_code == 0
        assert csms("rerate", "day", "--api", "https://elsewhere", "--key", "its own").exit_code == 0
    assert sent == [(HERE.api, "the administrator's own key"), ("https://elsewhere", "its own")]


def test_stations_that_nobody_answers_are_no_promise_kept(data: Path) -> None:
    said = csms("simulate", "--stations", "1", "--url", "ws://127.0.0.1:1/ocpp", "--duration", "0.2")
    assert said.exit_code == 2
    assert "No station was ever answered at ws://127.0.0.1:1/ocpp" in said.output
    assert "All promises were kept." not in said.output


def test_where_says_where_the_data_is(data: Path) -> None:
    elsewhere = data.parent / "elsewhere"
    (data / "postgres").mkdir(parents=True)
    assert csms("where").output.split() == ["data", str(data), "PostgreSQL", str(data / "postgres"), "running", "no"]
    (data / "postgres" / "home").write_text(f"{elsewhere}\n")
    assert str(elsewhere) in csms("where").output


def test_a_parked_record_is_listed_so_that_it_can_be_copied() -> None:
    place = "ocpp.frames.smartcharging/47/1234567890"
    topic, partition, position = place.split("/")
    row: dict[str, Value] = {
        "topic": topic,
        "partition": int(partition),
        "position": int(position),
        "at": system_clock(),
        "key": "a-station-with-a-long-name",
        "error": "KeyError [red] in " + "somewhere " * 30,
    }
    console = Console(width=80, record=True)
    console.print(table([("smartcharging", row)]))
    lines = console.export_text().splitlines()
    assert any(place in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert any("[red]" in line for line in lines)


async def test_a_database_that_does_not_answer_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert runtime.TELL_AFTER_S < 5
    monkeypatch.setattr(runtime, "TELL_AFTER_S", 0.0)
    url = "postgresql://u:hush@db.example:6543/csms"
    where = runtime.database_at(BaseServiceSettings(database_url=SecretStr(url)), url)
    told = asyncio.Queue[str]()
    monkeypatch.setattr(runtime.logger, "warning", told.put_nowait)
    async with runtime.telling(where), asyncio.timeout(5):
        assert await told.get() == "waiting for the database at db.example:6543/csms (DATABASE_URL)"
