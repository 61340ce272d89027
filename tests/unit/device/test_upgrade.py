"""Another security profile for a station (A05): step by step, and every way it can end."""

from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import ASK
from ocppcore.contracts.device import PatchStation, PutStation, RemoveStation, StationFields, UpgradeProfile
from ocppcore.envelope import Frame, Receipt
from ocppcore.rpc import CallError, CallResult
from services.device.domain.changes import CHANGES
from services.device.domain.station import Station
from services.device.domain.upgrade import COMMANDS_MAX, DUE, free_slots
from services.device.service import PARTS
from tests.support.given import World

MADE = commands.commands("device")
OPERATION = "0" * 32
DAY_MS = 86_400_000
CHAIN = {"certificateHashDataChain": [{"certificateType": "CSMSRootCertificate", "certificateHashData": {}}]}


def fresh(profile: int = 1) -> World:
    """CS-1 is registered with this profile and connected with it."""
    made = World("device", [*PARTS, commands.part(MADE)])
    fields = StationFields(credential="stored", security_profile=profile)
    made.ask(PutStation.NAME, PutStation(identity="CS-1", fields=fields, spare="s"), key="cs-1")
    made.connect(epoch=1, profile=profile)
    return made


@pytest.fixture
def world() -> World:
    return fresh()


def upgrade(world: World, to: int = 2, **more: Any) -> Any:
    wanted: dict[str, Any] = {
        "operation_id": OPERATION,
        "security_profile": to,
        "url": "wss://csms.example.org/ocpp",
        "interface": "Wired0",
        "message_timeout_s": 30,
        "slot": None,
        "prepared": False,
        "assured": True,
        "reset": "OnIdle",
        "downgrade": False,
        "wait_ms": DAY_MS,
    }
    return world.ask(UpgradeProfile.NAME, UpgradeProfile(**wanted | more), key="cs-1")


def told(world: World, name: str, topic: str = "device") -> list[Any]:
    kind = Ended if name == ENDED else commands.Ask
    found = [r for r in world.records if r.headers.get("ce_type") == name and r.topic == topics.requests(topic)]
    return [msgspec.json.decode(record.value, type=kind) for record in found]


def settle(world: World) -> Any:
    """What the command's end tells the operation; the outcome."""
    return world.ask(ENDED, told(world, ENDED)[-1], key="cs-1")


def current(world: World) -> str:
    (row,) = world.rows(CHANGES)
    return str(row["command_id"])


def answer(world: World, payload: object, epoch: int = 1) -> Any:
    """The station answers the command that is open; what is decided then."""
    world.answer(frame(world, epoch), CallResult(current(world), msgspec.json.encode(payload)))
    return settle(world)


def frame(world: World, epoch: int = 1) -> Frame:
    return Frame("cs-1", "CS-1", 0, epoch, 3, "ocpp2.0.1", 0, "result", current(world), "x", "", b"", "")


def receipt(world: World, what: Any, epoch: int = 1) -> None:
    world.receipt(Receipt("cs-1", 0, epoch, world.now, current(world), "x", what, "", ""))


def values(priority: str = "0", active: str = "0") -> dict[str, Any]:
    named = {"NetworkConfigurationPriority": priority, "ActiveNetworkProfile": active}
    results = []
    for name, value in named.items():
        one: dict[str, Any] = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": name}}
        known = {"attributeStatus": "Accepted", "attributeValue": value}
        results.append(one | (known if value else {"attributeStatus": "UnknownVariable"}))
    return {"getVariableResult": results}


def chosen(status: str = "Accepted") -> dict[str, Any]:
    variable = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}
    return {"setVariableResult": [variable | {"attributeStatus": status}]}


ACCEPTED = {"status": "Accepted"}
STEPS: dict[str, tuple[object, ...]] = {
    "reading": (),
    "writing": (values(),),
    "choosing": (values(), ACCEPTED),
    "resetting": (values(), ACCEPTED, chosen()),
    "waiting": (values(), ACCEPTED, chosen(), ACCEPTED),
}


