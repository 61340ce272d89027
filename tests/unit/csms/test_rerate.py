"""`csms rerate`: page after page, each difference a line of JSON, and billed by the tariff where that is asked for."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from csms import cli

DIFFERENCES = [{"id": name, "transactionId": name.upper()} for name in ("a", "b", "c")]


class Api(HTTPServer):
    """Two pages of differences; record `b` has been taken the place of meanwhile."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, Any]] = []
        self.refuse = 0


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        if self.headers["Authorization"] != "Bearer the-key" or self.server.refuse:
            self._answer(self.server.refuse or 401, {"detail": "no such tariff"})
        elif "charge-details:rerate" in self.path:
            first = "cursor" not in self.path
            items = DIFFERENCES[:2] if first else DIFFERENCES[2:]
            more = "/transactions/charge-details:rerate?cursor=2" if first else None
            self._answer(200, {"rated": 10, "items": items, "next": more})
        elif "/b:rerate" in self.path:
            self._answer(409, {"detail": "another is the newest"})
        else:
            self._answer(200, {"made": ["credit", "charge"]})

    def _answer(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("CSMS_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("CSMS_ADMIN_KEY", raising=False)
    server = Api()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def rerate(api: Api, *arguments: str) -> Result:
    where = ("--api", f"http://127.0.0.1:{api.server_address[1]}", "--key", "the-key")
    return CliRunner().invoke(cli.app, ("rerate", *arguments, *where), catch_exceptions=False)


def test_every_page_is_asked_for_and_each_difference_is_a_line(api: Api) -> None:
    said = rerate(api, "day", "--version", "2", "--station", "CS-1")
    assert said.exit_code == 0, said.output
    assert [json.loads(line) for line in said.stdout.splitlines()] == DIFFERENCES
    assert "20 records rated, 3 would cost something else." in " ".join(said.stderr.split())
    assert {body["tariffId"] for _, body in api.asked} == {"day"}
    assert {(body["version"], body["stationId"]) for _, body in api.asked} == {(2, "CS-1")}
    assert len(api.asked) == 2, "nothing is changed by asking"


def test_records_are_billed_by_it_where_that_is_asked_for(api: Api, tmp_path: Path) -> None:
    tried = tmp_path / "tariff.json"
    tried.write_text('{"currency": "EUR", "elements": []}')
    said = rerate(api, "day", "--file", str(tried), "--apply")
    assert said.exit_code == 0, said.output
    assert [json.loads(line)["made"] for line in said.stdout.splitlines()] == [
        ["credit", "charge"], None, ["credit", "charge"],
    ]  # fmt: skip
    assert "3 would cost something else, 2 billed by it." in " ".join(said.stderr.split())
    applied = [(path, body) for path, body in api.asked if "charge-details/" in path]
    assert [path for path, _ in applied] == [f"/transactions/charge-details/{name}:rerate" for name in "abc"]
    assert applied[0][1] == {"tariffId": "day", "version": None, "tariff": {"currency": "EUR", "elements": []}}


@pytest.mark.parametrize("status", [404, 422])
def test_a_refusal_is_said_in_one_line(api: Api, status: int) -> None:
    api.refuse = status
    said = rerate(api, "day")
    assert said.exit_code == 1
    assert f"{status} no such tariff" in " ".join(said.stderr.split())


@pytest.mark.parametrize("content", ["no json", "[]", None])
def test_a_file_that_holds_no_tariff_is_named(api: Api, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tariff.json"
    if content is not None:
        file.write_text(content)
    said = rerate(api, "day", "--file", str(file))
    assert said.exit_code == 1
    assert "tariff.json" in "".join(said.stderr.split())
    assert api.asked == []
