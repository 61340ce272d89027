"""Signed values in messages: verdicts, the keys of an EVSE, and what stays out of events."""

import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ocppcore import commands
from ocppcore.contracts.metering import RegisterMeterKey, RemoveMeterKey
from ocppcore.pseudonym import Pseudonyms
from services.transactions.domain.ocmf import read_key, spelled
from services.transactions.domain.signed_values import KEYS, KEYS_MAX, SIGNED
from services.transactions.service import parts
from tests.support.given import World
from tests.support.transaction_frames import event
from tests.unit.transactions.domain.test_ocmf import METER, OTHER, der, frame, sent


@pytest.fixture
def world() -> World:
    return World("transactions", [*parts(Pseudonyms(b"k")), commands.part(commands.commands("transactions"))])


def register(world: World, key: Any = METER, evse: int = 1) -> int:
    read = read_key(der(key).hex())
    body = RegisterMeterKey(evse_id=evse, fingerprint=read.fingerprint, public_key=spelled(read))
    outcome = world.ask(RegisterMeterKey.NAME, body, key="cs-1")
    assert outcome.result is not None
    return outcome.result.status


def signed(value: float, data: bytes) -> dict[str, Any]:
    meter = {"signedMeterData": sent(data), "signingMethod": "", "encodingMethod": "OCMF", "publicKey": ""}
    return {"value": value, "signedMeterValue": meter}


def meter_values(*samples: dict[str, Any], evse: int = 1) -> dict[str, Any]:
    return {"evseId": evse, "meterValue": [{"timestamp": "2026-01-01T11:00:00Z", "sampledValue": list(samples)}]}


def verdicts(world: World) -> list[tuple[Any, Any]]:
    return [(row["verdict"], row["agrees"]) for row in world.rows(SIGNED)]


def test_the_end_of_a_transaction_is_verified(world: World) -> None:
    assert register(world) == 201
    world.call("TransactionEvent", event("Started", 0, evse={"id": 1}))
    ended = event("Ended", 1)
    ended["meterValue"] = meter_values(signed(12250, frame()))["meterValue"]
    world.call("TransactionEvent", ended)
    (row,) = world.rows(SIGNED)
    assert (row["verdict"], row["agrees"], row["wh"], row["status"]) == ("valid", True, "12250.00", "G")
    assert (row["evse_id"], row["transaction_id"], row["seq_no"], row["meter"]) == (1, "T1", 1, "METER-1")


def test_a_value_that_was_not_what_was_signed_shows(world: World) -> None:
    register(world)
    world.call("MeterValues", meter_values(signed(99, frame())))
    assert verdicts(world) == [("valid", False)]


def test_keys_are_of_an_evse(world: World) -> None:
    register(world, evse=2)
    world.call("MeterValues", meter_values(signed(12250, frame())))
    assert verdicts(world) == [("unverified", True)]
    register(world, OTHER)
    world.call("MeterValues", meter_values(signed(12250, frame(OTHER)), evse=2))
    assert sorted(verdict for verdict, _ in verdicts(world)) == ["invalid", "unverified"]


def test_of_many_the_first_and_the_last_are_verified(world: World) -> None:
    register(world)
    payloads = [frame(payload={"RD": [{"RV": n, "RU": "Wh"}]}) for n in range(5)]
    world.call("MeterValues", meter_values(*(signed(n, data) for n, data in enumerate(payloads))))
    assert sorted(row["wh"] for row in world.rows(SIGNED)) == ["0", "4"]  # type: ignore[type-var]


def test_a_driver_that_was_signed_is_in_no_event(world: World) -> None:
    register(world)
    world.call("MeterValues", meter_values(signed(12250, frame())))
    told = [one for one in world.events if one.STREAM == "events"]
    assert "04AABBCC" not in msgspec.json.encode(told).decode()
    assert sent(frame())[:40] not in json.dumps([str(one) for one in told])


def test_keys_are_bounded_and_removed(world: World) -> None:
    made = [ec.derive_private_key(n, ec.SECP256R1()) for n in range(1, KEYS_MAX + 2)]
    assert [register(world, key) for key in made] == [*[201] * KEYS_MAX, 409]
    assert register(world, made[0]) == 200
    fingerprint = read_key(der(made[0]).hex()).fingerprint
    gone = RemoveMeterKey(evse_id=1, fingerprint=fingerprint)
    assert [world.ask(RemoveMeterKey.NAME, gone, key="cs-1").result.status for _ in range(2)] == [204, 404]  # type: ignore[union-attr]
    assert len(world.rows(KEYS)) == KEYS_MAX - 1