def until(world: World, step: str, **more: Any) -> Any:
    """Bring an upgrade to this step; the last outcome."""
    outcome = upgrade(world, **more)
    assert outcome.result.status == 202, outcome.result
    for payload in STEPS[step]:
        outcome = answer(world, payload)
    assert row(world)[0] == step
    return outcome


def admitted(world: World) -> tuple[Any, Any]:
    """The profiles that gateways let in: in force, and next."""
    state = world.published(topics.STATIONS)[-1]
    return state["securityProfile"], state.get("nextSecurityProfile")


def row(world: World) -> tuple[Any, Any]:
    (found,) = world.rows(CHANGES)
    return found["state"], found["reason"]


def sent(outcome: Any) -> tuple[str, Any]:
    (call,) = outcome.calls
    _, _, action, payload = msgspec.json.decode(call.frame)
    return action, payload


def replayed(world: World) -> World:
    """A world that saw the same events and nothing else."""
    made = World("device", [*PARTS, commands.part(MADE)])
    made.given(*world.events)
    assert made.state(Station, "cs-1") == world.state(Station, "cs-1")
    assert made.rows(CHANGES) == world.rows(CHANGES)
    assert made.published(topics.STATIONS) == world.published(topics.STATIONS)
    return made


@pytest.mark.requirement("A05.FR.07", "A00.FR.002")
@pytest.mark.parametrize(("before", "to"), [(1, 2), (2, 3), (1, 3)])
def test_the_first_connection_with_the_new_profile_ends_the_old_one_for_good(before: int, to: int) -> None:
    world = fresh(before)
    begun = upgrade(world, to)
    assert admitted(world) == (before, to)
    assert sent(begun)[0] == "GetVariables"
    action, profile = sent(answer(world, values()))
    assert action == "SetNetworkProfile"
    assert profile == {
        "configurationSlot": 1,
        "connectionData": {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": "wss://csms.example.org/ocpp",
            "messageTimeout": 30,
            "securityProfile": to,
            "ocppInterface": "Wired0",
        },
    }
    action, priority = sent(answer(world, ACCEPTED))
    assert (action, priority["setVariableData"][0]["attributeValue"]) == ("SetVariables", "1,0")
    assert sent(answer(world, chosen())) == ("Reset", {"type": "OnIdle"})
    answer(world, ACCEPTED)
    assert (row(world), admitted(world)) == (("waiting", None), (before, to))

    world.connect(epoch=2, profile=before)
    assert admitted(world) == (before, to), "both, until it came with the new one"
    world.connect(epoch=3, profile=to)
    assert (row(world), admitted(world)) == (("upgraded", None), (to, None))
    assert not world.timers
    again = replayed(world)
    again.connect(epoch=4, profile=before)
    assert admitted(again) == (to, None)


@pytest.mark.parametrize("step", ["reading", "writing", "choosing", "resetting"])
def test_the_new_profile_seen_early_ends_the_operation_whatever_is_open(world: World, step: str) -> None:
    until(world, step)
    world.connect(epoch=2, profile=2)
    assert (row(world)[0], admitted(world)) == ("upgraded", (2, None))
    before = len(world.rows(CHANGES))
    answer(world, ACCEPTED if step != "choosing" else chosen())
    assert (len(world.rows(CHANGES)), row(world)[0]) == (before, "upgraded")


# What must not be


@pytest.mark.requirement("A00.FR.005")
@pytest.mark.parametrize(
    ("before", "to", "switched_on", "status"),
    [
        (2, 1, False, 409),
        (3, 1, False, 409),
        (3, 2, False, 409),
        (2, 1, True, 409),
        (3, 1, True, 409),
        (3, 2, True, 202),
    ],
)
def test_a_profile_is_lowered_from_3_to_2_only_and_only_where_that_is_switched_on(
    before: int, to: int, switched_on: bool, status: int
) -> None:
    world = fresh(before)
    assert upgrade(world, to, downgrade=switched_on).result.status == status
    assert admitted(world) == ((before, to) if status == 202 else (before, None))


