"""Everything a stranger may send to the HTTP APIs: a clear problem each, and nothing changed."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio

from csms.harness import System
from csms.houses import HOSTS
from ocppcore import audit
from tests.support.third_party import eventually, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system"]

STATION = "/device/stations/Http-1"
TOKEN = "/auth/tokens/ISO14443/04ABCD"
COMMAND = f"{STATION}/commands"
START = "/transactions/stations/Http-1/remote-start"
DRIVER = {"idToken": "04ABCD", "type": "ISO14443"}
BODY_BYTES_MAX = 1_048_576
TOGETHER = 10
"""Cases between two looks at whether anything has changed."""


@dataclass(frozen=True)
class Case:
    """A request and what must come of it. `named`: words of the problem, such as the field at fault."""

    name: str
    method: str
    path: str
    status: int
    named: str = ""
    json: Any = field(default=None, hash=False)
    content: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict, hash=False)
    who: str = "admin"


def post(name: str, json: Any, named: str, status: int = 422, path: str = "/device/stations") -> Case:
    return Case(name, "POST", path, status, named, json=json)


def token(name: str, changes: dict[str, Any], named: str, path: str = TOKEN) -> Case:
    return Case(f"token: {name}", "PUT", path, 422, named, json={"status": "Accepted", **changes})


def get(name: str, path: str, status: int, named: str = "") -> Case:
    return Case(f"get: {name}", "GET", path, status, named)


def raw(name: str, content: bytes, status: int, named: str, kind: str = "application/json") -> Case:
    return Case(
        f"raw: {name}", "POST", "/device/stations", status, named, content=content, headers={"Content-Type": kind}
    )


STATIONS = [
    post("a list", [], "body"),
    post("a text", "Http-2", "body"),
    post("null", None, "body", path="/device/stations?"),
    post("no id", {}, "body.id"),
    post("id is a number", {"id": 7}, "body.id"),
    post("id is empty", {"id": ""}, "body.id"),
    post("id of 49 characters", {"id": "x" * 49}, "body.id"),
    post("id with a slash", {"id": "a/b"}, "body.id"),
    post("id with a colon", {"id": "a:b"}, "body.id"),
    post("id is dots", {"id": ".."}, "body.id"),
    post("id with a line end", {"id": "a\n"}, "body.id"),
    post("id with an emoji", {"id": "a🔌"}, "body.id"),
    post("id with NUL", {"id": "a\x00b"}, "NUL", 400),
    post("unknown field", {"id": "Http-2", "colour": "red"}, "body.colour"),
    post("password with a space", {"id": "Http-2", "password": "correct horse battery"}, "body.password"),
    post("password of 41 characters", {"id": "Http-2", "password": "x" * 41}, "body.password"),
    post("password is null", {"id": "Http-2", "password": None}, "body.password"),
    post("profile is a text", {"id": "Http-2", "securityProfile": "1"}, "body.securityProfile"),
    post("profile is a truth", {"id": "Http-2", "securityProfile": True}, "body.securityProfile"),
    post("profile 0", {"id": "Http-2", "securityProfile": 0}, "body.securityProfile"),
    post("profile 4", {"id": "Http-2", "securityProfile": 4}, "body.securityProfile"),
    post("profile 1.5", {"id": "Http-2", "securityProfile": 1.5}, "body.securityProfile"),
    post("boot maybe", {"id": "Http-2", "boot": "maybe"}, "body.boot"),
    post("interval below 0", {"id": "Http-2", "bootInterval": -1}, "body.bootInterval"),
    post("interval beyond 32 bits", {"id": "Http-2", "bootInterval": 2**31}, "body.bootInterval"),
    post("interval of 400 digits", {"id": "Http-2", "bootInterval": 10**400}, "", 400),
    post("EVSE 0", {"id": "Http-2", "evses": [{"id": 0}]}, "body.evses.0.id"),
    post("EVSE twice", {"id": "Http-2", "evses": [{"id": 1}, {"id": 1}]}, "evses"),
    post("501 EVSEs", {"id": "Http-2", "evses": [{"id": n} for n in range(1, 502)]}, "body.evses"),
    post("connector twice", {"id": "Http-2", "evses": [{"id": 1, "connectors": [{"id": 1}] * 2}]}, "connectors"),
    post("limit of no action", {"id": "Http-2", "limits": {"Dance": {"items": 1}}}, "body.limits"),
    post("zone of another planet", {"id": "Http-2", "zone": "Mars/Olympus"}, "body.zone"),
    post("registered already", {"id": "HTTP-1"}, "", 409),
    Case("change: unknown station", "PATCH", "/device/stations/Nobody", 404, json={"boot": "pending"}),
    Case("change: unknown field", "PATCH", STATION, 422, "body.colour", json={"colour": "red"}),
    Case("change: wrong type", "PATCH", STATION, 422, "body.disabled", json={"disabled": "yes"}),
    Case("replace: bad id", "PUT", "/device/stations/a%3Ab", 422, "path.stationId", json={}),
    Case("replace: 49 characters", "PUT", f"/device/stations/{'x' * 49}", 422, "path.stationId", json={}),
    Case("replace: wrong body", "PUT", STATION, 422, "body.boot", json={"boot": 1}),
    Case("remove: unknown station", "DELETE", "/device/stations/Nobody", 404),
    get("unknown station", "/device/stations/Nobody", 404),
    get("station that climbs", "/device/stations/..%2F..%2Fetc", 404),
    get("history of an unknown station", "/device/stations/Nobody/status-history", 404),
    get("history of EVSE -1", f"{STATION}/status-history?evseId=-1", 422, "query.evseId"),
    get("NUL in the address", "/device/stations/%00", 400, "NUL"),
    get("NUL in the query", "/device/stations?boot=%00", 400, "NUL"),
]

LISTS = [
    get(f"{path}?{query}", f"{path}?{query}", 422, named)
    for path in ("/device/stations", "/auth/tokens", "/auth/apikeys", "/transactions/transactions")
    for query, named in (
        ("limit=0", "query.limit"),
        ("limit=501", "query.limit"),
        ("limit=x", "query.limit"),
        (f"limit={10**30}", "query.limit"),
        ("cursor=%21", "query.cursor"),
        ("cursor=W251bGwse31d", "query.cursor"),
        (f"cursor={'A' * 2001}", "query.cursor"),
    )
] + [
    get("boot=maybe", "/device/stations?boot=maybe", 422, "query.boot"),
    get("state=lost", "/transactions/transactions?state=lost", 422, "query.state"),
    get("evseId=-1", "/transactions/transactions?evseId=-1", 422, "query.evseId"),
    get("status=Fine", "/auth/tokens?status=Fine", 422, "query.status"),
    get("frames since some time", "/gateway/stations/Http-1/frames?since=yesterday", 422, "since"),
    get("frames since the year 99999", "/gateway/stations/Http-1/frames?since=99999-01-01T00:00:00Z", 422, "since"),
    get("1001 frames", "/gateway/stations/Http-1/frames?limit=1001", 422, "query.limit"),
    get("frames of an unknown station", "/gateway/stations/Nobody/frames", 404),
    get("unknown transaction", "/transactions/transactions/Http-1/None", 404),
    get("unknown remote operation", "/transactions/remote/none", 404),
    get("unknown command", "/device/commands/none", 404),
    get("unknown operation", "/device/operations/none", 404),
    get("made-up operation", "/device/operations/aa-bb-cc", 404),
]

TOKENS = [
    token("of no type", {}, "path.type", "/auth/tokens/Paper/04ABCD"),
    token("of 37 characters", {}, "path.idToken", f"/auth/tokens/ISO14443/{'0' * 37}"),
    Case("token: no status", "PUT", TOKEN, 422, "body.status", json={}),
    token("status of no kind", {"status": "Fine"}, "body.status"),
    token("unknown field", {"colour": "red"}, "body.colour"),
    token("station that is not registered", {"stations": ["Http-1", "Nobody"]}, "nobody"),
    token("station that is none", {"stations": ["a/b"]}, "body.stations.0"),
    token("EVSE 0", {"evses": [0]}, "body.evses.0"),
    token("group without a type", {"groupIdToken": {"idToken": "G"}}, "body.groupIdToken.type"),
    token("second language alone", {"language2": "de"}, "language2"),
    token("the same language twice", {"language1": "de", "language2": "DE"}, "language2"),
    token("language that is none", {"language1": "German!"}, "body.language1"),
    token("priority 10", {"chargingPriority": 10}, "body.chargingPriority"),
    token("connector of no type", {"connectorTypes": ["plug"]}, "body.connectorTypes.0"),
    token("time that is none", {"validFrom": "tomorrow"}, "body.validFrom"),
    token("time without a zone", {"validFrom": "2030-01-01T00:00:00"}, "body.validFrom"),
    token("year 222222017", {"cacheExpiryDateTime": "222222017-01-01T00:00:00Z"}, "body.cacheExpiryDateTime"),
    token("ends before it begins", {"validFrom": "2031-01-01T00:00:00Z", "validTo": "2030-01-01T00:00:00Z"}, "validTo"),
    token("message without content", {"personalMessage": {"format": "UTF8"}}, "body.personalMessage.content"),
    Case("token: remove an unknown one", "DELETE", "/auth/tokens/ISO14443/04FFFF", 404),
    get("unknown token", "/auth/tokens/ISO14443/04FFFF", 404),
    post("API key of no scope", {"scope": "king"}, "body.scope", path="/auth/apikeys"),
    post("API key with a line end", {"scope": "viewer", "name": "a\nb"}, "body.name", path="/auth/apikeys"),
    Case("API key: revoke an unknown one", "DELETE", "/auth/apikeys/none", 404),
]


def command(name: str, payload: Any, named: str, action: str = "Reset", status: int = 422) -> Case:
    return Case(f"command: {name}", "POST", f"{COMMAND}/{action}", status, named, json=payload)


def start(name: str, changes: dict[str, Any], named: str) -> Case:
    return Case(f"remote start: {name}", "POST", START, 422, named, json={"idToken": DRIVER, **changes})


NOW = {"type": "Immediate"}
TX_PROFILE = {"chargingProfilePurpose": "TxProfile"}

COMMANDS = [
    post("command to an unknown station", NOW, "", 404, "/device/stations/Nobody/commands/Reset"),
    command("of no name", {}, "", "Dance", 404),
    command("of another service", {}, "", "ClearCache", 404),
    command("of stations", {}, "", "BootNotification", 404),
    command("field missing", {}, "body.type"),
    command("wrong value", {"type": "Now"}, "body.type"),
    command("unknown field", {**NOW, "x": 1}, "body.x"),
    command("a list", [], "body"),
    command("text too long", {"requestId": 1, "reportBase": "x" * 99}, "body.reportBase", "GetBaseReport"),
    command("queue for -1", NOW, "query.queueFor", "Reset?queueFor=-1"),
    command("queue for ever", NOW, "query.queueFor", "Reset?queueFor=99999999"),
    command("answer within 301 s", NOW, "query.answerWithin", "Reset?answerWithin=301"),
    post("remote start: unknown station", {"idToken": DRIVER}, "", 404, "/transactions/stations/Nobody/remote-start"),
    post("remote start: no token", {}, "body.idToken", path=START),
    start("EVSE 0", {"evseId": 0}, "body.evseId"),
    start("wrong purpose", {"chargingProfile": {"chargingProfilePurpose": "TxDefaultProfile"}}, "F01.FR.09"),
    start("transactionId in the profile", {"chargingProfile": {**TX_PROFILE, "transactionId": "T"}}, "F01.FR.11"),
    start("profile of nothing", {"chargingProfile": TX_PROFILE}, "chargingProfile"),
    post("remote stop: unknown station", {"transactionId": "T"}, "", 404, "/transactions/stations/Nobody/remote-stop"),
    post(
        "remote stop: 37 characters",
        {"transactionId": "T" * 37},
        "body.transactionId",
        path="/transactions/stations/Http-1/remote-stop",
    ),
]

BODIES = [
    raw("no JSON", b"{", 400, "JSON"),
    raw("two values", b"{} {}", 400, "JSON"),
    raw("not UTF-8", b'{"id": "\xff"}', 400, "JSON"),
    raw("lone surrogate", b'{"id": "\\ud800"}', 400, "JSON"),
    raw("NaN", b'{"id": "Http-2", "bootInterval": NaN}', 400, "JSON"),
    raw("infinity", b'{"id": "Http-2", "bootInterval": 1e999}', 400, ""),
    raw("10,000 deep", b"[" * 10_000 + b"]" * 10_000, 400, "deep"),
    raw("65 deep", b'{"a":' * 65 + b"1" + b"}" * 65, 400, "deep"),
    raw("text", b'{"id": "Http-2"}', 415, "JSON", "text/plain"),
    raw("form", b"id=Http-2", 415, "JSON", "application/x-www-form-urlencoded"),
    raw("no kind", b'{"id": "Http-2"}', 415, "JSON", ""),
    raw("one byte too many", b" " * (BODY_BYTES_MAX + 1), 413, str(BODY_BYTES_MAX)),
    Case("raw: nothing", "POST", "/device/stations", 422, "body"),
]

CALLERS = [
    Case("nobody", "GET", "/device/stations", 401, who="nobody"),
    Case("unknown key", "GET", "/device/stations", 401, who="nobody", headers={"Authorization": "Bearer csms_made-up"}),
    Case("another scheme", "GET", "/device/stations", 401, who="nobody", headers={"Authorization": "Basic YTpi"}),
    Case("empty key", "GET", "/device/stations", 401, who="nobody", headers={"Authorization": "Bearer"}),
    Case(
        "endless key", "GET", "/device/stations", 401, who="nobody", headers={"Authorization": f"Bearer {'x' * 5000}"}
    ),
    Case("nobody's large body", "POST", "/device/stations", 401, who="nobody", content=b" " * 10_000),
    Case("viewer writes", "POST", "/device/stations", 403, "operator", json={"id": "Http-2"}, who="viewer"),
    Case("viewer writes nonsense", "POST", "/device/stations", 403, "operator", json=[], who="viewer"),
    Case("viewer commands", "POST", f"{COMMAND}/Reset", 403, "operator", json={"type": "Immediate"}, who="viewer"),
    Case("viewer looks at keys", "GET", "/auth/apikeys", 403, "admin", who="viewer"),
    Case("operator makes a key", "POST", "/auth/apikeys", 403, "admin", json={"scope": "admin"}, who="operator"),
    Case("operator looks at keys", "GET", "/auth/apikeys", 403, "admin", who="operator"),
    Case("nobody asks what there is", "GET", "/device/nothing", 401, who="nobody"),
]

METHODS = [
    Case("DELETE of all stations", "DELETE", "/device/stations", 405),
    Case("POST to a station", "POST", STATION, 405, json={}),
    Case("GET of a command's route", "GET", f"{COMMAND}/Reset", 405),
    Case("word that is no method", "BREW", "/device/stations", 405),
    Case("path of nothing", "GET", "/device/nothing", 404),
    Case("service of nothing", "GET", "/nothing", 404),
    Case("Idempotency-Key with a space", "POST", "/device/stations", 422, "idempotency-key", json={"id": "Http-2"},
         headers={"Idempotency-Key": "a b"}),
    Case("Idempotency-Key of 201 characters", "POST", "/device/stations", 422, "idempotency-key", json={"id": "Http-2"},
         headers={"Idempotency-Key": "x" * 201}),
]  # fmt: skip

CASES = [*STATIONS, *LISTS, *TOKENS, *COMMANDS, *BODIES, *CALLERS, *METHODS]


@dataclass
class Target:
    """A system with something in it, and a client for each caller."""

    system: System
    clients: dict[str, httpx.AsyncClient]
    hashes: dict[str, str]

    async def content(self) -> dict[str, Any]:
        """All that a caller may see of it."""
        admin = self.clients["admin"]
        lists = ("/device/stations", "/auth/tokens", "/auth/apikeys", "/transactions/transactions")
        return {path: (await admin.get(path, params={"limit": 500})).json() for path in lists}


async def hashes(system: System) -> dict[str, str]:
    """Without the audit, which is to say what was refused."""
    return {service: await system.projections(service, without=audit.TABLE.name) for service in HOSTS}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(system: System) -> AsyncIterator[Target]:
    async with system.client() as admin:
        await register(admin, "Http-1")
        await admin.put(TOKEN, json={"status": "Accepted"})
        keys = {
            scope: (await admin.post("/auth/apikeys", json={"scope": scope})).json()["key"]
            for scope in ("viewer", "operator")
        }
        async with (
            system.client(keys["viewer"]) as viewer,
            system.client(keys["operator"]) as operator,
            system.client("") as nobody,
        ):
            clients = {"admin": admin, "viewer": viewer, "operator": operator, "nobody": nobody}
            yield Target(system, clients, await hashes(system))


@pytest.mark.requirement("F01.FR.09", "F01.FR.11", "F02.FR.17", "F02.FR.19", "C01.FR.10", "C01.FR.11", "C01.FR.17")
@pytest.mark.asyncio(loop_scope="module")
async def test_nothing_bad_gets_in(target: Target) -> None:
    """Every case: its status, a problem that names the fault, and the same content as before."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) > 120
    faults = []
    before = await target.content()
    for start_at in range(0, len(CASES), TOGETHER):
        some = CASES[start_at : start_at + TOGETHER]
        for case in some:
            faults += [f"{case.name}: {fault}" for fault in await attempt(target, case)]
        after = await target.content()
        if after != before:
            faults.append(f"one of {[case.name for case in some]} changed something")
            before = after
    assert faults == [], "\n".join(faults)
    assert await hashes(target.system) == target.hashes, "something changed that no list shows"


