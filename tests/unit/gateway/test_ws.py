"""Real sockets, a real station's library and one without manners, the in-memory log."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from services.gateway.turns import Turns
from tests.support.raw_ws import CLOSE, CONT, PING, PONG, basic, deflated, frame, raw, request
from tests.unit.gateway.rig import PASSWORD, Rig, listener, playing_services, running
from tests.unit.gateway.talk import call

RIGHT = basic("CS1", PASSWORD)


@asynccontextmanager
async def station(port: int, identity: str = "CS1", password: str | None = PASSWORD, user: str | None = None, **more):
    """A station's socket, as the `websockets` client opens it."""
    credentials = "" if password is None else f"{user or identity}:{password}@"
    uri = f"ws://{credentials}127.0.0.1:{port}/ocpp/{identity}"
    options = {"subprotocols": ["ocpp2.0.1"], "proxy": None, **more}
    async with connect(uri, **options) as socket:
        yield socket


@asynccontextmanager
async def served(**settings):
    """A gateway with one registered station, and services that answer everything."""
    rig, listening = Rig(), listener(**settings.pop("ws", {}))
    await rig.register("CS1")
    async with running(rig.gateway("gw", listening, **settings)), playing_services(rig):
        rig.listener = listening
        yield rig, listening.port


async def talk(socket: ClientConnection, message: bytes) -> list:
    await socket.send(message.decode())
    return json.loads(await socket.recv())


@pytest.mark.requirement("P4.3.1.1.1", "P4.3.2.1", "P4.3.3.1", "P4.3.3.2")
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_a_station_connects_and_is_answered(compression):
    async with served() as (rig, port), station(port, compression=compression) as socket:
        assert socket.subprotocol == "ocpp2.0.1"
        assert bool(socket.protocol.extensions) is (compression is not None)
        for n in range(3):
            assert await talk(socket, call(str(n), "BootNotification", {"x": "y" * 3000})) == [3, str(n), {}]

        [change] = rig.changes()
        assert (change.identity, change.connected, change.subprotocol) == ("CS1", True, "ocpp2.0.1")


@pytest.mark.requirement("P4.3.3.1")
async def test_compression_is_offered_with_small_windows():
    async with served() as (_, port), raw(port) as socket:
        offer = "permessage-deflate; client_max_window_bits"
        headers = await socket.open(authorization=RIGHT, sec_websocket_extensions=offer)

        assert headers["sec-websocket-extensions"] == (
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=12"
        )
        await socket.send(frame(deflated(call("1")), rsv1=True))
        assert (await socket.message()).compressed


async def test_a_message_may_come_in_pieces_and_several_at_once():
    async with served() as (_, port), raw(port) as socket:
        await socket.open(authorization=RIGHT)
        first, second = call("1"), call("2", "DataTransfer", {"data": "x" * 200})
        stream = (
            frame(first[:5], fin=False)
            + frame(b"", PING)
            + frame(first[5:9], CONT, fin=False)
            + frame(first[9:], CONT)
            + frame(second)
        )
        for n in range(0, len(stream), 7):
            await socket.send(stream[n : n + 7])
            await asyncio.sleep(0)

        assert (await socket.message()).opcode == PONG
        assert json.loads((await socket.message()).data) == [3, "1", {}]
        assert json.loads((await socket.message()).data) == [3, "2", {}]


async def test_frames_sent_before_the_answer_to_the_handshake_wait_for_it():
    async with served() as (_, port), raw(port) as socket:
        await socket.send(request(authorization=RIGHT) + frame(b"", PING) + frame(call("1")))
        assert (await socket.response())[0] == 101
        assert (await socket.message()).opcode == PONG
        assert json.loads((await socket.message()).data) == [3, "1", {}]


async def test_what_comes_before_a_handshake_s_turn_waits_in_the_socket():
    async with served() as (rig, port), raw(port) as socket:
        turns = rig.listener.turns = Turns(0)
        await socket.send(request(authorization=RIGHT))
        await rig.until(lambda: any(one._arrived for one in rig.listener.sockets))
        socket.writer.write(frame(call("1")) + frame(b"x" * 60_000, PING) * 100)
        for _ in range(2000):
            await asyncio.sleep(0)
        [held] = rig.listener.sockets
        assert len(held._arrived) < 300_000

        turns._at_once = 4
        assert (await socket.response())[0] == 101


async def test_the_station_s_close_is_answered_and_recorded():
    async with served() as (rig, port):
        async with station(port) as socket:
            await socket.close(1001, "going")
        await rig.until(lambda: len(rig.changes()) == 2)

        change = rig.changes()[1]
        assert (change.connected, change.reason) == (False, "1001 closed by the station")


