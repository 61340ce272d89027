"""Signed meter values: the keys registered for each EVSE, and the verdict on the first and last value of a message.

A transaction is billed by its first and last reading, and a verification may take milliseconds, so what stands between
them in one message is kept and not looked at.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar, Final

import msgspec

from ocppcore.contracts.metering import (
    MeterKeyRegistered,
    MeterKeyRemoved,
    RegisterMeterKey,
    RemoveMeterKey,
    SignedValueJudged,
)
from ocppcore.service import Aggregate, Context, Drop, Event, Need, Outcome, Put, Result, View, problem
from ocppcore.store import Delete, Table, Upsert
from ocppcore.topics import normalise
from services.transactions.domain.measurands import Sample, samples
from services.transactions.domain.ocmf import Judged, Key, judge, read_key

KEYS_MAX: Final = 4
"""Of one EVSE: a meter that is replaced brings another, and old values come late."""
STATION_KEYS_MAX: Final = 200
MENTION: Final = b"signedMeterValue"

KEYS = Table(
    "meter_keys",
    {
        "station": "text",
        "evse_id": "bigint",
        "fingerprint": "text",
        "public_key": "text",
        "registered_at": "bigint",
        "actor": "text",
    },
    ("station", "evse_id", "fingerprint"),
)

SIGNED = Table(
    "signed_values",
    {
        "station": "text",
        "taken_at": "bigint",
        "digest": "text",
        "evse_id": "bigint",
        "transaction_id": "text",
        "transaction_key": "text",
        "seq_no": "bigint",
        "verdict": "text",
        "reason": "text",
        "fingerprint": "text",
        "claimed": "text",
        "meter": "text",
        "pagination": "text",
        "wh": "numeric",
        "status": "text",
        "agrees": "boolean",
        "judged_at": "bigint",
    },
    ("station", "taken_at", "digest"),
    indexes=(("judged_at",), ("verdict", "judged_at"), ("station", "judged_at")),
)


class MeterKey(msgspec.Struct, frozen=True, array_like=True):
    evse_id: int
    fingerprint: str
    public_key: str


class MeterKeys(Aggregate, frozen=True, kw_only=True):
    """The registered keys of a station's meters; id = station."""

    KIND: ClassVar[str] = "MeterKeys"
    keys: tuple[MeterKey, ...] = ()

    def of(self, evse_id: int | None) -> tuple[MeterKey, ...]:
        return tuple(key for key in self.keys if key.evse_id == evse_id)


class _Signed(msgspec.Struct):
    signedMeterData: str
    encodingMethod: str = ""
    publicKey: str = ""


def keys_needs(station: str) -> tuple[Need, ...]:
    return ((MeterKeys, station),)


def _held(view: View, station: str) -> MeterKeys:
    return view.get(MeterKeys, station) or MeterKeys()


# Deciding


def register(body: RegisterMeterKey, view: View, context: Context) -> Outcome:
    """201, or 200 where it is registered already; 409 for one too many."""
    held = _held(view, context.station)
    shown = {"evseId": body.evse_id, "fingerprint": body.fingerprint, "publicKey": body.public_key}
    if any(key.fingerprint == body.fingerprint for key in held.of(body.evse_id)):
        return Outcome(result=Result(200, shown))
    if len(held.of(body.evse_id)) >= KEYS_MAX or len(held.keys) >= STATION_KEYS_MAX:
        return Outcome(result=problem(409, "Too many keys", f"an EVSE has at most {KEYS_MAX}: remove one"))
    event = MeterKeyRegistered(
        at=context.now,
        station=context.station,
        evse_id=body.evse_id,
        fingerprint=body.fingerprint,
        public_key=body.public_key,
        actor=context.actor,
    )
    return Outcome((event,), result=Result(201, shown))


