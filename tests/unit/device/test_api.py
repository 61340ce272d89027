"""The device API: registering stations, and what can be read about them."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from ocppcore import credentials, topics
from ocppcore.clock import system_clock
from ocppcore.contracts.auth import ApiKeyState
from ocppcore.envelope import ConnectionChange, Frame, connection_record, frame_record, parse_outbound
from ocppcore.http.auth import hash_key
from ocppcore.log import TopicPartition
from services.device.api import router
from services.device.service import build
from tests.support.served import PARTITIONS, PASSWORD_KEY, Served, put_state, served


@pytest.fixture
async def api() -> AsyncIterator[Served]:
    async with served(build(), lambda store: [router(store, PASSWORD_KEY)]) as made:
        yield made


async def published(api: Served, count: int) -> list[dict[str, Any]]:
    return await api.states(topics.STATIONS, "cs-1", count)


async def say(api: Served, n: int, action: str, payload: object) -> None:
    """A frame of CS-1; waits until it is answered."""
    frame = msgspec.json.encode([2, f"m{n}", action, payload])
    sent = Frame("cs-1", "CS-1", 1, 0, n, "ocpp2.0.1", system_clock(), "call", f"m{n}", action, "", frame, "")
    await api.log.append([frame_record(sent, "device", PARTITIONS)])
    reader = api.log.reader()
    reader.assign({TopicPartition(topics.OUTBOUND, 1): 0})
    answered: set[str] = set()
    while f"m{n}" not in answered:
        answered |= {parse_outbound(record).message_id for record in await reader.fetch(100, 5)}


async def test_a_station_is_registered_with_a_password_shown_once(api: Served) -> None:
    made = await api.client.post("/stations", json={"id": "CS-1"})
    assert made.status_code == 201
    assert made.headers["location"] == "/device/stations/CS-1"
    body = made.json()
    assert (body["id"], body["securityProfile"], body["boot"], body["registration"]) == (
        "CS-1",
        1,
        "accepted",
        "Accepted",
    )
    assert 16 <= len(body["password"]) <= 40
    assert body["password"].isalnum()
    stored = (await published(api, 1))[0]["credential"]
    assert stored.startswith("b2$")
    assert credentials.verify(body["password"], stored, PASSWORD_KEY)
    shown = (await api.client.get("/stations/cs-1")).json()
    assert "password" not in shown
    assert body["password"] not in api.everything()


@pytest.mark.requirement("A00.FR.205", "A00.FR.304")
async def test_a_chosen_password_is_stored_slowly_hashed_and_not_shown(api: Served) -> None:
    made = await api.client.post("/stations", json={"id": "CS-1", "password": "secret"})
    assert made.status_code == 201
    assert "password" not in made.json()
    assert made.json()["warnings"] == ["password: shorter than 16 characters, stations may refuse it (A00.FR.205)"]
    stored = (await published(api, 1))[0]["credential"]
    assert credentials.is_slow(stored)
    assert credentials.verify("secret", stored, PASSWORD_KEY)
    assert "secret" not in api.everything().replace("secret_", "")


async def test_a_repeat_under_the_same_idempotency_key_shows_no_other_password(api: Served) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await api.client.post("/stations", json={"id": "CS-1"}, headers=headers)
    second = await api.client.post("/stations", json={"id": "CS-1"}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert "password" in first.json()
    assert "password" not in second.json()
    again = await api.client.post("/stations", json={"id": "CS-1"})
    assert again.status_code == 409
    assert again.headers["content-type"] == "application/problem+json"


async def test_put_creates_then_replaces_and_keeps_the_password(api: Served) -> None:
    first = await api.client.put("/stations/CS-1", json={"serialNumber": "SN", "evses": [{"id": 1}]})
    second = await api.client.put("/stations/CS-1", json={"boot": "pending"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert "password" in first.json()
    assert "password" not in second.json()
    shown = (await api.client.get("/stations/CS-1")).json()
    assert (shown["serialNumber"], shown["boot"], shown["evses"]) == (None, "pending", [])
    before, after = await published(api, 2)
    assert before["credential"] == after["credential"]


async def test_patch_changes_what_it_names_and_delete_forgets(api: Served) -> None:
    await api.client.post("/stations", json={"id": "CS-1", "serialNumber": "SN", "bootInterval": 60})
    changed = await api.client.patch("/stations/CS-1", json={"bootInterval": None, "password": "another-password-1"})
    assert changed.status_code == 200
    assert (changed.json()["bootInterval"], changed.json()["serialNumber"]) == (None, "SN")
    assert credentials.verify("another-password-1", (await published(api, 2))[1]["credential"], PASSWORD_KEY)
    assert (await api.client.delete("/stations/CS-1")).status_code == 204
    assert (await published(api, 3))[2]["deleted"] is True
    for gone in (
        await api.client.get("/stations/CS-1"),
        await api.client.delete("/stations/CS-1"),
        await api.client.patch("/stations/CS-1", json={}),
        await api.client.get("/stations/CS-1/status-history"),
    ):
        assert gone.status_code == 404
        assert gone.json()["title"] == "Unknown station"


FULL = {
    "id": "CS-1",
    "securityProfile": 2,
    "boot": "pending",
    "bootInterval": 30,
    "serialNumber": "SN-1",
    "evses": [{"id": 1, "connectors": [{"id": 1, "type": "cCCS2"}, {"id": 2}]}],
    "site": "depot",
    "groups": ["fast"],
    "limits": {"GetVariables": {"items": 10, "bytes": 2000}, "SetVariables": {"items": 4}},
    "automatic": {"provisioning": True},
    "supports": {"tariffText": True},
    "zone": "Europe/Amsterdam",
    "allowUnauthenticated": True,
}


async def test_everything_that_is_registered_is_shown_and_published(api: Served) -> None:
    assert (await api.client.post("/stations", json=FULL)).status_code == 201
    shown = (await api.client.get("/stations/CS-1")).json()
    for name, value in FULL.items():
        if name not in ("evses", "limits", "automatic"):
            assert shown[name] == value
    assert shown["limits"] == {
        "GetVariables": {"items": 10, "bytes": 2000},
        "SetVariables": {"items": 4, "bytes": None},
    }
    assert shown["automatic"] == {
        "provisioning": True, "localList": False, "desiredState": False, "certificates": False,
    }  # fmt: skip
    assert shown["registration"] == "Pending"
    assert shown["evses"] == [
        {
            "id": 1,
            "registered": True,
            "status": None,
            "timestamp": None,
            "connectors": [
                {"id": 1, "type": "cCCS2", "status": None, "timestamp": None},
                {"id": 2, "type": None, "status": None, "timestamp": None},
            ],
        }
    ]
    assert (shown["connection"]["connected"], shown["lastBoot"], shown["lastContact"]) == (False, None, None)
    assert (await published(api, 1))[0]["evses"] == FULL["evses"]


BAD: list[tuple[dict[str, object], str]] = [
    ({"colour": "red"}, "body.colour"),
    ({"id": "a:b"}, "body.id"),
    ({"id": "a/b"}, "body.id"),
    ({"id": ".."}, "body.id"),
    ({"id": "x" * 49}, "body.id"),
    ({"id": ""}, "body.id"),
    ({"id": 7}, "body.id"),
    ({"securityProfile": "1"}, "body.securityProfile"),
    ({"securityProfile": 4}, "body.securityProfile"),
    ({"boot": "maybe"}, "body.boot"),
    ({"bootInterval": -1}, "body.bootInterval"),
    ({"bootInterval": 2**31}, "body.bootInterval"),
    ({"bootInterval": True}, "body.bootInterval"),
    ({"password": "no spaces"}, "body.password"),
    ({"password": "x" * 41}, "body.password"),
    ({"password": None}, "body.password"),
    ({"evses": [{"id": 0}]}, "body.evses.0.id"),
    ({"evses": [{"id": 1, "factoryCredentials": True}]}, "body.evses.0.factoryCredentials"),
    ({"evses": [{"id": 1}, {"id": 1}]}, "body"),
    ({"evses": [{"id": 1, "connectors": [{"id": 1, "type": "cX"}]}]}, "body.evses.0.connectors.0.type"),
    ({"limits": {"Fly": {"items": 1}}}, "body.limits.Fly.[key]"),
    ({"limits": {"GetVariables": {"items": 0}}}, "body.limits.GetVariables.items"),
    ({"zone": "Mars/Base"}, "body.zone"),
    ({"automatic": {"everything": True}}, "body.automatic.everything"),
]


async def test_bad_input_is_refused_by_field_and_changes_nothing(api: Served) -> None:
    for fault, field in BAD:
        answer = await api.client.post("/stations", json={"id": "CS-1"} | fault)
        assert (fault, answer.status_code) == (fault, 422)
        assert (fault, answer.json()["errors"][0]["field"]) == (fault, field)
    assert api.records(topics.requests("device")) == []


async def test_a_refused_password_is_not_in_the_answer(api: Served) -> None:
    answer = await api.client.post("/stations", json={"id": "CS-1", "password": "hush hush"})
    assert "hush" not in answer.text


async def test_scopes(api: Served) -> None:
    viewer, operator = api.as_("viewer"), api.as_("operator")
    assert (await viewer.post("/stations", json={"id": "CS-1"})).status_code == 403
    assert (await operator.post("/stations", json={"id": "CS-1"})).status_code == 201
    assert (await viewer.get("/stations/CS-1")).status_code == 200
    nobody = await viewer.get("/stations", headers={"Authorization": "Bearer wrong"})
    assert nobody.status_code == 401


async def test_who_reaches_some_stations_has_none_carry_the_credentials_of_others(api: Served) -> None:
    state = ApiKeyState(
        id="depot", hash=hash_key("depot-key", PASSWORD_KEY), scope="operator", created_at=0, stations=("cs-*",)
    )
    await put_state(api.log, topics.APIKEYS, "depot", state)
    depot = {"Authorization": "Bearer depot-key"}
    for method, path in (("POST", "/stations"), ("PUT", "/stations/CS-1"), ("PATCH", "/stations/CS-1")):
        body = {"id": "CS-1"} if method == "POST" else {}
        for controller in ("LC-1", "lc-2"):
            answer = await api.client.request(method, path, json=body | {"controller": controller}, headers=depot)
            assert (method, answer.status_code) == (method, 403)
        allowed = await api.client.request(method, path, json=body | {"controller": "CS-2"}, headers=depot)
        assert (method, allowed.status_code) in {("POST", 201), ("PUT", 200), ("PATCH", 200)}
    assert (await api.client.patch("/stations/CS-1", json={"controller": None}, headers=depot)).status_code == 200


async def test_who_reaches_some_stations_gives_none_the_labels_that_rules_for_all_go_by(api: Served) -> None:
    """With them, and a local list, a station would be sent the idTokens of another depot."""
    state = ApiKeyState(
        id="depot", hash=hash_key("depot-key", PASSWORD_KEY), scope="operator", created_at=0, stations=("cs-*",)
    )
    await put_state(api.log, topics.APIKEYS, "depot", state)
    depot = {"Authorization": "Bearer depot-key"}
    assert (await api.client.post("/stations", json={"id": "CS-1"}, headers=depot)).status_code == 201
    for labels in ({"site": "north"}, {"groups": ["fast"]}):
        for method, path in (("POST", "/stations"), ("PUT", "/stations/CS-1"), ("PATCH", "/stations/CS-1")):
            body = labels | ({"id": "CS-2"} if method == "POST" else {})
            answer = await api.client.request(method, path, json=body, headers=depot)
            assert (method, answer.status_code) == (method, 403)
        assert (await api.client.patch("/stations/CS-1", json=labels)).status_code == 200
    assert (await api.client.patch("/stations/CS-1", json={"zone": "UTC"}, headers=depot)).status_code == 200


async def test_the_list_is_filtered_and_comes_in_pages(api: Served) -> None:
    for number in range(5):
        body = {"id": f"CS-{number}", "boot": "pending" if number % 2 else "accepted"}
        await api.client.post("/stations", json=body)
    first = (await api.client.get("/stations", params={"limit": 3})).json()
    assert [item["id"] for item in first["items"]] == ["CS-0", "CS-1", "CS-2"]
    second = (await api.client.get(first["next"])).json()
    assert [item["id"] for item in second["items"]] == ["CS-3", "CS-4"]
    assert second["next"] is None
    pending = (await api.client.get("/stations", params={"boot": "pending"})).json()
    assert [item["id"] for item in pending["items"]] == ["CS-1", "CS-3"]
    assert (await api.client.get("/stations", params={"connected": "true"})).json()["items"] == []
    assert (await api.client.get("/stations", params={"registration": "x"})).status_code == 422


async def test_what_the_station_says_is_shown(api: Served) -> None:
    await api.client.post("/stations", json={"id": "CS-1", "evses": [{"id": 1, "connectors": [{"id": 1}]}]})
    change = ConnectionChange(
        identity="CS-1", slot=1, claim=0, connected=True, subprotocol="ocpp2.0.1", at=system_clock()
    )
    await api.log.append([connection_record(change, PARTITIONS)])
    await say(api, 0, "BootNotification", {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}})
    for n, (evse, connector, status) in enumerate([(1, 1, "Available"), (1, 1, "Occupied"), (2, 1, "Faulted")], 1):
        said = {"timestamp": f"2026-01-01T00:00:0{n}Z", "connectorStatus": status}
        await say(api, n, "StatusNotification", said | {"evseId": evse, "connectorId": connector})
    shown = (await api.client.get("/stations/CS-1")).json()
    assert shown["lastBoot"]["chargingStation"] == {"model": "M", "vendorName": "V"}
    assert shown["lastContact"] is not None
    evses = {evse["id"]: evse for evse in shown["evses"]}
    assert (evses[1]["registered"], evses[2]["registered"]) == (True, False)
    assert evses[1]["connectors"] == [
        {"id": 1, "type": None, "status": "Occupied", "timestamp": "2026-01-01T00:00:02.000Z"}
    ]
    page = (await api.client.get("/stations/CS-1/status-history", params={"limit": 2})).json()
    assert [one["status"] for one in page["items"]] == ["Faulted", "Occupied"]
    rest = (await api.client.get(page["next"])).json()
    assert [one["status"] for one in rest["items"]] == ["Available"]
    only = (await api.client.get("/stations/CS-1/status-history", params={"evseId": 2})).json()
    assert [one["status"] for one in only["items"]] == ["Faulted"]


async def test_a_number_beyond_a_double_in_a_boot_is_no_hindrance(api: Served) -> None:
    await api.client.post("/stations", json={"id": "CS-1"})
    custom = {"vendorId": "v", "big": msgspec.Raw(b"1e999"), "small": 1.5}
    station = {"model": "M", "vendorName": "V", "customData": custom}
    await say(api, 0, "BootNotification", {"reason": "PowerUp", "chargingStation": station})
    shown = await api.client.get("/stations/CS-1")
    assert shown.status_code == 200, shown.text
    assert shown.json()["lastBoot"]["chargingStation"]["customData"] == {"vendorId": "v", "big": None, "small": 1.5}


@pytest.mark.parametrize(
    "body", [{"securityProfile": 1}, {"allowUnauthenticated": True}, {"allowExpiredCertificate": True}]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_operators_make_no_station_less_secure(api: Served, method: str, body: dict[str, Any]) -> None:
    operator = api.clients["operator"]
    assert (await operator.post("/stations", json={"id": "CS-1", "securityProfile": 2})).status_code == 201
    refused = await operator.request(method, "/stations/CS-1", json=body)
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert next(iter(body)) in refused.json()["detail"]
    if "securityProfile" in body:
        assert "/device/stations/CS-1/security-profile:upgrade" in refused.json()["detail"]
    assert (await operator.patch("/stations/CS-1", json={"securityProfile": 3})).status_code == 200
    assert (await api.client.request(method, "/stations/CS-1", json=body)).status_code == 200


async def test_operators_do_not_lower_a_profile_by_removing_the_station(api: Served) -> None:
    operator = api.clients["operator"]
    assert (await operator.post("/stations", json={"id": "CS-1", "securityProfile": 2})).status_code == 201
    assert (await operator.delete("/stations/cs-1")).status_code == 204
    for method, path, body in (
        ("POST", "/stations", {"id": "cS-1"}),
        ("PUT", "/stations/CS-1", {"securityProfile": 1}),
    ):
        refused = await operator.request(method, path, json=body)
        assert refused.status_code == 403
        assert "removed with 2" in refused.json()["detail"]
    assert (await operator.post("/stations", json={"id": "CS-1", "securityProfile": 2})).status_code == 201
    assert (await operator.delete("/stations/CS-1")).status_code == 204
    assert (await api.client.post("/stations", json={"id": "CS-1"})).status_code == 201


async def test_operators_register_no_station_that_is_open(api: Served) -> None:
    body = {"id": "CS-1", "allowUnauthenticated": True}
    assert (await api.clients["operator"].post("/stations", json=body)).status_code == 403
    assert (await api.client.post("/stations", json=body)).status_code == 201
