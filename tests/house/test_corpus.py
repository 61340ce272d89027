"""Events are for ever: an example of each type, kept as it was first written, decodes and folds with today's code.

A test that fails here says that an installation could not read its own past. The file stays, the code gives way: a new
field is optional, anything else is a new type of event beside the old one.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocppcore.engine.batch import Batch, Cell, decode_event, event_id, missing
from ocppcore.service import Event, Service
from ocppcore.store import Upsert
from tests.house.examples import CORPUS, definitions, example

FILES = sorted(CORPUS.glob("*.json"))
SERVICES = definitions()


def read(type_: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CORPUS / f"{type_}.json").read_bytes())
    return found


def decoded(service: Service, type_: str) -> Event:
    return decode_event(service, {"ce_type": type_}, msgspec.json.encode(read(type_)["event"]))


def test_every_type_of_event_has_an_example_and_no_type_is_ever_dropped() -> None:
    types = {type_ for service in SERVICES.values() for type_ in service.events}
    assert {path.stem for path in FILES} == types, "python -m tests.house.examples --update writes what is missing"


def test_types_are_named_by_service_name_and_version() -> None:
    for name, service in SERVICES.items():
        for type_, event in service.events.items():
            house, _, version = type_.split(".")
            assert (house, version[0], version[1:].isdecimal()) == (name, "v", True), type_
            assert type_ == event.TYPE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_event_decodes_and_loses_nothing(path: Path) -> None:
    """A field that today's type does not know would be dropped without a word."""
    event = decoded(SERVICES[path.stem.partition(".")[0]], path.stem)
    assert lost(read(path.stem)["event"], json.loads(msgspec.json.encode(event))) == []


def lost(old: Any, new: Any, place: str = "event") -> list[str]:
    """Where `new` does not hold what `old` holds; what is new in it is no matter."""
    match old, new:
        case dict(), dict():
            return [fault for name in old for fault in lost(old[name], new.get(name), f"{place}.{name}")]
        case list(), list() if len(old) <= len(new):
            return [fault for n, one in enumerate(old) for fault in lost(one, new[n], f"{place}.{n}")]
        case _:
            return [] if old == new else [f"{place}: {old!r} has become {new!r}"]


def test_a_field_that_got_lost_is_named() -> None:
    old = {"at": 1, "state": {"zone": "UTC"}, "register": [0, "1.5"]}
    assert lost(old, {"at": 1, "state": {"zone": "UTC", "more": True}, "register": [0, "1.5", None]}) == []
    assert lost(old, {"at": 1, "state": {}, "register": [0]}) == [
        "event.state.zone: 'UTC' has become None",
        "event.register: [0, '1.5'] has become [0]",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_event_folds(path: Path) -> None:
    """After those that it needs; every row fits its table, and every aggregate can be read again."""
    service = SERVICES[path.stem.partition(".")[0]]
    events = [decoded(service, type_) for type_ in (*read(path.stem)["after"], path.stem)]
    needs = [need for event in events for need in service.folds[type(event)].needs(event)]
    batch = Batch(service, dict.fromkeys(missing(needs, {})), {}, 4)
    batch.cell = Cell(0, 1, {}, {}, 0, {}, {})
    for number, event in enumerate(events):
        batch.fold(event, event_id(f"{service.name}.events", 0, number))
    made = batch.commit()
    for key, write in made.states.items():
        if write.data is not None:
            msgspec.json.decode(write.data, type=service.aggregates[key.kind])
    upserts = [row for row in made.rows if isinstance(row, Upsert)]
    assert [row for row in upserts if len(row.row) != len(row.table.columns)] == []


def test_an_example_has_every_field_that_its_type_had_when_it_was_written() -> None:
    """The generator can fail: it sets every field, and none of them to its default."""
    for service in SERVICES.values():
        for event in service.events.values():
            assert set(example(event)["event"]) == {field.encode_name for field in msgspec.structs.fields(event)}
