"""Makes the corpus: one example of each type of event, with every field set.

    python -m tests.house.examples --update

A file is written once and never again: it stands for what lies in the logs of running installations. Only types that
have no file yet get one.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from csms import houses
from ocppcore.service import Event, Service
from ocppcore.settings import Keys
from ocppcore.topics import SERVICES

CORPUS = Path(__file__).parent / "corpus"
AT = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""

BY_NAME: dict[str, Any] = {
    "at": AT,
    "station": "cs-1",
    "identity": "CS-1",
    "timestamp": AT - 5_000,
    "created_at": AT,
    "due": AT + 60_000,
    "queue_until": AT + 60_000,
    "parked_at": AT - 60_000,
    "seq_no": 3,
    "transaction_id": "T1",
    "operation_id": "operation-1",
    "command_id": "command-1",
    "key": "cs-1/start/4711",
    "remote_start_id": 4711,
    "token": "pseudonym-1",
    "stations": ["cs-1"],
    "wh": "1500.25",
    "first_wh": "1000.5",
    "taken_at": AT - 5_000,
    "digest": "0f" * 32,
    "last_wh": "1500.25",
    "ended_wh": "1500.25",
    "started_wh": "1520.25",
    "missing_wh": "20",
    "min": "1000.5",
    "max": "1500.25",
    "sum": "2500.75",
    "first": "1000.5",
    "last": "1500.25",
    "energy": "499.75",
    "error": "ValueError('no such thing')",
    "cache_expiry": AT + 86_400_000,
    "valid_from": AT - 86_400_000,
    "valid_to": AT + 86_400_000,
    "boot_interval": 300,
    "zone": "Europe/Amsterdam",
    "limits": {"GetVariables": {"items": 10, "bytes": 2000}},
    "supports": {"tariffText": True},
    "reported": {"TariffCostCtrlr": True},
    "headers": {"ce_id": "request-1", "ce_type": "device.PutStation.v1"},
    "meter_values": [{"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": 1500.25}]}],
    "charging_station": {"model": "M", "vendorName": "V", "serialNumber": "S", "firmwareVersion": "1.0"},
    "payload": {"requestId": 7, "customData": {"vendorId": "org.example", "kept": True}},
    "response": {"status": "Accepted"},
    "action": "TriggerMessage",
    "request_id": "request-1",
    "attempt": 1,
    "fingerprint": "0f" * 32,
    "not_before": AT - 86_400_000,
    "not_after": AT + 86_400_000,
    "retry_at": AT + 60_000,
}
RAW_ERROR = {"code": "InternalError", "description": "no"}

AFTER = {
    "StationChanged": ["StationRegistered"],
    "StationRemoved": ["StationRegistered", "ConnectorStatusChanged"],
    "StationBooted": ["StationRegistered"],
    "StationConnected": ["StationRegistered"],
    "StationDisconnected": ["StationRegistered", "StationConnected"],
    "ConnectorStatusChanged": ["StationRegistered"],
    "PasswordRotationStarted": ["StationRegistered"],
    "PasswordRotationMoved": ["StationRegistered", "PasswordRotationStarted"],
    "ProfileUpgradeStarted": ["StationRegistered"],
    "ProfileUpgradeMoved": ["StationRegistered", "ProfileUpgradeStarted"],
    "TokenChanged": ["TokenRegistered"],
    "TokenRemoved": ["TokenRegistered"],
    "ApiKeyChanged": ["ApiKeyCreated"],
    "ApiKeyRevoked": ["ApiKeyCreated"],
    "TransactionConflict": ["TransactionUpdated"],
    "TransactionReconciled": ["TransactionUpdated"],
    "InquiryMoved": ["InquiryOpened"],
    "RemoteMoved": ["RemoteAsked"],
    "MeterKeyRemoved": ["MeterKeyRegistered"],
    "ReservationMoved": ["ReservationAsked"],
    "ReservationRepeatDue": ["ReservationAsked"],
    "TariffAssigned": ["TariffVersionPut"],
    "TariffRemoved": ["TariffVersionPut"],
    "CommandQueued": ["CommandAsked"],
    "CommandSending": ["CommandAsked", "CommandQueued"],
    "CommandWaiting": ["CommandAsked", "CommandQueued"],
    "CommandEnded": ["CommandAsked", "CommandQueued", "CommandSending"],
    "ParkedRetried": ["RecordParked"],
    "CertificateSigningFailed": ["CertificateSigningStarted"],
    "CertificateRequestSuperseded": ["CertificateSigningStarted", "CertificateIssued"],
    "CertificateIssued": ["CertificateSigningStarted"],
    "CertificateSent": ["CertificateSigningStarted", "CertificateIssued"],
    "CertificateSendingFailed": ["CertificateSigningStarted", "CertificateIssued", "CertificateSent"],
    "CertificateAccepted": ["CertificateSigningStarted", "CertificateIssued", "CertificateSent"],
    "CertificateRejected": ["CertificateSigningStarted", "CertificateIssued", "CertificateSent"],
    "CertificateExpiring": ["CertificateIssued"],
    "CertificateExpired": ["CertificateIssued"],
    "CertificateRevoked": ["CertificateIssued"],
    "CertificateRevocationStarted": ["CertificateIssued", "CertificateRevoked"],
    "CertificateRevocationDone": ["CertificateIssued", "CertificateRevoked", "CertificateRevocationStarted"],
    "CertificateRevocationFailed": ["CertificateIssued", "CertificateRevoked", "CertificateRevocationStarted"],
    "CertificateRenewalMoved": ["CertificateRenewalAsked"],
    "AuthorityDistrusted": ["AuthorityTrusted"],
}
"""What must have happened before, by the middle part of the type."""


def definitions() -> dict[str, Service]:
    """The services as production assembles them."""
    return {name: houses.definition(name, Keys(b"p" * 32, b"w" * 32)) for name in SERVICES}


def example(event: type[Event]) -> dict[str, Any]:
    """What the file of this type holds: the types that come before it, and the event's JSON with every field set."""
    house, name, version = event.TYPE.split(".")
    after = [f"{house}.{one}.{version}" for one in AFTER.get(name, [])]
    value = _value(inspect.type_info(event))
    made = msgspec.json.decode(msgspec.json.encode(value), type=event)
    assert json.loads(msgspec.json.encode(made)).keys() == value.keys(), f"{event.TYPE}: the example has a default"
    return {"after": after, "event": value}