def test_the_profile_in_force_an_unknown_station_and_a_second_change_are_refused(world: World) -> None:
    assert upgrade(World("device", [*PARTS, commands.part(MADE)])).result.status == 404
    assert upgrade(world, 1).result.status == 409
    upgrade(world)
    assert upgrade(world, 3, operation_id="1" * 32).result.status == 409


def test_profile_2_needs_a_password() -> None:
    world = fresh(3)
    state = world.state(Station, "cs-1")
    assert state is not None
    assert state.state is not None
    without = msgspec.structs.replace(state.state, credential=None)
    world.given_state("cs-1", msgspec.structs.replace(state, state=without))
    assert upgrade(world, 2, downgrade=True).result.status == 409


# The certificate of the CSMS's root


def checking(world: World) -> None:
    """Asked of auth, which owns the action."""
    assert upgrade(world, assured=False).calls == ()
    (ask,) = told(world, ASK, "auth")
    assert (ask.action, ask.reply_service) == ("GetInstalledCertificateIds", "device")
    assert msgspec.json.decode(ask.payload) == {"certificateType": ["CSMSRootCertificate"]}
    assert row(world)[0] == "checking"


def checked(world: World, status: Any, response: object = None) -> Any:
    body = Ended(
        command_id=current(world),
        action="GetInstalledCertificateIds",
        status=status,
        reference=f"profile/{OPERATION}",
        response=msgspec.Raw(msgspec.json.encode(response)),
    )
    return world.ask(ENDED, body, key="cs-1")


def test_a_station_with_the_root_certificate_goes_on(world: World) -> None:
    checking(world)
    assert sent(checked(world, "answered", ACCEPTED | CHAIN))[0] == "GetVariables"
    replayed(world)


def test_a_station_without_the_root_certificate_keeps_its_profile(world: World) -> None:
    checking(world)
    checked(world, "answered", {"status": "NotFound"})
    assert (row(world)[0], admitted(world)) == ("kept", (1, None))
    assert "CSMSRootCertificate" in row(world)[1]
    replayed(world)


@pytest.mark.parametrize("status", ["error", "timeout", "unknown"])
def test_a_station_that_cannot_say_what_it_has_decides_itself(world: World, status: str) -> None:
    checking(world)
    assert sent(checked(world, status))[0] == "GetVariables"


def test_a_station_that_is_away_keeps_its_profile(world: World) -> None:
    checking(world)
    checked(world, "not_connected")
    assert (row(world), admitted(world)) == (("kept", "GetInstalledCertificateIds: not_connected"), (1, None))


# Every step may fail


def test_a_station_that_is_away_is_asked_nothing(world: World) -> None:
    world.connect(epoch=1, connected=False)
    upgrade(world)
    settle(world)
    assert (row(world), admitted(world)) == (("kept", "GetVariables: not_connected"), (1, None))


@pytest.mark.parametrize(
    "payload", [values(priority=""), values(priority="none"), values(priority="99999999999999999999,-1")]
)
def test_a_station_that_does_not_say_its_priorities_keeps_its_profile(world: World, payload: object) -> None:
    until(world, "reading")
    answer(world, payload)
    assert (row(world)[0], admitted(world)) == ("kept", (1, None))


@pytest.mark.parametrize("step", ["reading", "writing", "choosing"])
def test_an_error_before_the_new_profile_is_chosen_keeps_the_old_one(world: World, step: str) -> None:
    until(world, step)
    world.answer(frame(world)._replace(kind="error"), CallError(current(world), "InternalError", "", b"{}"))
    settle(world)
    assert row(world)[0] == "kept"
    assert row(world)[1].endswith("error InternalError")
    assert admitted(world) == (1, None)
    replayed(world)


