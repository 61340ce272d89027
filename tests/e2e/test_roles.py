"""Every route of every service, as OpenAPI tells it, against every role, every reach and every credential that is none.

The routes come from the running processes. What each may ask for is judged against the rules below, not against what
the code declares: a route that asks for less than they say, or that lets callers of some stations in without a word
here, fails.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import pytest
import pytest_asyncio
from ocpp.v201 import call

from csms.houses import GATEWAY, HOSTS
from ocppcore.http.auth import SCOPES
from tests.support.closed import Closed
from tests.support.issuer import pen
from tests.support.third_party import connected, eventually, getting, now, register

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(600)]

AT_LEAST = (
    ("*", r"/\w+/audit", "admin"),
    ("*", r"/auth/apikeys(/.*)?", "admin"),
    ("POST", r"/transactions/charge-details:rerate", "viewer"),  # tries a tariff on what was billed, changes nothing
    ("GET", r"/.*", "viewer"),
    ("*", r"/.*", "operator"),
)
"""The first row that fits: a caller with less than this role is refused."""
WITHIN = frozenset(
    {
        ("POST", "/device/stations"),
        ("GET", "/device/stations"),
        ("GET", "/device/credential-changes"),
        ("GET", "/device/credential-changes/{operationId}"),
        ("GET", "/device/security-events"),
        ("GET", "/auth/certificates"),
        ("GET", "/auth/certificates/{fingerprint}"),
        ("GET", "/auth/certificate-alarms"),
        ("GET", "/auth/station-local-lists"),
        ("GET", "/transactions/transactions"),
        ("GET", "/transactions/remote/{operationId}"),
        ("GET", "/transactions/charge-details"),
        ("GET", "/transactions/charge-details/{detailId}"),
        ("GET", "/transactions/charge-details/{detailId}/receipt"),
        ("GET", "/transactions/charge-details:export"),
        ("POST", "/transactions/charge-details:rerate"),
        ("POST", "/transactions/charge-details/{detailId}:rerate"),
        ("GET", "/transactions/drivers/{type}/{idToken}/charge-details"),
        ("GET", "/transactions/meter-gaps"),
        ("GET", "/transactions/reservations"),
        ("GET", "/transactions/signed-values"),
        *(("GET", f"/{service}/commands/{{commandId}}") for service in HOSTS),
        *(("GET", f"/{service}/operations/{{operationId}}") for service in HOSTS),
    }
)
"""The only routes without a station in their path that take callers who reach some stations: each is tried below."""
LINES = re.compile(r"/auth/token-imports/[^/]+/parts/[^/]+")
"""Takes lines of text, not JSON."""
IN, OUT = "IN-1", "OUT-1"
REACHED = ["in-*"]
AT_ONCE = 8
PARAMETERS = {"stationId": IN, "type": "Central", "idToken": "ROLES"}


RANKS: dict[str, int] = {role: rank for rank, role in enumerate(SCOPES)}


class Route(NamedTuple):
    """An operation of the OpenAPI documents; `path` with its service."""

    method: str
    path: str
    role: str
    stations: str

    def at(self, station: str = IN) -> str:
        filled = re.sub(r"\{(\w+)\}", lambda found: PARAMETERS.get(found[1], "none"), self.path.replace(
            "{stationId}", station))  # fmt: skip
        return filled


async def routes(closed: Closed) -> list[Route]:
    """Of all services."""
    found = []
    async with closed.raw() as client:
        for service in (*HOSTS, GATEWAY):
            document = (await client.get(f"/{service}/openapi.json")).json()
            for path, operations in document["paths"].items():
                for method, said in operations.items():
                    route = f"/{service}{path}"
                    found.append(Route(method.upper(), route, said["x-csms-role"], said["x-csms-stations"]))
    assert len(found) > 80
    return found


def least(route: Route) -> str:
    return next(
        role for method, path, role in AT_LEAST if method in ("*", route.method) and re.fullmatch(path, route.path)
    )


@dataclass
class People:
    """Credentials by what they are."""

    roles: dict[str, str]
    some: dict[str, str]
    nobody: dict[str, str]


async def key(admin: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    made = await admin.post("/auth/apikeys", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def people(closed: Closed) -> AsyncIterator[People]:
    """An API key and a token of every role, for all stations and for some; and all kinds of nobody."""
    issuer = closed.issuer
    async with closed.admin as admin:
        keys: dict[str, str] = {role: (await key(admin, scope=role))["key"] for role in SCOPES}
        some: dict[str, str] = {role: (await key(admin, scope=role, stations=REACHED))["key"] for role in SCOPES}
        tokens = {f"{role}'s token": issuer.token(sub=role, roles=[role], csms_stations=["*"]) for role in SCOPES}
        some_tokens = {
            f"{role}'s token": issuer.token(sub=role, roles=[role], csms_stations=REACHED) for role in SCOPES
        }
        soon = datetime.now(UTC) + timedelta(seconds=1)
        expiring = await key(admin, scope="admin", expiresAt=soon.isoformat())
        disabled, revoked = await key(admin, scope="admin"), await key(admin, scope="admin")
        assert (await admin.patch(f"/auth/apikeys/{disabled['id']}", json={"disabled": True})).status_code == 200
        assert (await admin.delete(f"/auth/apikeys/{revoked['id']}")).status_code == 204
        nobody = {
            "nothing": "",
            "an empty bearer": "Bearer",
            "no key": "Bearer csms_wrong",
            "Basic": "Basic YWRtaW46YWRtaW4=",
            "the administrator's key as Basic": f"Basic {closed.system.key}",
            "half a key": f"Bearer {keys['admin'][:-1]}",
            "a key that expired": f"Bearer {expiring['key']}",
            "a key that is disabled": f"Bearer {disabled['key']}",
            "a key that was revoked": f"Bearer {revoked['key']}",
            "a token that expired": f"Bearer {issuer.token(roles=['admin'], csms_stations=['*'], exp=1)}",
            "another's token": f"Bearer {issuer.token(roles=['admin'], csms_stations=['*'], aud='other')}",
            "a token under another's key": "Bearer "
            + pen(issuer.pens[0].kid).sign(issuer.claims(roles=["admin"], csms_stations=["*"])),
        }

        async def refused_everywhere() -> list[int]:
            gone = [
                {"Authorization": nobody[f"a key that {what}"]} for what in ("expired", "is disabled", "was revoked")
            ]
            paths = [f"/{service}/operations/none" for service in HOSTS] + ["/gateway/connections"]
            return [(await admin.get(path, headers=headers)).status_code for path in paths for headers in gone]

        await eventually(refused_everywhere, lambda found: set(found) == {401})
        yield People({**keys, **tokens}, {**some, **some_tokens}, nobody)


async def ask(client: httpx.AsyncClient, method: str, path: str, authorization: str = "") -> httpx.Response:
    """With a body that says as little as possible."""
    body: dict[str, Any] | None = None if method in ("GET", "DELETE") else {}
    headers = {"Prefer": "respond-async"} | ({"Authorization": authorization} if authorization else {})
    if LINES.fullmatch(path):
        return await client.request(method, path, headers=headers | {"Content-Type": "text/csv"}, content=b"")
    return await client.request(method, path, headers=headers, json=body)


Judge = Callable[[httpx.AsyncClient, Any], Awaitable[str | None]]


async def all_of(closed: Closed, cases: Sequence[Any], judge: Judge) -> list[str]:
    """The faults that `judge` finds, a few at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(case: Any) -> str | None:
        async with gate:
            return await judge(client, case)

    async with closed.raw() as client:
        return sorted(filter(None, await asyncio.gather(*map(one, cases))))