async def test_a_socket_that_just_goes_is_recorded():
    async with served() as (rig, port):
        async with raw(port) as socket:
            await socket.open(authorization=RIGHT)
            socket.writer.transport.abort()
        await rig.until(lambda: len(rig.changes()) == 2)
        assert rig.changes()[1].reason.startswith("1006")


async def test_the_newest_connection_wins():
    async with served() as (_, port), station(port) as old, station(port) as new:
        with pytest.raises(ConnectionClosed) as closed:
            await old.recv()
        assert closed.value.rcvd.code == 1008
        assert await talk(new, call("1")) == [3, "1", {}]


@pytest.mark.parametrize("user", ["CS1", "cs1"])
@pytest.mark.parametrize("identity", ["CS1", "cS1"])
async def test_identities_compare_without_case(user, identity):
    async with served() as (rig, port), station(port, identity, user=user):
        assert rig.changes()[0].identity == identity


@pytest.mark.requirement("A00.FR.207")
async def test_a_401_asks_for_credentials_and_takes_its_time():
    async with served(ws={"refusal_delay_s": 0.2}) as (_, port), raw(port) as socket:
        began = asyncio.get_running_loop().time()
        await socket.send(request(authorization=basic("CS1", "wrong")))
        status, headers, _ = await socket.response()

        assert (status, headers["www-authenticate"]) == (401, 'Basic realm="ocpp", charset="UTF-8"')
        assert asyncio.get_running_loop().time() - began >= 0.2


@pytest.mark.requirement("P4.3.2.3")
async def test_no_version_in_common_is_101_without_the_header_then_a_close():
    async with served() as (rig, port), raw(port) as socket:
        headers = await socket.open(authorization=RIGHT, sec_websocket_protocol="ocpp1.6, ocpp2.1")

        assert "sec-websocket-protocol" not in headers
        message = await socket.message()
        assert (message.opcode, message.close_code) == (CLOSE, 1002)
        assert rig.changes() == []


@pytest.mark.requirement("P4.3.1.2.1")
async def test_a_version_in_the_url_says_nothing():
    async with served(ws={"prefix": "/ocpp1.6/"}) as (_, port):
        path = "/ocpp1.6/CS1?version=ocpp2.1"
        async with raw(port) as socket:
            headers = await socket.open(path, authorization=RIGHT, sec_websocket_protocol="ocpp1.6, ocpp2.0.1")
            assert headers["sec-websocket-protocol"] == "ocpp2.0.1"
        async with raw(port) as socket:
            headers = await socket.open(path, authorization=RIGHT, sec_websocket_protocol="ocpp1.6")
            assert "sec-websocket-protocol" not in headers


@pytest.mark.parametrize("offered", ["ocpp1.6", None])
async def test_no_version_in_common_is_400_if_so_set(offered):
    async with served(ws={"refuse_subprotocol": True}) as (_, port), raw(port) as socket:
        await socket.send(request(authorization=RIGHT, sec_websocket_protocol=offered))
        status, _, body = await socket.response()

        assert status == 400
        assert b"ocpp2.0.1" in body


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"upgrade": None}, (426, 426)),
        ({"upgrade": "h2c"}, (426, 401)),
        ({"sec_websocket_key": "short"}, (400, 401)),
        ({"sec_websocket_version": "8"}, (400, 401)),
    ],
)
async def test_what_is_wrong_with_a_handshake_is_told_to_who_would_be_let_in(wrong, status):
    """Who would not be is refused before anything is negotiated; one that wants no upgrade at all hears it at once."""
    async with served() as (rig, port):
        for authorization, expected in zip((RIGHT, basic("CS1", "wrong")), status, strict=True):
            async with raw(port) as socket:
                await socket.send(request(authorization=authorization, **wrong))
                assert (await socket.response())[0] == expected
        assert rig.changes() == []


@pytest.mark.parametrize("cuts", [(), (1,), (10, 40), (40, 41, 42)])
async def test_a_request_may_come_in_pieces_and_with_frames_behind_it(cuts):
    async with served() as (_, port), raw(port) as socket:
        text = request(authorization=RIGHT) + frame(b"hello", PING)
        pieces = [text[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(text)), strict=True)]
        for piece in pieces:
            await socket.send(piece)
            await asyncio.sleep(0)
        assert (await socket.response())[0] == 101
        message = await socket.message()
        assert message is not None
        assert (message.opcode, message.data) == (PONG, b"hello")


async def test_a_slow_handshake_is_cut():
    async with served(ws={"handshake_timeout_s": 0.1}) as (rig, port), raw(port) as socket:
        await socket.send(request()[:20])
        assert await socket.reader.read() == b""
        assert rig.changes() == []


