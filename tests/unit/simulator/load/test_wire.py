import base64
import zlib
from hashlib import sha1

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from simulator.load import wire
from simulator.load.wire import Deflate, Handshake, HandshakeError


def read(data: bytes, *extensions: PerMessageDeflate) -> Frame:
    """A frame as the websockets library, in the role of a server, reads it."""
    reader = StreamReader()
    reader.feed_data(data)
    parsing = Frame.parse(reader.read_exact, mask=True, extensions=extensions)
    try:
        next(parsing)
    except StopIteration as done:
        frame: Frame = done.value
        return frame
    raise AssertionError("not a whole frame")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_server_reads_the_frames(size: int) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    frame = read(wire.frame(payload))
    assert (frame.opcode, frame.fin, frame.data) == (Opcode.TEXT, True, payload)


def test_a_server_can_undo_the_compression_and_the_other_way_round() -> None:
    server = PerMessageDeflate(False, False, 15, 12)
    client = Deflate(Handshake("ocpp2.0.1", 12, True, True))
    for n in range(20):
        text = b'[2,"%d","Heartbeat",{}]' % n * (n + 1)
        assert read(wire.frame(client.compress(text), compressed=True), server).data == text
        answer = server.encode(Frame(Opcode.TEXT, text[::-1]))
        assert client.decompress(bytes(answer.data)) == text[::-1]


def test_a_message_that_inflates_without_end_is_refused() -> None:
    client = Deflate(Handshake("ocpp2.0.1", 15, True, True))
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(bytes(10 << 20)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(ValueError, match="too big"):
        client.decompress(data[:-4])


def answer(key: str, *lines: str, status: str = "101 Switching Protocols") -> bytes:
    accept = base64.b64encode(sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    return "\r\n".join([f"HTTP/1.1 {status}", f"Sec-WebSocket-Accept: {accept}", *lines, "", ""]).encode()


def test_the_answer_to_the_handshake_is_read_in_pieces() -> None:
    key = wire.new_key()
    data = answer(
        key,
        "sec-websocket-protocol:ocpp2.0.1",
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; server_max_window_bits=12",
    )
    assert wire.response(data[:-1], key) is None
    assert wire.response(data + b"rest", key) == (Handshake("ocpp2.0.1", 12, False, True), b"rest")


def test_a_refusal_says_its_status() -> None:
    with pytest.raises(HandshakeError) as refused:
        wire.response(answer("k", status="401 Unauthorized"), "k")
    assert refused.value.status == 401
    with pytest.raises(HandshakeError, match="Accept"):
        wire.response(answer("other"), "k")
    with pytest.raises(HandshakeError, match="no end"):
        wire.response(b"x" * 20_000, "k")


def test_the_request_says_who_and_which_version() -> None:
    text = wire.request("h:1", "/ocpp/A", "key", "A:secret", compression=True).decode()
    assert text.startswith("GET /ocpp/A HTTP/1.1\r\nHost: h:1\r\n")
    assert f"Authorization: Basic {base64.b64encode(b'A:secret').decode()}\r\n" in text
    assert "Sec-WebSocket-Protocol: ocpp2.0.1\r\n" in text
    assert text.endswith("client_max_window_bits\r\n\r\n")
