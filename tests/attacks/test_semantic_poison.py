"""Attack: messages that every schema takes and that mean nothing good: absurd times, counts, names, other people's ids.

Passes if each is answered, nothing is parked, and of everybody else nothing has changed: neither the registry nor the
connectors nor a transaction, though the attacker names its id. The attacker's own registry entry stays what it was.
"""

import asyncio
import json
import random
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

from ocppcore import actions
from tests.property.test_types_match_schema import SCHEMAS, Raw, Valid, write
from tests.support.guarded import Guarded, beat

pytest_plugins = [
    "tests.support.kafka_broker", "tests.support.system", "tests.support.guarded_system", "tests.support.guarded_broker"
]  # fmt: skip

SEEDS = 8
TOKEN = {"idToken": "POISON-1", "type": "ISO14443"}
TIMES = ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "9999-12-31T23:59:59Z")
COUNTS = (0, -1, -(2**31), 2**31 - 1)
KEPT = ("securityProfile", "boot", "serialNumber", "passwordSet", "passwordChanging", "disabled", "controller")


async def say(socket: ClientConnection, action: str, payload: str, message_id: str) -> list[Any]:
    """The answer to a CALL."""
    await socket.send(f'[2,"{message_id}","{action}",{payload}]')
    while (answer := json.loads(await socket.recv()))[1] != message_id:
        pass
    found: list[Any] = answer
    return found


def event(kind: str, transaction: str, seq_no: int, time: str, **more: object) -> dict[str, object]:
    return {
        "eventType": kind,
        "timestamp": time,
        "triggerReason": "Authorized",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": transaction},
        **more,
    }


def metered(value: str, time: str) -> list[dict[str, object]]:
    return [{"timestamp": time, "sampledValue": [{"value": Raw(value), "context": "Transaction.End"}]}]


def absurd(victim: str, transaction: str) -> list[tuple[str, dict[str, object]]]:
    """What a generator does not think of. `transaction` is one of the victim's that is under way."""
    made: list[tuple[str, dict[str, object]]] = []
    for time in TIMES:
        for count in COUNTS:
            made += [
                ("TransactionEvent", event(kind, f"P{time[:4]}{count}", count, time, idToken=TOKEN))
                for kind in ("Ended", "Updated", "Started")
            ]
            place = {"evseId": count, "connectorId": count, "connectorStatus": "Faulted"}
            made.append(("StatusNotification", {"timestamp": time, **place}))
    for value in ("-1e17", "1e17", "-0.0", "0.000000000000000000000000000001", "99999999999999999.99"):
        energy = metered(value, TIMES[1])
        made.append(
            ("TransactionEvent", event("Updated", "absurd", 7, TIMES[1], meterValue=energy, numberOfPhasesUsed=-3))
        )
        made.append(("MeterValues", {"evseId": -5, "meterValue": energy}))
    for kind in ("Started", "Updated", "Ended"):  # somebody else's transaction, by its id
        ended = metered("1e9", TIMES[2])
        taken = event(kind, transaction, 1, TIMES[2], meterValue=ended, idToken=TOKEN, evse={"id": 1, "connectorId": 1})
        made.append(("TransactionEvent", taken | {"reservationId": 2**31 - 1}))
    about = {"model": "M", "vendorName": victim, "serialNumber": victim, "firmwareVersion": "\u202egnorw"}
    made.append(("BootNotification", {"reason": "Unknown", "chargingStation": about}))
    characteristics = {"dataType": "integer", "supportsMonitoring": True, "minLimit": 9, "maxLimit": -9}
    for name in ("BasicAuthPassword", "SecurityProfile", "Identity", "OrganizationName"):
        target = {"value": victim, "type": "Target", "mutability": "ReadOnly", "constant": True}
        reported = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": name}, "variableAttribute": [target]}
        report: dict[str, object] = {"requestId": -1, "generatedAt": TIMES[0], "seqNo": -1, "tbc": True}
        made.append(
            ("NotifyReport", report | {"reportData": [reported | {"variableCharacteristics": characteristics}]})
        )
    made.append(("SecurityEventNotification", {"type": "InvalidChargingStationCertificate", "timestamp": TIMES[3]}))
    made.append(("ReservationStatusUpdate", {"reservationId": -1, "reservationUpdateStatus": "Removed"}))
    made.append(("FirmwareStatusNotification", {"status": "Installed", "requestId": -(2**31)}))
    made.append(("DataTransfer", {"vendorId": victim, "messageId": "../../etc/passwd", "data": {"$ref": "#"}}))
    limit = {"chargingLimitSource": "SO", "isGridCritical": True}
    made.append(("NotifyChargingLimit", {"evseId": -1, "chargingLimit": limit}))
    made.append(
        ("SignCertificate", {"csr": "-----BEGIN CERTIFICATE REQUEST-----\n", "certificateType": "V2GCertificate"})
    )
    return made