async def attempt(target: Target, case: Case) -> list[str]:
    """What is wrong with the answer."""
    body: dict[str, Any] = {"content": case.content}
    if case.content is None and (case.json is not None or "null" in case.name):
        # Python's own writer: it writes what others refuse to, such as a number of 400 digits.
        body = {"content": json.dumps(case.json).encode()}
        body["headers"] = {"Content-Type": "application/json", **case.headers}
    else:
        body["headers"] = case.headers
    answer = await target.clients[case.who].request(case.method, case.path, **body)
    faults = []
    if answer.status_code != case.status:
        faults.append(f"{answer.status_code} for {case.status}: {answer.text[:300]}")
    if answer.headers.get("content-type") != "application/problem+json":
        return [*faults, f"no problem but {answer.headers.get('content-type')}"]
    problem = answer.json()
    if problem["status"] != answer.status_code or not problem["title"]:
        faults.append(f"a poor problem: {problem}")
    if case.named not in answer.text:
        faults.append(f"does not name {case.named!r}: {answer.text[:300]}")
    if "Traceback" in answer.text:
        faults.append(f"tells about our code: {answer.text[:300]}")
    return faults


@pytest.mark.asyncio(loop_scope="module")
async def test_body_without_an_end_is_cut_at_its_limit(target: Target) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50 * BODY_BYTES_MAX:
            sent += 65_536
            yield b" " * 65_536

    try:
        answer = await target.clients["admin"].post(
            "/device/stations", content=endless(), headers={"Content-Type": "application/json"}
        )
    except httpx.TransportError:
        pass  # cut before the answer could be read: as good
    else:
        assert answer.status_code == 413
    assert sent < 50 * BODY_BYTES_MAX


