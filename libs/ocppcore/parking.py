"""Parked records: what a service could not decide about, kept as an event until someone has it tried again."""

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from ocppcore.service import NOTHING, Context, Event, Fold, Outcome, Part, RequestHandler, Result, View
from ocppcore.store import Table, Upsert

RETRIED = "csms.parked_retried.v1"

TABLE = Table(
    "parked",
    {
        "topic": "text",
        "partition": "bigint",
        "position": "bigint",
        "at": "bigint",
        "key": "text",
        "error": "text",
        "state": "text",
        "headers": "jsonb",
        "sealed": "text",
    },
    ("topic", "partition", "position"),
    indexes=(("state", "at"),),
)


class RecordParked(Event, frozen=True, kw_only=True):
    """A record that an exception or a crash kept from being decided. `sealed`: its value, encrypted."""

    TYPE: ClassVar[str] = "RecordParked"
    topic: str
    partition: int
    position: int
    key: str
    error: str
    headers: dict[str, str]
    sealed: bytes

    def subject(self) -> str:
        return self.key


class ParkedRetried(Event, frozen=True, kw_only=True):
    """An operator appended the parked record again."""

    TYPE: ClassVar[str] = "ParkedRetried"
    topic: str
    partition: int
    position: int
    parked_at: int
    key: str
    error: str
    headers: dict[str, str]
    sealed: bytes

    def subject(self) -> str:
        return self.key


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """The request body that notes a retry: the row as `csms parked list` shows it."""

    topic: str
    partition: int
    position: int
    parked_at: int
    error: str
    headers: dict[str, str]
    sealed: bytes


def _row(event: RecordParked | ParkedRetried, at: int, state: str) -> Iterable[Upsert]:
    headers = msgspec.json.encode(event.headers, order="sorted").decode()
    sealed = msgspec.to_builtins(event.sealed)
    where = (event.topic, event.partition, event.position)
    yield Upsert(TABLE, (*where, at, event.key, event.error, state, headers, sealed))


def part(service: str) -> Part:
    """The part every service is assembled with."""

    class Parked(RecordParked, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.RecordParked.v1"

    class RetriedHere(ParkedRetried, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = f"{service}.ParkedRetried.v1"

    def retried(body: Retried, view: View, context: Context) -> Outcome:
        if not body.topic:
            return NOTHING
        event = RetriedHere(
            at=context.now,
            topic=body.topic,
            partition=body.partition,
            position=body.position,
            parked_at=body.parked_at,
            key=context.station,
            error=body.error,
            headers=body.headers,
            sealed=body.sealed,
        )
        return Outcome((event,), result=Result(200))

    return Part(
        requests=(RequestHandler(RETRIED, Retried, retried),),
        folds=(
            Fold(Parked, project=lambda event, _: _row(event, event.at, "parked")),
            Fold(RetriedHere, project=lambda event, _: _row(event, event.parked_at, "retried")),
        ),
        tables=(TABLE,),
    )