def generated(action: str, seed: int) -> str:
    """A valid payload at the limits of its schema."""
    rng = random.Random(f"poison/{action}/{seed}")
    schema = SCHEMAS[f"{action}Request"]
    return write(Valid(schema, rng).message(schema, (0.0, 1.0, 0.7, 0.4)[seed % 4]))


async def known_of(guarded: Guarded, identity: str) -> list[Any]:
    """What the system tells of a station and of what was done there."""
    http = guarded.http
    places = (
        f"/device/stations/{identity}",
        f"/device/stations/{identity}/status-history",
        f"/transactions/transactions?stationId={identity}",
        f"/transactions/transactions/{identity}/T-{identity}",
        f"/auth/certificates?stationId={identity}",
        f"/device/security-events?stationId={identity}",
    )
    found = [(await http.get(place)).json() for place in places]
    found[0].pop("lastContact")
    return found


@pytest.mark.requirement("GEN.FR.03")
async def test_it_is_answered_and_harms_nobody(guarded: Guarded) -> None:
    token = (await guarded.http.put("/auth/tokens/ISO14443/HONEST-1", json={"status": "Accepted"})).status_code
    assert token in (200, 201)
    victim, attacker = await guarded.register(), await guarded.register(securityProfile=1)
    entry = (await guarded.http.get(f"/device/stations/{attacker}")).json()
    process = guarded.process()
    async with guarded.station(victim) as honest, guarded.station(attacker) as poison:
        for n, (action, payload) in enumerate(honest_start(victim)):
            assert (await say(honest, action, json.dumps(payload), f"h{n}"))[0] == 3
        async with asyncio.timeout(20):
            while not await guarded.connected(victim):
                await asyncio.sleep(0.05)
        before = await known_of(guarded, victim)
        assert before[3]["transactionId"] == f"T-{victim}", before[3]
        tokens = (await guarded.http.get("/auth/tokens")).json()
        crafted = [(action, write(payload)) for action, payload in absurd(victim, f"T-{victim}")]
        random_ = [(name, generated(name, seed)) for name in sorted(actions.FROM_STATION) for seed in range(SEEDS)]
        for n, (action, text) in enumerate([*crafted, *random_]):
            answer = await say(poison, action, text, f"p{n}")
            assert answer[0] == 3, (action, text, answer)
        await beat(poison)

        assert await known_of(guarded, victim) == before
        assert (await guarded.http.get("/auth/tokens")).json() == tokens, "tokens come from people, never from stations"
        await beat(honest)
    after = (await guarded.http.get(f"/device/stations/{attacker}")).json()
    for field in KEPT:
        assert after[field] == entry[field], field
    assert guarded.process() == process and process.is_running()
    for service in ("auth", "device", "smartcharging", "transactions"):
        assert await guarded.metric("csms_engine_parked_total", service=service) == 0


def honest_start(victim: str) -> list[tuple[str, dict[str, object]]]:
    """A station with a transaction under way."""
    started = event("Started", f"T-{victim}", 0, "2026-01-01T00:00:00Z", evse={"id": 1, "connectorId": 1})
    token = {"idToken": "HONEST-1", "type": "ISO14443"}
    place = {"connectorStatus": "Occupied", "evseId": 1, "connectorId": 1}
    return [
        ("BootNotification", {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}),
        ("StatusNotification", {"timestamp": "2026-01-01T00:00:00Z", **place}),
        ("TransactionEvent", started | {"idToken": token, "meterValue": metered_plain(1000)}),
    ]


def metered_plain(wh: int) -> list[dict[str, object]]:
    sample = {"value": wh, "context": "Transaction.Begin"}
    return [{"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [sample]}]