@pytest.mark.asyncio(loop_scope="module")
async def test_double_post_counts_once(target: Target) -> None:
    admin = target.clients["admin"]
    key = {"Idempotency-Key": "order-1"}
    first = await admin.post("/device/stations", json={"id": "Double-1"}, headers=key)
    assert first.status_code == 201
    made = first.json()
    assert made.pop("password")
    again = await admin.post("/device/stations", json={"id": "Double-1"}, headers=key)
    assert (again.status_code, again.json()) == (201, made)
    other = await admin.post("/device/stations", json={"id": "Double-2"}, headers=key)
    assert other.status_code == 422
    assert "Idempotency-Key" in other.text
    assert (await admin.get("/device/stations/Double-2")).status_code == 404
    somebody_elses = await target.clients["operator"].post("/device/stations", json={"id": "Double-3"}, headers=key)
    assert somebody_elses.status_code == 201
    without = await admin.post("/device/stations", json={"id": "Double-1"})
    assert without.status_code == 409


@pytest.mark.asyncio(loop_scope="module")
async def test_pages_follow_one_another(target: Target) -> None:
    admin = target.clients["admin"]
    for number in range(5):
        await admin.put(f"/auth/tokens/Central/page-{number}", json={"status": "Blocked"})
    found: list[str] = []
    path: str | None = "/auth/tokens?limit=2&status=Blocked&type=Central"
    while path:
        page = (await admin.get(path)).json()
        assert len(page["items"]) <= 2
        found += [item["idToken"] for item in page["items"]]
        path = page["next"]
    assert sorted(found) == [f"page-{number}" for number in range(5)]


@pytest.mark.asyncio(loop_scope="module")
async def test_revoked_key_is_refused(target: Target) -> None:
    admin = target.clients["admin"]
    made = (await admin.post("/auth/apikeys", json={"scope": "viewer"})).json()
    async with target.system.client(made["key"]) as shortly:
        assert (await shortly.get("/transactions/transactions")).status_code == 200
        assert (await admin.delete(f"/auth/apikeys/{made['id']}")).status_code == 204
        await eventually(lambda: shortly.get("/auth/tokens"), lambda answer: answer.status_code == 401)
