"""Attack: requests that were seen on the way, or guessed, are sent again, changed or by others.

It fails if anything is done twice, if a repeat under an Idempotency-Key does something else, or if one caller gets to
see the outcome of another's request, or a secret that was shown once.
"""

import asyncio

import pytest

from tests.support.closed import Closed

pytest_plugins = ["tests.support.kafka_broker", "tests.support.system", "tests.support.closed_system"]
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_a_replayed_request_does_nothing_again_and_a_changed_one_nothing_at_all(closed: Closed) -> None:
    async with closed.admin as admin:
        headers = {"Idempotency-Key": "replay-1"}
        first = await admin.post("/device/stations", json={"id": "REPLAYED"}, headers=headers)
        assert (first.status_code, len(first.json()["password"])) == (201, 32)
        again = await asyncio.gather(
            *(admin.post("/device/stations", json={"id": "REPLAYED"}, headers=headers) for _ in range(20))
        )
        assert {one.status_code for one in again} == {201}
        assert not any("password" in one.json() for one in again), "shown once"
        for method, path, body in (
            ("POST", "/device/stations", {"id": "REPLAYED-2"}),
            ("POST", "/device/stations?x=1", {"id": "REPLAYED"}),
            ("PUT", "/device/stations/REPLAYED", {"id": "REPLAYED"}),
            ("PATCH", "/device/stations/REPLAYED", {"password": "0123456789abcdef"}),
            ("DELETE", "/device/stations/REPLAYED", None),
        ):
            changed = await admin.request(method, path, json=body, headers=headers)
            assert changed.status_code == 422, f"{method} {path}"
        assert (await admin.get("/device/stations/REPLAYED-2")).status_code == 404
        audit = (await admin.get("/device/audit", params={"target": "replayed"})).json()["items"]
        assert [(one["method"], one["status"]) for one in audit] == [("POST", 201)]


async def test_racing_repeats_are_one(closed: Closed) -> None:
    async with closed.admin as admin:
        headers = {"Idempotency-Key": "race-1"}
        made = await asyncio.gather(
            *(admin.post("/auth/apikeys", json={"scope": "viewer", "name": "race"}, headers=headers) for _ in range(20))
        )
        assert {one.status_code for one in made} == {201}
        assert len({one.json()["id"] for one in made}) == 1
        assert len([one for one in made if "key" in one.json()]) == 1, "one caller is shown the key that counts"
        (key,) = [one.json()["key"] for one in made if "key" in one.json()]
    async with closed.bearer(key) as client:
        assert (await client.get("/device/stations")).status_code == 200


async def test_one_callers_requests_are_not_anothers(closed: Closed) -> None:
    async with closed.admin as admin:
        other = (await admin.post("/auth/apikeys", json={"scope": "admin"})).json()["key"]
        headers = {"Idempotency-Key": "mine", "Prefer": "respond-async"}
        pending = await admin.put("/device/stations/THEIRS", json={}, headers=headers)
        assert pending.status_code == 202
        where = pending.headers["Location"]
        token = closed.issuer.token(roles=["admin"], csms_stations=["*"])
        for credential in (other, token):
            async with closed.bearer(credential) as client:
                assert (await client.get(where)).status_code == 404
                forged = [where[:-1], f"{where}0", where.replace("-", "_"), where.upper(), f"{where}-{where[-16:]}"]
                for one in forged:
                    assert (await client.get(one)).status_code == 404
                same = await client.post("/device/stations", json={"id": "THEIRS"}, headers={"Idempotency-Key": "mine"})
                assert same.status_code == 409, "decided for itself: the id is taken"
        assert (await admin.get(where)).status_code == 200