async def test_every_route_asks_for_a_role_and_no_less_than_its_kind(closed: Closed) -> None:
    faults = []
    for route in await routes(closed):
        if RANKS[route.role] < RANKS[least(route)]:
            faults.append(f"{route.method} {route.path} asks for {route.role}, and must for {least(route)}")
        if (route.stations == "path") != ("{stationId}" in route.path):
            faults.append(f"{route.method} {route.path} does not look at its station")
        if route.stations == "within" and (route.method, route.path) not in WITHIN:
            faults.append(f"{route.method} {route.path} takes callers of some stations: try it here, then name it")
    assert faults == []


async def test_each_role_gets_as_far_as_the_route_says(closed: Closed, people: People) -> None:
    async def judge(client: httpx.AsyncClient, case: tuple[Route, str]) -> str | None:
        route, who = case
        role = who.split("'")[0]
        may = RANKS[role] >= RANKS[route.role]
        status = (await ask(client, route.method, route.at(), f"Bearer {people.roles[who]}")).status_code
        if (status == 403) == may or status in (401, 500):
            return f"{who}: {route.method} {route.path} is answered {status}"
        return None

    async with closed.admin as admin:
        await admin.put(f"/device/stations/{IN}", json={})
    assert await all_of(closed, [(route, who) for route in await routes(closed) for who in people.roles], judge) == []