def remove(body: RemoveMeterKey, view: View, context: Context) -> Outcome:
    """204, or 404."""
    if not any(key.fingerprint == body.fingerprint for key in _held(view, context.station).of(body.evse_id)):
        return Outcome(result=problem(404, "Unknown key", "no such key is registered for this EVSE"))
    event = MeterKeyRemoved(
        at=context.now,
        station=context.station,
        evse_id=body.evse_id,
        fingerprint=body.fingerprint,
        actor=context.actor,
    )
    return Outcome((event,), result=Result(204))


def judged(
    meter_values: bytes, evse_id: int | None, transaction_id: str, seq_no: int | None, view: View, context: Context
) -> list[Event]:
    """Verdicts on the first and the last signed value of a `meterValue` list. Ask where it says MENTION."""
    signed = [(place, one) for place, one in enumerate(samples(meter_values)) if one.signed]
    keys = [_key(key.public_key) for key in _held(view, context.station).of(evse_id)] if signed else []
    found: list[Event] = []
    for place, sample in dict([*signed[:1], *signed[-1:]]).items():
        said = msgspec.json.decode(sample.signed, type=_Signed)
        verdict = judge(said.signedMeterData, said.encodingMethod, said.publicKey, keys)
        last = verdict.readings[-1] if verdict.readings else None
        found.append(
            SignedValueJudged(
                at=context.now,
                station=context.station,
                digest=hashlib.sha256(said.signedMeterData.encode()).hexdigest(),
                verdict=verdict.verdict,
                taken_at=sample.at,
                evse_id=-1 if evse_id is None else evse_id,
                transaction_id=transaction_id,
                seq_no=-1 if seq_no is None else seq_no,
                place=place,
                reason=verdict.reason,
                fingerprint=verdict.fingerprint,
                claimed=verdict.claimed,
                meter=verdict.meter,
                pagination=verdict.pagination,
                wh=format(last.wh, "f") if last is not None and last.wh is not None else "",
                status=last.status if last is not None else "",
                agrees=_agrees(sample, verdict),
            )
        )
    return found


def _agrees(sample: Sample, verdict: Judged) -> bool | None:
    signed = [reading.wh for reading in verdict.readings if reading.wh is not None]
    return sample.value in signed if signed and sample.unit == "Wh" and not sample.fault else None


@lru_cache(maxsize=4096)
def _key(public_key: str) -> Key:
    return read_key(public_key)


# Folding


def event_needs(event: MeterKeyRegistered | MeterKeyRemoved) -> Sequence[Need]:
    return keys_needs(event.station)


def evolve_registered(event: MeterKeyRegistered, view: View) -> Iterable[Put]:
    key = MeterKey(event.evse_id, event.fingerprint, event.public_key)
    yield Put(event.station, MeterKeys(keys=(*_held(view, event.station).keys, key)))


def evolve_removed(event: MeterKeyRemoved, view: View) -> Iterable[Put | Drop]:
    gone = (event.evse_id, event.fingerprint)
    left = tuple(key for key in _held(view, event.station).keys if (key.evse_id, key.fingerprint) != gone)
    yield Put(event.station, MeterKeys(keys=left)) if left else Drop(MeterKeys, event.station)


def project_registered(event: MeterKeyRegistered, view: View) -> Iterable[Upsert]:
    yield Upsert(KEYS, (event.station, event.evse_id, event.fingerprint, event.public_key, event.at, event.actor))


def project_removed(event: MeterKeyRemoved, view: View) -> Iterable[Delete]:
    yield Delete(KEYS, (event.station, event.evse_id, event.fingerprint))


def project_judged(event: SignedValueJudged, view: View) -> Iterable[Upsert]:
    row = (
        event.station,
        event.taken_at,
        event.digest,
        event.evse_id if event.evse_id >= 0 else None,
        event.transaction_id or None,
        normalise(event.transaction_id) or None,
        event.seq_no if event.seq_no >= 0 else None,
        event.verdict,
        event.reason or None,
        event.fingerprint or None,
        event.claimed or None,
        event.meter or None,
        event.pagination or None,
        event.wh or None,
        event.status or None,
        event.agrees,
        event.at,
    )
    yield Upsert(SIGNED, row)
