"""Attack: callers who may do little try to do what others may, by every detour that HTTP knows.

It fails if one of them gets an answer of success, or if a station or an API key is there, or gone, afterwards.
"""

import json

import pytest

from csms.houses import HOSTS
from tests.support.closed import Closed
from tests.support.raw_http import ask

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

STATION = b'{"id": "STOLEN"}'
KEY = b'{"scope": "admin"}'
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-Method")
REWRITES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path")


async def state(closed: Closed) -> tuple[list[str], list[str]]:
    """All stations and API keys."""
    async with closed.admin as admin:
        stations = (await admin.get("/device/stations", params={"limit": 500})).json()["items"]
        keys = (await admin.get("/auth/apikeys", params={"limit": 500})).json()["items"]
    return [one["id"] for one in stations], [one["id"] + one["scope"] + str(one["disabled"]) for one in keys]


async def test_cross_role_calls(closed: Closed) -> None:
    async with closed.admin as admin:
        await admin.put("/device/stations/VICTIM", json={})
        roles = {"viewer": {"scope": "viewer"}, "some": {"scope": "admin", "stations": ["mine-*"]}}
        keys = {who: (await admin.post("/auth/apikeys", json=body)).json() for who, body in roles.items()}
    before = await state(closed)
    device, auth = closed.system.addresses["device"], closed.system.addresses["auth"]
    won = []
    for who, made in keys.items():
        key = made["key"]
        plain: list[tuple[str, str, str, bytes]] = [
            (device, "POST", "/device/stations", STATION),
            (device, "DELETE", "/device/stations/VICTIM", b""),
            (device, "PATCH", "/device/stations/VICTIM", b'{"password": "0123456789abcdef"}'),
            (device, "POST", "/device/stations/VICTIM/commands/Reset", b'{"type": "Immediate"}'),
            (auth, "POST", "/auth/apikeys", KEY),
            (auth, "PATCH", f"/auth/apikeys/{made['id']}", b'{"disabled": false, "scope": "admin"}'),
            (auth, "DELETE", "/auth/apikeys/admin", b""),
            (auth, "PUT", "/auth/tokens/Central/STOLEN", b'{"status": "Accepted"}'),
        ]
        for address, method, path, body in plain:
            service = path.split("/")[1]
            rest = path.removeprefix(f"/{service}")
            others = [one for one in HOSTS if one != service]
            targets = [
                path, f"{path}/", f"{path}?", f"{path}#", f"{path};x", f"/{service}/{rest}", f"//{service}{rest}",
                f"/{service}/.{rest}", f"/{service}/x/..{rest}", f"/{service}/%2e%2e/{service}{rest}",
                f"/{service.upper()}{rest}", f"/{service}/docs/..{rest}", f"/{service}/openapi.json/..{rest}",
                f"/{service}/docs/%2e%2e{rest}", f"http://csms{path}", f"http://other{path}",
                *(f"/{other}/../{service}{rest}" for other in others), *(f"/{other}{rest}" for other in others),
            ]  # fmt: skip
            tries: list[tuple[str, str, dict[str, str]]] = [(method, target, {}) for target in targets]
            tries += [(method, target, {"X_HTTP_Method_Override": method}) for target in targets[:1]]
            tries += [("GET", path, {name.replace("-", "_"): method}) for name in OVERRIDES]
            tries += [("POST", f"{path}?_method={method}", {})]
            tries += [(method, f"/{service}/docs", {name.replace("-", "_"): path}) for name in REWRITES]
            tries += [(method, f"/{service}/openapi.json", {name.replace("-", "_"): path}) for name in REWRITES]
            tries += [(method, path, {"X_Forwarded_For": "127.0.0.1", "X_Forwarded_User": "admin", "X_Role": "admin"})]
            for verb, target, headers in tries:
                answer = await ask(address, verb, target, body=body, key=key, **headers)
                if answer.status < 300 and not (verb == "GET" or b"swagger" in answer.body.lower()):
                    won.append(f"{who}: {verb} {target} {headers} is answered {answer.status}")
    assert won == []
    assert await state(closed) == before


async def test_no_key_becomes_more_than_it_was_made(closed: Closed) -> None:
    """Whoever may make keys is an administrator of all stations; nobody else makes or changes one, not even his own."""
    async with closed.admin as admin:
        made = (await admin.post("/auth/apikeys", json={"scope": "admin", "stations": ["mine-*"]})).json()
        more = await admin.patch(f"/auth/apikeys/{made['id']}", json={"disabled": False, "stations": None})
        assert more.status_code == 422, "what a key reaches is decided when it is made"
        shown = (await admin.get("/auth/apikeys", params={"limit": 500})).json()["items"]
    async with closed.bearer(made["key"]) as some:
        for method, path, body in (
            ("POST", "/auth/apikeys", {"scope": "viewer", "stations": ["mine-1"]}),
            ("PATCH", f"/auth/apikeys/{made['id']}", {"disabled": True}),
            ("DELETE", f"/auth/apikeys/{made['id']}", None),
            ("GET", "/auth/apikeys", None),
            ("GET", "/auth/audit", None),
        ):
            assert (await some.request(method, path, json=body)).status_code == 403
        assert (await some.get("/device/stations")).status_code == 200
    assert made["key"] not in json.dumps(shown)