def _value(type_: inspect.Type) -> Any:
    match type_:
        case inspect.StructType(fields=fields, array_like=as_list):
            members = {field.encode_name: _field(field) for field in fields}
            return list(members.values()) if as_list else members
        case inspect.UnionType(types=types):
            return _value(next(one for one in types if not isinstance(one, inspect.NoneType | inspect.CustomType)))
        case inspect.LiteralType(values=values):
            return values[-1]
        case inspect.VarTupleType(item_type=item):
            return [_value(item)]
        case inspect.TupleType(item_types=items):
            return [_value(item) for item in items]
        case inspect.BoolType():
            return True
        case inspect.IntType():
            return 2
        case inspect.DecimalType():
            return "12.50"
        case inspect.BytesType():
            return "c2VhbGVk"
        case inspect.StrType():
            return "x"
        case inspect.DecimalType():
            return "2.50"
        case _:
            raise TypeError(f"no example for {type_}")


def _field(field: inspect.Field) -> Any:
    if isinstance(field.type, inspect.RawType) and field.name == "error":
        return RAW_ERROR
    return BY_NAME[field.name] if field.name in BY_NAME else _value(field.type)


def main() -> int:
    parser = argparse.ArgumentParser(description="Examples of events: which are missing.")
    parser.add_argument("--update", action="store_true", help="write those that are missing")
    update = parser.parse_args().update
    missing = 0
    for service in definitions().values():
        for type_, event in service.events.items():
            path = CORPUS / f"{type_}.json"
            if path.exists():
                continue
            missing += 1
            print(f"{type_}: {'written' if update else 'has no example'}")
            if update:
                path.write_text(json.dumps(example(event), indent=2) + "\n", encoding="utf-8")
    return 0 if update else bool(missing)


if __name__ == "__main__":
    sys.exit(main())