async def test_who_reaches_some_stations_gets_no_further(closed: Closed, people: People) -> None:
    async def judge(client: httpx.AsyncClient, case: tuple[Route, str, str]) -> str | None:
        route, who, station = case
        within = route.stations == "within" or (route.stations == "path" and station == IN)
        may = within and RANKS[who.split("'")[0]] >= RANKS[route.role]
        status = (await ask(client, route.method, route.at(station), f"Bearer {people.some[who]}")).status_code
        if (status == 403) == may or status in (401, 500):
            return f"{who} for {REACHED}: {route.method} {route.at(station)} is answered {status}"
        return None

    cases = [
        (route, who, station)
        for route in await routes(closed)
        for who in people.some
        for station in ((IN, OUT, OUT.lower(), "NOBODY") if route.stations == "path" else (IN,))
    ]
    assert await all_of(closed, cases, judge) == []


async def test_nobody_gets_in(closed: Closed, people: People) -> None:
    async def judge(client: httpx.AsyncClient, case: tuple[Route, str]) -> str | None:
        route, who = case
        answer = await ask(client, route.method, route.at(), people.nobody[who])
        if answer.status_code != 401 or "Bearer" not in answer.headers.get("WWW-Authenticate", ""):
            return f"{who}: {route.method} {route.path} is answered {answer.status_code}"
        return None

    assert await all_of(closed, [(route, who) for route in await routes(closed) for who in people.nobody], judge) == []


async def test_what_needs_no_credentials_is_named_here(closed: Closed) -> None:
    """And everything else is refused, also what is no route."""
    async with closed.raw() as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        for service in (*HOSTS, GATEWAY):
            for path in ("openapi.json", "docs"):
                assert (await client.get(f"/{service}/{path}")).status_code == 200
            for path in ("", "/", "/no-route", "/openapi.json/", "/docs/..", "/Docs", "/stations/x/commands/None"):
                for method in ("GET", "POST", "OPTIONS", "HEAD", "TRACE", "QUERY"):
                    status = (await client.request(method, f"/{service}{path}")).status_code
                    assert status in (401, 404, 405, 307), (method, service, path, status)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lived(closed: Closed) -> AsyncIterator[dict[str, str]]:
    """Both stations have done the same things. Where those of OUT are to be found, by route."""
    places: dict[str, str] = {}
    async with closed.admin as admin:
        await admin.delete(f"/device/stations/{IN}")
        (await admin.put("/auth/tokens/ISO14443/DRIVER", json={"status": "Accepted"})).raise_for_status()
        for identity in (IN, OUT):
            await register(admin, identity)
            async with connected(closed.system, identity) as station:
                assert (await station.boot()).status == "Accepted"
                await station.status("Available")
                await station.begin(f"T-{identity}", "DRIVER")
                await station.end(5.0)
                await station.call(call.SecurityEventNotification(type="FirmwareUpdated", timestamp=now()))
                rotated = await admin.post(f"/device/stations/{identity}/password:rotate", json={})
            where = f"/device/credential-changes/{rotated.json()['operationId']}"
            places["/device/credential-changes/{operationId}"] = where
            events = await eventually(
                getting(admin, f"/transactions/transactions?stationId={identity}"), lambda page: bool(page["items"])
            )
            assert events["items"][0]["stationId"] == identity
            billed = await eventually(
                getting(admin, f"/transactions/charge-details?stationId={identity}"), lambda page: bool(page["items"])
            )
            detail = f"/transactions/charge-details/{billed['items'][0]['id']}"
            places["/transactions/charge-details/{detailId}"] = detail
            places["/transactions/charge-details/{detailId}/receipt"] = f"{detail}/receipt"
            command = await admin.post(f"/device/stations/{identity}/commands/ClearDisplayMessage", json={"id": 1})
            places["/device/commands/{commandId}"] = f"/device/commands/{command.json()['commandId']}"
            driver = {"idToken": {"idToken": "DRIVER", "type": "ISO14443"}}
            remote = await admin.post(f"/transactions/stations/{identity}/remote-start", json=driver)
            until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            reserved = {**driver, "expiryDateTime": until}
            made = await admin.post(f"/transactions/stations/{identity}/reservations", json=reserved)
            assert made.status_code == 200, made.text
            places["/transactions/remote/{operationId}"] = f"/transactions/remote/{remote.json()['operationId']}"
        yield places


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    match value:
        case str():
            yield value
        case dict():
            for name, item in value.items():
                yield from (name, *texts(item))
        case list():
            for item in value:
                yield from texts(item)