@pytest.mark.parametrize("status", ["Rejected", "Failed"])
def test_another_slot_is_tried_when_one_is_refused(world: World, status: str) -> None:
    until(world, "reading")
    outcome = answer(world, values("0,1"))
    tried = []
    while row(world)[0] == "writing":
        tried.append(sent(outcome)[1]["configurationSlot"])
        outcome = answer(world, {"status": status, "statusInfo": {"reasonCode": "InvalidConfSlot"}})
    assert tried == [2, 3, 1], "first those without a profile, then the one that is not in use"
    assert (row(world), admitted(world)) == (("kept", f"SetNetworkProfile: {status} InvalidConfSlot"), (1, None))


def test_a_slot_that_was_named_is_the_only_one(world: World) -> None:
    until(world, "reading", slot=5)
    assert sent(answer(world, values()))[1]["configurationSlot"] == 5
    answer(world, {"status": "Rejected"})
    assert row(world)[0] == "kept"


def test_a_profile_that_was_prepared_is_only_chosen(world: World) -> None:
    until(world, "reading", slot=2, prepared=True)
    action, payload = sent(answer(world, values("1,0", active="")))
    assert (action, payload["setVariableData"][0]["attributeValue"]) == ("SetVariables", "2,1,0")


@pytest.mark.parametrize(
    ("priority", "active", "slots"),
    [([0], 0, [1, 2]), ([1], 1, [2, 0, 3]), ([0, 1], 1, [2, 3, 0]), ([2, 0], 2, [3, 1, 4, 0])],
)
def test_free_slots_come_first_and_the_active_one_never(priority: list[int], active: int, slots: list[int]) -> None:
    assert free_slots(priority, active) == slots


def test_a_refused_priority_keeps_the_old_profile(world: World) -> None:
    """A05.FR.02, A05.FR.03: the station checks what it needs."""
    until(world, "choosing")
    answer(world, chosen("Rejected"))
    assert (row(world), admitted(world)) == (("kept", "SetVariables: Rejected"), (1, None))
    replayed(world)


def test_a_priority_that_was_not_answered_is_asked_again_and_may_have_been_taken(world: World) -> None:
    until(world, "choosing")
    asked = 3
    while row(world)[0] == "choosing":
        receipt(world, "sending")
        receipt(world, "timeout")
        settle(world)
        asked += 1
        assert asked <= COMMANDS_MAX + 1
    assert (row(world), admitted(world)) == (("waiting", "SetVariables: timeout"), (1, 2))
    world.connect(epoch=2, profile=2)
    assert (row(world)[0], admitted(world)) == ("upgraded", (2, None))


def test_a_priority_that_was_lost_is_sent_again_on_the_next_connection(world: World) -> None:
    until(world, "choosing")
    receipt(world, "sending")
    world.connect(epoch=1, connected=False)
    receipt(world, "lost")
    calls = [call for outcome in world.connect(epoch=2, profile=1) for call in outcome.calls]
    assert [(call.action, call.epoch) for call in calls] == [("SetVariables", 2)]
    assert sent(answer(world, chosen(), epoch=2))[0] == "Reset"


@pytest.mark.parametrize("status", ["RebootRequired", "Accepted"])
def test_both_answers_to_the_priority_lead_to_a_reset(world: World, status: str) -> None:
    until(world, "choosing", reset="Immediate")
    assert sent(answer(world, chosen(status))) == ("Reset", {"type": "Immediate"})


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"status": "Accepted"}, None),
        ({"status": "Scheduled"}, None),
        ({"status": "Rejected"}, "Reset: Rejected; the profile is used from the next boot on"),
    ],
)
def test_whatever_it_says_to_the_reset_the_station_may_come_with_the_new_profile(
    world: World, payload: object, reason: str | None
) -> None:
    until(world, "resetting")
    answer(world, payload)
    assert (row(world), admitted(world)) == (("waiting", reason), (1, 2))
    world.connect(epoch=2, profile=2)
    assert admitted(world) == (2, None)


