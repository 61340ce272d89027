"""Attack: headers without end, by size, by number, by time, and such as two servers would read differently.

It fails if others are answered late meanwhile, if a request hidden in another is carried out, or if one is let in by a
header that is none.

Embedded only: what is no request that a service takes reaches no log.
"""

import asyncio
import contextlib

import pytest

from tests.support.closed import Closed
from tests.support.raw_http import request, send

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

LATE_S = 5.0
GET = b"GET /device/stations HTTP/1.1\r\nHost: csms\r\n"
STOLEN = b'{"id":"SMUGGLED"}'

BOMBS = {
    "a header of a megabyte": GET + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "a hundred thousand headers": GET + b"".join(b"X%d: 1\r\n" % number for number in range(100_000)) + b"\r\n",
    "a line without end": b"GET /" + b"a" * 1_000_000,
    "a name without end": GET + b"X" * 1_000_000,
    "continued for ever": GET + b"X: 1\r\n" + b" 2\r\n" * 100_000 + b"\r\n",
    "a key of a megabyte": GET + b"Authorization: Bearer " + b"a" * 1_000_000 + b"\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200_000,
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 1000,
    "a NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "no host": b"GET /device/stations HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: other\r\n\r\n",
}


async def test_header_bombs(closed_embedded: Closed) -> None:
    address, late = closed_embedded.system.addresses["device"], []
    for name, bomb in BOMBS.items():
        said = await asyncio.gather(*(send(address, bomb) for _ in range(8)))
        for answers in said:
            assert [one.status for one in answers if one.status not in (400, 401, 404, 414, 431)] == [], name
        began = asyncio.get_running_loop().time()
        async with closed_embedded.admin as admin:
            assert (await admin.get("/device/stations", params={"limit": 1})).status_code == 200
        if (took := asyncio.get_running_loop().time() - began) > LATE_S:
            late.append(f"{name}: {took:.1f} s")
    assert late == []


async def test_connections_that_say_nothing_do_not_keep_others_out(closed_embedded: Closed) -> None:
    """Hundreds of them, each with half a request; all are cut after a while."""
    host, _, port = closed_embedded.system.addresses["device"].removeprefix("http://").partition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
    try:
        for number, (_, writer) in enumerate(opened):
            writer.write(GET if number % 2 else b"")
        async with closed_embedded.admin as admin:
            assert (await admin.get("/device/stations", params={"limit": 1})).status_code == 200
        async with asyncio.timeout(60):
            ends = await asyncio.gather(*(reader.read() for reader, _ in opened))
        assert set(ends) == {b""}
    finally:
        for _, writer in opened:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_request_hidden_in_another_is_not_carried_out(closed_embedded: Closed) -> None:
    address, key = closed_embedded.system.addresses["device"], closed_embedded.system.key
    hidden = request("POST", "/device/stations", body=STOLEN)
    post = request("POST", "/device/stations", key=key, Content_Type="application/json").removesuffix(b"\r\n")
    tries = {
        "two lengths": post + b"Content-Length: 2\r\nContent-Length: %d\r\n\r\n{}" % (len(hidden) + 2) + hidden,
        "length and chunks": post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        "chunks spelled oddly": post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
        "chunks twice": post + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden,
        "a blank before the colon": post + b"Content-Length : 2\r\n\r\n{}" + hidden,
        "a bare line feed": post.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}" + hidden,
        "a line end in a header": post + b"X: 1\r\r\nContent-Length: 2\r\n\r\n{}" + hidden,
        "a chunk of odd size": post + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + hidden,
        "right behind": request("GET", "/device/stations", key=key, Connection="keep-alive") + hidden,
    }
    for name, data in tries.items():
        answers = await send(address, data)
        assert all(one.status >= 400 for one in answers[1:]), f"{name}: {[one.status for one in answers]}"
    async with closed_embedded.admin as admin:
        assert (await admin.get("/device/stations/SMUGGLED")).status_code == 404


async def test_two_credentials_are_not_better_than_one(closed_embedded: Closed) -> None:
    """Whoever comes first is judged, so that a proxy and this server cannot mean different ones."""
    address, key = closed_embedded.system.addresses["device"], closed_embedded.system.key.encode()
    for lines in (
        b"Authorization: Bearer no\r\nAuthorization: Bearer " + key + b"\r\n",
        b"Authorization: Basic " + key + b"\r\nProxy-Authorization: Bearer " + key + b"\r\n",
        b"Authorization: Bearer no, Bearer " + key + b"\r\n",
        b"Authorization: Bearer " + key + b" x\r\n",
        b"X-Api-Key: " + key + b"\r\n",
        b"Cookie: Authorization=Bearer " + key + b"; token=" + key + b"\r\n",
    ):
        (answer,) = await send(address, GET + b"Connection: close\r\n" + lines + b"\r\n")
        assert answer.status == 401, lines.replace(key, b"KEY")
    for target in ("?access_token=", "?key=", "?Authorization=Bearer%20"):
        (answer,) = await send(address, request("GET", f"/device/stations{target}{key.decode()}"))
        assert answer.status == 401, f"{target}: keys in addresses end up in logs"