async def test_a_silent_socket_is_pinged_then_cut():
    async with served(ws={"ping_interval_s": 0.05, "pong_timeout_s": 0.1}) as (rig, port), raw(port) as socket:
        await socket.open(authorization=RIGHT)
        for _ in range(3):
            assert (await socket.message()).opcode == PING
            await socket.send(frame(b"", PONG))
        assert (await socket.message()).opcode == PING
        assert await socket.message() is None
        await rig.until(lambda: len(rig.changes()) == 2)


async def test_a_station_that_does_not_read_is_not_read_then_cut():
    async with served(ws={"write_timeout_s": 0.1, "ping_interval_s": 0.1}) as (rig, port), raw(port) as socket:
        await socket.open(authorization=RIGHT)
        socket.writer.transport.set_write_buffer_limits(high=0)
        socket.reader._transport.pause_reading()
        pings = frame(b"x" * 125, PING) * 4000

        with pytest.raises((ConnectionError, TimeoutError)):
            async with asyncio.timeout(8):
                while True:
                    socket.writer.write(pings)
                    await socket.writer.drain()
        await rig.until(lambda: len(rig.changes()) == 2)


async def test_a_message_over_the_limit_closes_with_1009():
    async with served(ws={"frame_bytes_max": 10_000}) as (_, port), raw(port) as socket:
        await socket.open(authorization=RIGHT)
        await socket.send(frame(b"x" * 10_001))
        message = await socket.message()

        assert (message.opcode, message.close_code) == (CLOSE, 1009)


async def test_pieces_over_the_limit_together_close_with_1009():
    async with served(ws={"frame_bytes_max": 10_000}) as (_, port), raw(port) as socket:
        await socket.open(authorization=RIGHT)
        await socket.send(frame(b"x" * 6_000, fin=False) + frame(b"x" * 6_000, CONT))

        assert (await socket.message()).close_code == 1009


async def test_a_compression_bomb_is_stopped_at_the_limit():
    async with served(ws={"frame_bytes_max": 100_000}) as (_, port), raw(port) as socket:
        await socket.open(authorization=RIGHT, sec_websocket_extensions="permessage-deflate")
        bomb = deflated(b"[" + b" " * 50_000_000 + b"]")
        assert len(bomb) < 100_000
        await socket.send(frame(bomb, rsv1=True))

        assert (await socket.message()).close_code == 1009


@pytest.mark.parametrize(
    "broken",
    [
        frame(b"x", masked=False),
        frame(b"x", 3),
        frame(b"x", rsv1=True),
        frame(b"x", CONT),
        frame(b"x" * 126, PING),
        frame(b"x", fin=False) + frame(b"x"),
    ],
)
async def test_frames_against_rfc_6455_close_with_1002(broken):
    async with served() as (_, port), raw(port) as socket:
        await socket.open(authorization=RIGHT)
        await socket.send(broken)

        assert (await socket.message()).close_code == 1002


async def test_a_log_that_fails_during_the_handshake_is_503():
    rig, listening = Rig(), listener()
    await rig.register("CS1")
    gateway = rig.gateway("gw", listening)
    task = asyncio.create_task(gateway.run())
    await rig.until(lambda: gateway.not_ready() is None)
    async with raw(listening.port) as socket:
        await rig.log.close()
        await socket.send(request(authorization=RIGHT))
        assert (await socket.response())[0] == 503
    with pytest.raises(ExceptionGroup):
        await task


async def test_too_many_sockets_are_cut():
    async with served(ws={"connections_max": 1}) as (_, port), station(port) as socket, raw(port) as other:
        await other.send(request(authorization=RIGHT))
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await other.response()
        assert await talk(socket, call("1")) == [3, "1", {}]


async def test_a_reconnect_storm_is_let_in():
    rig, listening = Rig(), listener()
    for n in range(200):
        await rig.register(f"CS{n}")
    async with running(rig.gateway("gw", listening)), playing_services(rig):

        async def one(n: int) -> list:
            async with station(listening.port, f"CS{n}") as socket:
                return await talk(socket, call(str(n)))

        assert await asyncio.gather(*map(one, range(200))) == [[3, str(n), {}] for n in range(200)]


async def test_a_drain_closes_with_1012_and_takes_no_more():
    rig, listening = Rig(), listener()
    await rig.register("CS1")
    gateway = rig.gateway("gw", listening)
    task = asyncio.create_task(gateway.run())
    await rig.until(lambda: gateway.not_ready() is None)
    async with station(listening.port) as socket:
        await gateway.drain()
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd.code == 1012
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", listening.port if listening._server.sockets else 1)
    await task
    assert listening.sockets == set()


async def test_the_password_of_an_unknown_station_is_not_asked_for():
    async with served() as (_, port):
        with pytest.raises(InvalidStatus) as refused:
            async with station(port, "CS9"):
                pass
        assert refused.value.response.status_code == 404
