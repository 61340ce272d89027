"""Everything a stranger may send to the WebSocket port: a clear error each, and nothing changed.

One real process (`csms up` on its embedded database), one table for handshakes and one for frames.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.support.raw_ws import CLOSE, Raw, basic, deflated, frame, raw, request

PASSWORD = "correct-horse-battery-staple"
ADMIN_KEY = "administrator-key-of-the-tests"
RIGHT = basic("CS1", PASSWORD)
START_WITHIN_S = 60
STOP_WITHIN_S = 30


class System(NamedTuple):
    ocpp_port: int
    http: httpx.Client

    def snapshot(self) -> dict[str, object]:
        """What strangers must not change: the stations, their connection, their transactions."""
        stations = self.http.get("/device/stations").json()
        transactions = self.http.get("/transactions/transactions").json()
        connected = self.http.get("/gateway/connections").json()["connected"]
        return {"stations": stations, "transactions": transactions, "connected": connected}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(process: subprocess.Popen[bytes], http: httpx.Client, output: Path) -> None:
    """Ask until the administrator is let in: the first start puts that key in force last."""
    for _ in range(START_WITHIN_S * 10):
        assert process.poll() is None, output.read_text()
        with contextlib.suppress(httpx.TransportError):
            if http.get("/gateway/connections").status_code == 200:
                return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    pytest.fail(output.read_text())


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("csms")
    ocpp_port, http_port = free_port(), free_port()
    environment = {
        **os.environ,
        "CSMS_DATA": str(folder / "data"),
        "CSMS_OCPP_HOST": "127.0.0.1",
        "CSMS_OCPP_PORT": str(ocpp_port),
        "CSMS_HTTP_HOST": "127.0.0.1",
        "CSMS_HTTP_PORT": str(http_port),
        "CSMS_ADMIN_KEY": ADMIN_KEY,
        "CSMS_GATEWAY_HANDSHAKE_TIMEOUT_S": "4",
    }
    output = folder / "output"
    command = [str(Path(sys.executable).with_name("csms")), "up"]
    with output.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    http = httpx.Client(base_url=f"http://127.0.0.1:{http_port}", headers=headers, timeout=15)
    try:
        wait_until_ready(process, http, output)
        for identity in ("CS1", "CS2"):
            made = http.put(f"/device/stations/{identity}", json={"password": PASSWORD})
            assert made.status_code in (200, 201), made.text
        yield System(ocpp_port, http)
    finally:
        http.close()
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


# -- handshakes: request, status, what the answer says -----------------------------------------------------------------

HANDSHAKES = {
    "unknown station": (request("/ocpp/CS9", authorization=basic("CS9", PASSWORD)), 404, b"CS9"),
    "no identity": (request("/ocpp/", authorization=RIGHT), 404, b"names no Charging Station"),
    "another path": (request("/", authorization=RIGHT), 404, b"/ocpp/"),
    "slash": (request("/ocpp/a/CS1", authorization=RIGHT), 404, b"slash"),
    "slash, encoded": (request("/ocpp/a%2FCS1", authorization=RIGHT), 404, b"identifierString"),
    "dots": (request("/ocpp/..", authorization=RIGHT), 404, b"identifierString"),
    "dots, encoded": (request("/ocpp/%2e%2e", authorization=RIGHT), 404, b"identifierString"),
    "dots on the way": (request("/ocpp/x/../CS1", authorization=RIGHT), 404, b"slash"),
    "49 characters": (request("/ocpp/" + "x" * 49, authorization=RIGHT), 404, b"48"),
    "48 characters": (request("/ocpp/" + "x" * 48, authorization=RIGHT), 404, b"registered"),
    "colon": (request("/ocpp/CS1:x", authorization=RIGHT), 404, b"identifierString"),
    "NUL": (request("/ocpp/CS1%00", authorization=RIGHT), 404, b"identifierString"),
    "line break": (request("/ocpp/CS1%0d%0aX:%20y", authorization=RIGHT), 404, b"identifierString"),
    "broken percent-encoding": (request("/ocpp/CS%1", authorization=RIGHT), 404, b"percent"),
    "not UTF-8": (request("/ocpp/CS%FF", authorization=RIGHT), 404, b"UTF-8"),
    "no credentials": (request(), 401, b"missing or wrong"),
    "wrong password": (request(authorization=basic("CS1", "wrong")), 401, b"missing or wrong"),
    "empty password": (request(authorization=basic("CS1", "")), 401, b"missing or wrong"),
    "long password": (request(authorization=basic("CS1", "x" * 4000)), 401, b"missing or wrong"),
    "another station's name": (request(authorization=basic("CS2", PASSWORD)), 401, b"missing or wrong"),
    "not base64": (request(authorization="Basic ???"), 401, b"missing or wrong"),
    "another scheme": (request(authorization=f"Bearer {PASSWORD}"), 401, b"missing or wrong"),
    "no upgrade": (request(authorization=RIGHT, upgrade=None), 426, b"WebSocket"),
    "another upgrade": (request(authorization=RIGHT, upgrade="h2c"), 426, b"WebSocket"),
    "no key": (request(authorization=RIGHT, sec_websocket_key=None), 400, b"Key"),
    "short key": (request(authorization=RIGHT, sec_websocket_key="AAAA"), 400, b"Key"),
    "another version": (request(authorization=RIGHT, sec_websocket_version="8"), 400, b"Version"),
    "another method": (request(authorization=RIGHT).replace(b"GET", b"PUT"), 405, b"method"),
    "HTTP/1.0": (request(authorization=RIGHT).replace(b"HTTP/1.1", b"HTTP/1.0"), 505, b"HTTP/1.0"),
    "HTTP/9": (request(authorization=RIGHT).replace(b"HTTP/1.1", b"HTTP/9"), 400, b"no HTTP request"),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, b"no HTTP request"),
    "no header lines": (b"GET\r\n\r\n", 400, b"no HTTP request"),
    "a body": (request(authorization=RIGHT, content_length="5") + b"12345", 400, b"no HTTP request"),
    "long URL": (request("/ocpp/" + "x" * 10_000, authorization=RIGHT), 414, b"8192 bytes"),
    "long header": (request(authorization="Basic " + "x" * 10_000), 431, b"8192 bytes"),
    "many headers": (request(**{f"x_{n}": "y" for n in range(200)}), 431, b"headers"),
}


@pytest.mark.requirement("A00.FR.207", "P4.3.2.2")
@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_bad_handshake_is_refused_with_the_reason(system: System, name: str) -> None:
    sent, status, says = HANDSHAKES[name]
    before = system.snapshot()

    async with raw(system.ocpp_port) as stranger:
        await stranger.send(sent)
        answered, _, body = await stranger.response()

        assert (answered, says in body) == (status, True), body
        assert await stranger.reader.read() == b"", "and the connection is closed"
    assert system.snapshot() == before


@pytest.mark.requirement("P4.3.2.3")
@pytest.mark.parametrize("offered", ["ocpp1.6", "ocpp2.1, ocpp2.0", "OCPP2.0.1", None])
async def test_no_version_in_common_is_closed_after_the_handshake(system: System, offered: str | None) -> None:
    before = system.snapshot()

    async with raw(system.ocpp_port) as stranger:
        headers = await stranger.open(authorization=RIGHT, sec_websocket_protocol=offered)

        assert "sec-websocket-protocol" not in headers
        assert (await closed(stranger)) == 1002
    assert system.snapshot() == before


@pytest.mark.parametrize("part", [b"", b"G", request(authorization=RIGHT)[:-4]])
async def test_a_slow_handshake_is_cut(system: System, part: bytes) -> None:
    async with raw(system.ocpp_port) as stranger:
        await stranger.send(part)
        assert await stranger.reader.read() == b""


# -- frames: what is sent, the error code, the message id of the answer ------------------------------------------------


def call(payload: object, action: str = "TransactionEvent", id_: str = "x") -> bytes:
    return json.dumps([2, id_, action, payload]).encode()


def event(**change: object) -> dict[str, object]:
    made = {
        "eventType": "Started",
        "timestamp": "2026-01-01T00:00:00Z",
        "triggerReason": "Authorized",
        "seqNo": 0,
        "transactionInfo": {"transactionId": "of-a-stranger"},
        **change,
    }
    return {name: value for name, value in made.items() if value is not None}


def metered(value: str) -> bytes:
    sampled = {"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": "VALUE"}]}
    return call(event(meterValue=[sampled])).replace(b'"VALUE"', value.encode())


RPC, FORMAT, PROTOCOL = "RpcFrameworkError", "FormatViolation", "ProtocolError"
OCCURRENCE, TYPE, PROPERTY = "OccurrenceConstraintViolation", "TypeConstraintViolation", "PropertyConstraintViolation"

FRAMES = {
    # no RPC message
    "empty": (b"", RPC, "-1"),
    "not JSON": (b"hello", RPC, "-1"),
    "half of a frame": (call(event())[:-20], RPC, "-1"),
    "two frames in one": (call({}, "Heartbeat") * 2, RPC, "-1"),
    "not UTF-8": (b'[2,"x","Heartbeat",{"a":"\xff\xfe"}]', RPC, "-1"),
    "UTF-16": (call({}, "Heartbeat").decode().encode("utf-16"), RPC, "-1"),
    "an object": (b'{"messageTypeId":2}', RPC, "-1"),
    "a number": (b"2", RPC, "-1"),
    "nothing": (b"null", RPC, "-1"),
    "an empty array": (b"[]", RPC, "-1"),
    "10,000 deep": (b"[" * 10_000 + b"]" * 10_000, RPC, "-1"),
    "10,000 deep payload": (b'[2,"x","Heartbeat",' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"]", RPC, "x"),
    "NaN": (b'[2,"x","Heartbeat",{"a":NaN}]', RPC, "-1"),
    # ids, arity, types
    "no id": (b"[2]", RPC, "-1"),
    "id is a number": (b'[2,7,"Heartbeat",{}]', RPC, "-1"),
    "id is null": (b'[2,null,"Heartbeat",{}]', RPC, "-1"),
    "empty id": (call({}, "Heartbeat", ""), RPC, "-1"),
    "37 characters of id": (call({}, "Heartbeat", "x" * 37), RPC, "-1"),
    "NUL in the id": (b'[2,"a\\u0000b","Heartbeat",{}]', RPC, "-1"),
    "lone surrogate in the id": (b'[2,"\\ud800","Heartbeat",{}]', RPC, "-1"),
    "three elements": (b'[2,"x","Heartbeat"]', RPC, "x"),
    "five elements": (b'[2,"x","Heartbeat",{},{}]', RPC, "x"),
    "action is a number": (b'[2,"x",7,{}]', RPC, "x"),
    "unknown message type": (b'[5,"x","Heartbeat",{}]', "MessageTypeNotSupported", "x"),
    "message type is text": (b'["2","x","Heartbeat",{}]', RPC, "x"),
    "unknown action": (call({}, "Hertbeat"), "NotImplemented", "x"),
    "unknown action, long": (call({}, "A" * 100_000), "NotImplemented", "x"),
    "action in another case": (call({}, "heartbeat"), "NotImplemented", "x"),
    "action with NUL": (b'[2,"x","Heart\\u0000beat",{}]', "NotImplemented", "x"),
    "the CSMS's action": (call({}, "RequestStartTransaction"), "NotSupported", "x"),
    "payload is a list": (call([], "Heartbeat"), PROTOCOL, "x"),
    "payload is text": (call("{}", "Heartbeat"), PROTOCOL, "x"),
    "signed without a signature": (call({}, "Heartbeat-Signed"), FORMAT, "x"),
    # payloads against their schema
    "unknown field": (call(event(color="red")), PROTOCOL, "x"),
    "missing field": (call(event(triggerReason=None)), OCCURRENCE, "x"),
    "too few": (call(event(meterValue=[])), OCCURRENCE, "x"),
    "wrong type": (call(event(seqNo="0")), TYPE, "x"),
    "null payload": (b'[2,"x","StatusNotification",null]', OCCURRENCE, "x"),
    "null field": (call(event(offline=None) | {"offline": None}), TYPE, "x"),
    "not in the enumeration": (call(event(eventType="Begun")), PROPERTY, "x"),
    "too long": (call(event(transactionInfo={"transactionId": "x" * 37})), PROPERTY, "x"),
    "a fraction": (call(event(seqNo=0.5)), TYPE, "x"),
    "beyond 32 bits": (call(event(seqNo=2**31)), PROPERTY, "x"),
    "a year of 222222017": (call(event(timestamp="222222017-01-01T00:00:00Z")), PROPERTY, "x"),
    "a 13th month": (call(event(timestamp="2026-13-01T00:00:00Z")), PROPERTY, "x"),
    "no zone": (call(event(timestamp="2026-01-01T00:00:00")), PROPERTY, "x"),
    "1e308 Wh": (metered("1e308"), PROPERTY, "x"),
    "1e999 Wh": (metered("1e999"), PROPERTY, "x"),
    "text for Wh": (metered('"12"'), TYPE, "x"),
    "NUL in text": (call(event(transactionInfo={"transactionId": "a\0b"})), PROPERTY, "x"),
    "lone surrogate in text": (b'[2,"x","DataTransfer",{"vendorId":"\\ud800"}]', RPC, "-1"),
    "custom data without vendor": (call(event(customData={"a": 1})), OCCURRENCE, "x"),
}


async def heartbeat(station: Raw) -> None:
    """The station goes on as if nothing had been."""
    await station.send(frame(call({}, "Heartbeat", "still here")))
    message = await station.message()
    assert message is not None
    answer = json.loads(message.data)
    assert answer[:2] == [3, "still here"], answer


async def closed(station: Raw) -> int:
    """The code with which the server closes, next."""
    message = await station.message()
    assert message is not None
    assert message.opcode == CLOSE, message
    return message.close_code


async def unchanged(system: System, before: dict[str, object]) -> None:
    assert await asyncio.to_thread(system.snapshot) == before


@pytest.mark.requirement("GEN.FR.03", "P4.4.1.7.1", "P4.4.2.3.1")
@pytest.mark.parametrize("name", FRAMES)
async def test_a_bad_frame_is_answered_with_its_error_and_changes_nothing(system: System, name: str) -> None:
    sent, code, message_id = FRAMES[name]

    async with raw(system.ocpp_port) as station:
        await station.open("/ocpp/CS2", authorization=basic("CS2", PASSWORD))
        await heartbeat(station)
        before = await asyncio.to_thread(system.snapshot)
        await station.send(frame(sent))
        message = await station.message()

        assert message is not None
        kind, id_, answered, description, details = json.loads(message.data)
        assert (kind, id_, answered) == (4, message_id, code), message.data
        assert 0 < len(description) <= 255
        assert isinstance(details, dict)
        await heartbeat(station)
        await unchanged(system, before)


async def test_an_id_in_flight_is_refused_and_the_first_one_is_answered(system: System) -> None:
    async with raw(system.ocpp_port) as station:
        await station.open("/ocpp/CS2", authorization=basic("CS2", PASSWORD))
        await station.send(frame(call({}, "Heartbeat", "1")) + frame(call({}, "Heartbeat", "1")))
        answers = [json.loads((await station.message()).data) for _ in range(2)]  # type: ignore[union-attr]

        assert sorted(answer[0] for answer in answers) == [3, 4]
        assert {answer[1] for answer in answers} == {"1"}
        assert next(answer[2] for answer in answers if answer[0] == 4) == RPC


@pytest.mark.parametrize("sent", [b'[3,"nobody asked",{}]', b'[4,"nobody asked","InternalError","",{}]', b"[3]"])
async def test_an_answer_that_nobody_awaits_is_never_answered(system: System, sent: bytes) -> None:
    async with raw(system.ocpp_port) as station:
        await station.open("/ocpp/CS2", authorization=basic("CS2", PASSWORD))
        await station.send(frame(sent))
        await heartbeat(station)


# -- what closes the connection ----------------------------------------------------------------------------------------

CLOSES = {
    "10 MB": (frame(b"x" * 10_000_000), 1009),
    "10 MB in pieces": (frame(b"x" * 100_000, fin=False) + frame(b"x" * 100_000, 0, fin=False) * 100, 1009),
    "length of 2^63": (b"\x81\xff" + b"\xff" * 8 + b"\x01\x02\x03\x04", 1009),
    "compression bomb": (frame(deflated(b"[" + b" " * 100_000_000 + b"]"), rsv1=True), 1009),
    "no deflate stream": (frame(b"\xff\xff\xff\xff", rsv1=True), 1002),
    "not masked": (frame(b"x", masked=False), 1002),
    "reserved opcode": (frame(b"x", 5), 1002),
    "a piece of nothing": (frame(b"x", 0), 1002),
    "a long ping": (frame(b"x" * 126, 9), 1002),
    "a flood of nonsense": (frame(b"nonsense") * 1500, 1008),
}


@pytest.mark.parametrize("name", CLOSES)
async def test_what_breaks_the_protocol_below_closes_the_connection(system: System, name: str) -> None:
    sent, code = CLOSES[name]

    async with raw(system.ocpp_port, 30) as station:
        extensions = "permessage-deflate; client_max_window_bits"
        await station.open("/ocpp/CS2", authorization=basic("CS2", PASSWORD), sec_websocket_extensions=extensions)
        sending = asyncio.create_task(station.send(sent))
        message = await station.message()
        while message is not None and message.opcode != CLOSE:
            message = await station.message()
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending

        assert message is not None
        assert message.close_code == code
    async with raw(system.ocpp_port) as again:
        await again.open("/ocpp/CS2", authorization=basic("CS2", PASSWORD))
        await heartbeat(again)