async def test_lists_and_resources_show_nothing_of_other_stations(
    closed: Closed, people: People, lived: dict[str, str]
) -> None:
    shown: dict[str, str] = {}
    async with closed.bearer(people.some["viewer"]) as some, closed.bearer(people.roles["viewer"]) as all_:
        for route in await routes(closed):
            if route.method != "GET" or route.stations == "all" or route.role != "viewer":
                continue
            path = lived.get(route.path, route.at())
            answer = await some.get(path)
            said = texts(answer.json()) if "json" in answer.headers["content-type"] else answer.text.splitlines()
            leaked = [text for text in said if OUT.casefold() in text.casefold()]
            assert leaked == [], f"{path} shows {leaked}"
            shown[route.path] = (await all_.get(path)).text.casefold()
            if route.path in lived:
                assert answer.status_code == 404, f"{path} is another station's"
                assert OUT.casefold() in shown[route.path], f"{path} is there for who reaches all"
        for path in (
            "/device/stations",
            "/device/security-events",
            "/device/credential-changes",
            "/transactions/transactions",
            "/transactions/charge-details",
            "/transactions/charge-details:export",
            "/transactions/reservations",
        ):
            assert OUT.casefold() in shown[path], f"{path} holds both for who reaches all"
            assert IN.casefold() in (await some.get(path)).text.casefold(), f"{path} holds his own"
        page = await some.get("/device/stations", params={"limit": 1})
        assert [one["id"] for one in page.json()["items"]] == [IN]
        assert page.json()["next"] is None
        asked = await some.get("/transactions/transactions", params={"stationId": OUT})
        assert asked.json()["items"] == []


async def test_a_station_is_registered_within_reach_only(closed: Closed, people: People) -> None:
    async with closed.bearer(people.some["operator"]) as client:
        for identity, status in (("In-2", 201), ("OUT-2", 403), ("xin-2", 403), (OUT, 403), ("in", 403)):
            answer = await client.post("/device/stations", json={"id": identity})
            assert answer.status_code == status, f"{identity}: {answer.text}"
            if status == 403:
                assert OUT not in answer.text
        assert (await client.delete("/device/stations/IN-2")).status_code == 204


async def test_the_audit_names_who_did_it_and_who_tried(closed: Closed, people: People) -> None:
    viewer, operator = people.roles["viewer's token"], people.roles["operator's token"]
    where, route = "/device/stations/AUDITED", "/device/stations/{stationId}"
    async with closed.bearer(operator) as client:
        assert (await client.put(where, json={})).status_code == 201
        assert (await client.delete(where)).status_code == 204
    async with closed.admin as admin, closed.bearer(viewer) as client:
        done = (await getting(admin, "/device/audit?target=audited")())["items"]

        async def tried() -> list[int]:
            """Of one time of ten seconds so many sorts are named, and the tests before had many: it goes on trying."""
            assert (await client.put(where, json={})).status_code == 403
            page = await getting(admin, f"/device/audit?actor={closed.issuer.url}%23viewer")()
            return [one["status"] for one in page["items"] if (one["method"], one["route"]) == ("PUT", route)]

        assert set(await eventually(tried, bool)) == {403}
    assert [(one["method"], one["route"], one["status"], one["actor"], one["address"]) for one in done] == [
        ("DELETE", route, 204, f"{closed.issuer.url}#operator", "127.0.0.1"),
        ("PUT", route, 201, f"{closed.issuer.url}#operator", "127.0.0.1"),
    ]


async def test_keys_of_the_issuer_are_changed_under_way(closed: Closed) -> None:
    """The last test with these tokens: those of the old key count no more once the new one was seen."""
    async with closed.bearer(closed.issuer.token(csms_stations=["*"])) as client:
        assert (await client.get("/device/stations")).status_code == 200
    old = closed.issuer.pens
    closed.issuer.rotate("RS256")
    try:

        async def status() -> int:
            async with closed.bearer(closed.issuer.token(csms_stations=["*"])) as client:
                return (await client.get("/device/stations")).status_code

        assert await eventually(status, lambda found: found == 200) == 200
    finally:
        closed.issuer.pens = [*old, *closed.issuer.pens]
