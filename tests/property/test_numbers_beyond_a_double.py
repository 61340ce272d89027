"""customData may hold any JSON, also numbers that no double and no decimal holds: accepted and kept, everywhere.

Every action and every answer of a station is generated from its schema and given customData with such numbers in each
object that may have it; then it is decided, and its events are folded, by the service that owns the action.
"""

import random
from typing import Any

import msgspec
import pytest

from csms import houses
from ocppcore import actions
from ocppcore.commands import ASK, TABLE, Ask
from ocppcore.envelope import Frame, Receipt
from ocppcore.rpc import CallError, CallResult
from ocppcore.settings import Keys
from ocppcore.wire import load_json
from tests.property.test_types_match_schema import SCHEMAS, Raw, Valid, write
from tests.support.given import NOW, World

BEYOND = "1e999", "-1E+400", "9" * 400, "1e99999999999999999999", "-2.5e-99999999999999999999"
KEYS = Keys(b"p" * 32, b"w" * 32)


def beyond(schema: str, seed: int) -> tuple[bytes, str]:
    """A valid payload with a number beyond a double in the customData of every object; and that number."""
    rng = random.Random(f"{schema}/{seed}")
    number = BEYOND[seed % len(BEYOND)]
    root = SCHEMAS[schema]

    def fill(part: dict[str, Any], value: object) -> object:
        part = valid.resolve(part)
        if isinstance(value, dict):
            known = part.get("properties", {})
            filled: dict[str, object] = {
                name: fill(known[name], item) if name in known else item for name, item in value.items()
            }
            if "customData" in known:
                filled["customData"] = {"vendorId": "org.example", "n": [Raw(number), 1.5]}
            return filled
        return [fill(part["items"], item) for item in value] if isinstance(value, list) else value

    valid = Valid(root, rng)
    return write(fill(root, valid.message(root, 0.7))).encode(), number


def world(service: str) -> World:
    made = World(service, ())
    made.service = houses.definition(service, KEYS)
    return made


SPECIAL = [
    (
        "NotifyEvent",
        '{"generatedAt":"2023-11-14T22:00:00Z","seqNo":0,"customData":{"vendorId":"v","n":NUMBER},"eventData":[{"eventId":1,'
        '"timestamp":"2023-11-14T22:00:00Z","trigger":"Alerting","actualValue":"hush","eventNotificationType":'
        '"HardWiredNotification","component":{"name":"TokenReader"},"variable":{"name":"Token"}}]}',
    ),
    (
        "NotifyReport",
        '{"generatedAt":"2023-11-14T22:00:00Z","seqNo":0,"requestId":1,"reportData":[{"component":{"name":"SecurityCtrlr"},'
        '"variable":{"name":"BasicAuthPassword"},"variableAttribute":[{"value":"hush","mutability":"WriteOnly"}],'
        '"variableCharacteristics":{"dataType":"string","maxLimit":30,"supportsMonitoring":false,'
        '"customData":{"vendorId":"v","n":NUMBER}}}]}',
    ),
]


@pytest.mark.parametrize("action", sorted(actions.FROM_STATION))
def test_every_call_of_a_station_is_decided(action: str) -> None:
    for seed in range(25):
        payload, _ = beyond(f"{action}Request", seed)
        there = world(actions.OWNER[action])
        there.connect()
        first = there.call(action, payload)
        again = there.call(action, payload)
        assert first.reply is not None and again.reply is not None, payload


@pytest.mark.parametrize("number", BEYOND)
@pytest.mark.parametrize(("action", "template"), SPECIAL, ids=[action for action, _ in SPECIAL])
def test_what_is_hidden_in_a_message_leaves_the_rest_as_it_came(action: str, template: str, number: str) -> None:
    (event,) = world("device").call(action, template.replace("NUMBER", number).encode()).events[:1]
    kept = bytes(event.payload)  # type: ignore[attr-defined]
    assert b"hush" not in kept
    assert load_json(kept) == load_json(template.replace("hush", "(hidden)").replace("NUMBER", number))


@pytest.mark.parametrize("action", sorted(actions.TO_STATION))
def test_every_answer_of_a_station_ends_its_command(action: str) -> None:
    service = actions.OWNER[action]
    for seed in range(10):
        payload, _ = beyond(f"{action}Response", seed)
        refusal = b'{"n":%s}' % BEYOND[seed % len(BEYOND)].encode()
        there = world(service)
        there.connect()
        for id_, said in (("c1", CallResult("c1", payload)), ("c2", CallError("c2", "InternalError", "", refusal))):
            there.ask(ASK, Ask(command_id=id_, action=action, payload=msgspec.Raw(b"{}")), key="cs-1")
            there.receipt(Receipt("cs-1", 0, 1, NOW, id_, action, "sending", "", ""))
            frame = Frame("cs-1", "CS-1", 0, 1, 5, "ocpp2.0.1", NOW, "result", id_, action, "", b"", "")
            there.answer(frame, said)
        ended = {row["command_id"]: row for row in there.rows(TABLE)}
        assert (ended["c1"]["status"], ended["c1"]["response"]) == ("answered", payload.decode())
        assert ended["c2"]["status"] == "error"
        assert load_json(str(ended["c2"]["error"]))["details"] == load_json(refusal)
