"""Attack: identities that are more than an identity (paths, encodings, topics, SQL, other spellings), in every place of
the APIs that takes one.

It fails if one is taken for a station, if an answer is of the server's kind of error, or if somebody who reaches some
stations gets at another by a spelling of its id.
"""

import json
from urllib.parse import quote

import pytest

from csms.houses import GATEWAY, HOSTS
from tests.support.closed import Closed
from tests.support.raw_http import ask

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

STRANGE = (
    "..", ".", "../device/stations", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%2e%2e%2f", "..;", "a/b", "a%2fb", "a%252fb",
    "%5c..%5c", "a%00b", "%00", "a%0d%0aX-Injected:%201", "a%0ab", "%ff%fe", "%c0%ae%c0%ae", "%f0%9f%94%8c", "a:b",
    "ocpp.frames.device", "'%20OR%201=1--", "a';DROP%20TABLE%20stations;--", "%22;", "$(id)", "%60id%60", "{{7*7}}",
    "%25s%25n", "<script>", "%3Cscript%3E", "a" * 49, "a" * 5000, "%20" * 60, "?id=x", "%3Fx", "%23x", "CON%E2%80%AE",
)  # fmt: skip
"""As they stand in the request line."""
LEGAL = frozenset({".", "..", "%2e%2e", "ocpp.frames.device", "a" * 48})
"""Made of OCPP's letters all the same: no attack where they only name what is not there."""


def places(service: str, document: dict[str, dict[str, dict[str, object]]]) -> list[tuple[str, str]]:
    """Every operation that names a station."""
    return [
        (method.upper(), f"/{service}{path}")
        for path, operations in document["paths"].items()
        for method in operations
        if "{stationId}" in path
    ]


async def test_nothing_but_an_identity_names_a_station(closed: Closed) -> None:
    async with closed.admin as admin:
        before = (await admin.get("/device/stations", params={"limit": 500})).json()["items"]
        found: list[str] = []
        for service in (*HOSTS, GATEWAY):
            document = (await admin.get(f"/{service}/openapi.json")).json()
            some = [place for place in places(service, document) if "/commands/" not in place[1]]
            commands = [place for place in places(service, document) if "/commands/" in place[1]][:1]
            for method, path in some + commands:
                for identity in STRANGE:
                    target = path.replace("{stationId}", identity).replace("{transactionId}", "T")
                    if identity in LEGAL and method in ("PUT", "PATCH", "POST", "DELETE"):
                        continue
                    body = b"{}" if method in ("POST", "PUT", "PATCH") else b""
                    answer = await ask(
                        closed.system.addresses[service], method, target, body=body, key=closed.system.key
                    )
                    if answer.status >= 500 or answer.status == 0 or b"X-Injected" in answer.body:
                        found.append(f"{method} {target[:80]} is answered {answer.status}")
                    if answer.status < 300 and method != "GET":
                        found.append(f"{method} {target[:80]} is taken")
        for identity in ("..", ".", "a/b", "a:b", "a\r\nb", "a\0b", "🔌", "", "a" * 49, "\uff43\uff53-1", "cs\u200b-1"):
            posted = await admin.post("/device/stations", json={"id": identity})
            if posted.status_code not in (400, 422):
                found.append(f"the id {identity!r} is taken")
        assert found == []
        after = (await admin.get("/device/stations", params={"limit": 500})).json()["items"]
        assert [one["id"] for one in after] == [one["id"] for one in before]


async def test_no_spelling_of_an_id_reaches_further(closed: Closed) -> None:
    async with closed.admin as admin:
        for identity in ("IN-1", "OUT-K", "OUT-SS"):
            await admin.put(f"/device/stations/{identity}", json={})
        key = (await admin.post("/auth/apikeys", json={"scope": "operator", "stations": ["in-*"]})).json()["key"]
    address = closed.system.addresses["device"]
    spellings = (
        "OUT-K", "out-k", "oUT-k", "%4fUT-K", "OUT-%4B", "OUT-%E2%84%AA", "OUT-%C3%9F", "OUT-%E1%BA%9E",
        "IN-1/../OUT-K",
        "IN-1%2f..%2fOUT-K", "./OUT-K", "IN-1%00OUT-K", "OUT-K%00", "OUT-K%20", "%20OUT-K", "OUT-K?stationId=IN-1",
        "OUT-K;IN-1", "OUT-K%23IN-1", "%ef%bd%8fUT-K", "in-*/../OUT-K", "OUT-K/", "*", "in", "IN%00-1",
    )  # fmt: skip
    for spelling in spellings:
        for method, rest, body in (
            ("GET", "", b""),
            ("PATCH", "", json.dumps({"boot": "rejected"}).encode()),
            ("DELETE", "", b""),
            ("POST", "/commands/Reset", b'{"type":"Immediate"}'),
        ):
            answer = await ask(address, method, f"/device/stations/{spelling}{rest}", body=body, key=key)
            assert answer.status in (307, 400, 403, 404, 405, 422), f"{method} {spelling}{rest}: {answer.status}"
            assert b"OUT" not in answer.body
    async with closed.admin as admin:
        for identity in ("OUT-K", "OUT-SS", quote("IN-1")):
            assert (await admin.get(f"/device/stations/{identity}")).json()["boot"] == "accepted"