def test_a_reset_whose_outcome_nobody_knows_is_not_repeated(world: World) -> None:
    until(world, "resetting")
    receipt(world, "sending")
    world.connect(epoch=1, connected=False)
    receipt(world, "lost")
    assert settle(world).calls == ()
    assert (row(world), admitted(world)) == (("waiting", "Reset: unknown"), (1, 2))


# Time


def test_no_effect_in_time_is_said_and_a_late_one_counts(world: World) -> None:
    until(world, "waiting")
    world.wait(DAY_MS)
    world.tick(DUE, "cs-1")
    assert (row(world)[0], admitted(world)) == ("no_effect", (1, 2))
    replayed(world)
    world.connect(epoch=2, profile=2)
    assert (row(world)[0], admitted(world)) == ("upgraded", (2, None))


@pytest.mark.parametrize("step", ["reading", "writing"])
def test_time_that_is_up_before_anything_was_chosen_keeps_the_old_profile(world: World, step: str) -> None:
    until(world, step)
    world.wait(DAY_MS)
    world.tick(DUE, "cs-1")
    assert (row(world)[0], admitted(world)) == ("kept", (1, None))


def test_a_lower_profile_is_not_admitted_for_longer_than_asked() -> None:
    world = fresh(3)
    until(world, "waiting", to=2, downgrade=True)
    world.wait(DAY_MS)
    world.tick(DUE, "cs-1")
    assert (row(world)[0], admitted(world)) == ("kept", (3, None))
    world.connect(epoch=2, profile=2)
    assert admitted(world) == (3, None)


def test_after_no_effect_another_change_may_be_asked(world: World) -> None:
    until(world, "waiting")
    world.wait(DAY_MS)
    world.tick(DUE, "cs-1")
    assert upgrade(world, operation_id="1" * 32).result.status == 202
    assert [one["state"] for one in world.rows(CHANGES)] == ["replaced", "reading"]
    replayed(world)


# Repeats, and the registry


def test_repeats_and_answers_to_other_steps_change_nothing(world: World) -> None:
    until(world, "choosing")
    before = len(world.events)
    for late in told(world, ENDED):
        world.ask(ENDED, late, key="cs-1")
    world.ask(ENDED, Ended(command_id="x", action="Reset", status="unknown", reference="profile/other"), key="cs-1")
    assert len(world.events) == before


@pytest.mark.requirement("A00.FR.004")
@pytest.mark.parametrize("step", list(STEPS))
def test_a_profile_set_in_the_registry_ends_the_change(world: World, step: str) -> None:
    until(world, step)
    world.ask(PatchStation.NAME, PatchStation(fields=StationFields(security_profile=3)), key="cs-1")
    assert (row(world)[0], admitted(world)) == ("replaced", (3, None))
    assert not [timer for timer in world.timers if timer[0] == DUE]
    world.connect(epoch=2, profile=2)
    assert admitted(world) == (3, None)
    replayed(world)


def test_a_removed_station_has_no_change(world: World) -> None:
    until(world, "waiting")
    world.ask(RemoveStation.NAME, RemoveStation(), key="cs-1")
    world.connect(epoch=2, profile=2)
    assert row(world)[0] == "replaced"
    assert world.published(topics.STATIONS)[-1]["deleted"] is True
    replayed(world)


@pytest.mark.requirement("A05.FR.07")
def test_replacing_the_registry_entry_does_not_lower_the_profile_unawares(world: World) -> None:
    until(world, "waiting")
    world.connect(epoch=2, profile=2)
    world.ask(PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(), spare="s"), key="cs-1")
    assert admitted(world) == (2, None)
    lowered = StationFields(security_profile=None)
    world.ask(PutStation.NAME, PutStation(identity="CS-1", fields=lowered, spare="s", lowers=True), key="cs-1")
    assert admitted(world) == (1, None)
