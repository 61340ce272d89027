"""Another password for a station (A01): every way it can end, and that it is never without one that opens."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from ocppcore import commands, topics
from ocppcore.command_end import ENDED, Ended
from ocppcore.commands import ASK, Ask
from ocppcore.contracts.device import (
    Automatic,
    FactoryPasswordDue,
    PatchStation,
    PutStation,
    RemoveStation,
    RotatePassword,
    SendPassword,
    StationFields,
)
from ocppcore.envelope import Frame, Receipt
from ocppcore.rpc import CallError, CallResult
from services.device.domain.changes import CHANGES
from services.device.domain.rotation import CLOSINGS_MAX, END, EVIDENCE, RESETS_MAX, UntoldPassword
from services.device.domain.security_event import SECURITY_EVENTS
from services.device.domain.station import Station
from services.device.projections import STATIONS
from services.device.service import PARTS
from tests.support.given import World

OLD, NEW = "stored-old", "stored-new"
MADE = commands.commands("device")
BOOT = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}


def fresh() -> World:
    return World("device", [*PARTS, commands.part(MADE)])


@pytest.fixture
def world() -> World:
    """CS-1 is registered with OLD and connected with it."""
    made = fresh()
    body = PutStation(identity="CS-1", fields=StationFields(credential=OLD), spare="s")
    made.ask(PutStation.NAME, body, key="cs-1")
    made.connect(epoch=1, profile=1, credential="current")
    made.wait(1000)
    return made


def rotate(world: World, *, operation: str = "o1", **more: Any) -> Any:
    ask = Ask(
        command_id=f"{operation}-c",
        action="SetVariables",
        payload=msgspec.Raw(b'{"attributeValue":"***"}'),
        sealed=b"sealed frame",
        reply_service="device",
        reference=f"password/{operation}",
    )
    wanted = {"length": 32, "limit": False, "evidence_ms": 60_000} | more
    body = RotatePassword(operation_id=operation, ask=ask, credential=NEW, **wanted)
    return world.ask(RotatePassword.NAME, body, key="cs-1").result


def told(world: World, name: str) -> list[Any]:
    """Requests of this type that followed from events, decoded."""
    handler = world.service.requests[name]
    found = [r for r in world.records if r.headers.get("ce_type") == name and r.topic == topics.requests("device")]
    return [msgspec.json.decode(record.value, type=handler.body) for record in found]


def send(world: World) -> Sequence[Any]:
    """The station is told; the frames for it."""
    return world.ask(SendPassword.NAME, told(world, SendPassword.NAME)[-1], key="cs-1").calls


def asked(world: World, **more: Any) -> None:
    assert rotate(world, **more).status == 202
    send(world)


def settle(world: World) -> None:
    """What the command's end tells the operation."""
    world.ask(ENDED, told(world, ENDED)[-1], key="cs-1")


def answer(world: World, status: str, epoch: int = 1, *, reason: str = "", operation: str = "o1") -> None:
    result: dict[str, Any] = {
        "attributeStatus": status,
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
    }
    if reason:
        result["attributeStatusInfo"] = {"reasonCode": reason}
    payload = msgspec.json.encode({"setVariableResult": [result]})
    world.answer(frame(epoch), CallResult(f"{operation}-c", payload))
    settle(world)


def frame(epoch: int) -> Frame:
    return Frame("cs-1", "CS-1", 0, epoch, 3, "ocpp2.0.1", 0, "result", "o1-c", "SetVariables", "", b"", "")


def receipt(world: World, what: Any, epoch: int = 1) -> None:
    world.receipt(Receipt("cs-1", 0, epoch, world.now, "o1-c", "SetVariables", what, "", ""))


def admitted(world: World) -> tuple[Any, Any]:
    """What gateways let in: in force, and next."""
    state = world.published(topics.STATIONS)[-1]
    return state.get("credential"), state.get("nextCredential")


def row(world: World) -> tuple[Any, Any]:
    (found,) = world.rows(CHANGES)
    return found["state"], found["reason"]


def replayed(world: World) -> World:
    """A world that saw the same events and nothing else."""
    made = fresh()
    made.given(*world.events)
    assert made.state(Station, "cs-1") == world.state(Station, "cs-1")
    assert made.rows(CHANGES) == world.rows(CHANGES)
    assert made.published(topics.STATIONS) == world.published(topics.STATIONS)
    return made


def is_over(world: World) -> bool:
    station = world.state(Station, "cs-1")
    return (
        (station is None or station.rotation is None) and not world.timers and not world.state(UntoldPassword, "cs-1")
    )


@pytest.mark.requirement("A01.FR.02", "A01.FR.03")
def test_an_accepted_password_is_in_force_and_the_old_one_refused(world: World) -> None:
    rotate(world)
    assert admitted(world) == (OLD, NEW), "both, before the station hears of it"
    (call,) = send(world)
    assert (call.action, call.sealed, call.frame) == ("SetVariables", True, b"sealed frame")
    assert row(world) == ("asked", None)
    receipt(world, "sending")
    answer(world, "Accepted")
    assert admitted(world) == (NEW, None)
    assert row(world) == ("changed", None)
    assert is_over(replayed(world))
    assert is_over(world)


def test_the_station_is_told_only_in_a_decision_after_both_are_admitted(world: World) -> None:
    before = len(world.events)
    result = rotate(world)
    assert result.status == 202
    kinds = [type(event).__name__ for event in world.events[before:]]
    assert kinds == ["PasswordRotationStarted", "StationChanged"]


@pytest.mark.requirement("A01.FR.04")
@pytest.mark.parametrize("status", ["Rejected", "UnknownVariable", "UnknownComponent", "NotSupportedAttributeType"])
def test_any_other_status_keeps_the_old_password(world: World, status: str) -> None:
    asked(world)
    answer(world, status, reason="TooWeak")
    assert admitted(world) == (OLD, None)
    assert row(world) == ("kept", f"{status} TooWeak")
    assert is_over(world)
    replayed(world)


@pytest.mark.requirement("A01.FR.04")
def test_an_error_keeps_the_old_password(world: World) -> None:
    asked(world)
    world.answer(frame(1)._replace(kind="error"), CallError("o1-c", "NotSupported", "no", b"{}"))
    settle(world)
    assert admitted(world) == (OLD, None)
    assert row(world) == ("kept", "the station answered an error: NotSupported no")


def test_a_station_that_is_away_was_not_told(world: World) -> None:
    world.connect(epoch=1, connected=False)
    rotate(world)
    assert send(world) == ()
    settle(world)
    assert admitted(world) == (OLD, None)
    assert row(world) == ("kept", "not_connected")
    assert is_over(world)


def test_a_command_that_the_gateway_refused_was_not_sent(world: World) -> None:
    asked(world)
    receipt(world, "refused")
    settle(world)
    assert (admitted(world), row(world)) == ((OLD, None), ("kept", "refused"))


# Nobody knows: both are admitted until there is evidence


def unsure(world: World, how: str) -> None:
    """Told, and no word of what became of it."""
    asked(world)
    receipt(world, "sending")
    if how == "timeout":
        receipt(world, "timeout")
    elif how == "lost":
        world.connect(epoch=1, connected=False)
        receipt(world, "lost")
    else:
        world.answer(frame(1), CallResult("o1-c", b'{"setVariableResult":"?"}'))
    settle(world)
    assert row(world)[0] == "unsure"
    assert admitted(world) == (OLD, NEW)
    replayed(world)


@pytest.mark.parametrize("how", ["timeout", "lost", "unreadable"])
@pytest.mark.parametrize(("shown", "left"), [("next", (NEW, None)), ("current", (OLD, None))])
def test_the_next_connection_shows_which_password_the_station_has(
    world: World, how: str, shown: Any, left: tuple[str, None]
) -> None:
    unsure(world, how)
    world.wait(1000)
    world.connect(epoch=2, profile=1, credential=shown)
    assert admitted(world) == left
    assert row(world)[0] == ("changed" if shown == "next" else "kept")
    assert is_over(world)
    replayed(world)


@pytest.mark.parametrize(("shown", "left"), [("next", (NEW, None)), ("current", (OLD, None))])
def test_a_station_that_came_back_before_the_end_was_known_has_shown_it(
    world: World, shown: Any, left: tuple[str, None]
) -> None:
    asked(world)
    receipt(world, "sending")
    world.connect(epoch=1, connected=False)
    receipt(world, "lost")
    world.connect(epoch=2, profile=1, credential=shown)
    settle(world)
    assert (admitted(world), row(world)[0]) == (left, "changed" if shown == "next" else "kept")
    assert is_over(world)
    replayed(world)


def test_the_connection_that_it_was_told_on_shows_nothing(world: World) -> None:
    """It was queued on the first, and sent on the second: a timeout there, and the second is still the newest."""
    asked(world)
    receipt(world, "sending")
    world.connect(epoch=2, profile=1, credential="current")
    receipt(world, "lost")
    receipt(world, "sending", epoch=2)
    receipt(world, "timeout", epoch=2)
    settle(world)
    assert (admitted(world), row(world)[0]) == ((OLD, NEW), "unsure")
    world.connect(epoch=3, profile=1, credential="current")
    assert (admitted(world), row(world)[0]) == ((OLD, None), "kept")


def test_a_connection_from_before_shows_nothing(world: World) -> None:
    unsure(world, "timeout")
    world.connect(epoch=1, profile=1, credential="current")
    assert (admitted(world), row(world)[0]) == ((OLD, NEW), "unsure")


def test_the_new_password_seen_before_any_answer_is_in_force(world: World) -> None:
    asked(world)
    receipt(world, "sending")
    world.connect(epoch=2, profile=1, credential="next")
    assert (admitted(world), row(world)[0]) == ((NEW, None), "changed")
    receipt(world, "lost")  # sent again on the new connection: SetVariables is idempotent
    answer(world, "Accepted", epoch=2)
    assert (admitted(world), row(world)[0]) == ((NEW, None), "changed")


def test_the_old_password_seen_while_the_command_is_open_decides_nothing(world: World) -> None:
    asked(world)
    receipt(world, "sending")
    world.connect(epoch=2, profile=1, credential="current")
    assert (admitted(world), row(world)[0]) == ((OLD, NEW), "asked")
    receipt(world, "lost")
    receipt(world, "sending", epoch=2)
    answer(world, "Accepted", epoch=2)
    assert (admitted(world), row(world)[0]) == ((NEW, None), "changed")


def test_a_connection_that_was_open_before_the_change_is_no_evidence_of_its_next_password(world: World) -> None:
    """Its record may come late, and "next" was the next one of another change then."""
    made = world.now
    asked(world)
    world.now = made - 1
    world.connect(epoch=2, profile=1, credential="next")
    assert (admitted(world), row(world)[0]) == ((OLD, NEW), "asked")


def test_a_station_that_stays_connected_is_closed_to_see_which_password_it_has(world: World) -> None:
    unsure(world, "timeout")
    for times in range(CLOSINGS_MAX):
        assert world.timers, f"after {times} closings"
        world.wait(60_000)
        (close,) = world.tick(EVIDENCE, "cs-1").calls
        assert (close.kind, close.slot, close.epoch) == ("close", 0, 1)
        assert admitted(world) == (OLD, NEW)
    assert not world.timers
    world.connect(epoch=2, profile=1, credential="next")
    assert (admitted(world), row(world)[0]) == ((NEW, None), "changed")


def test_nothing_is_closed_when_the_station_is_away(world: World) -> None:
    unsure(world, "lost")
    world.wait(60_000)
    assert world.tick(EVIDENCE, "cs-1").calls == ()
    assert admitted(world) == (OLD, NEW)


@pytest.mark.parametrize(
    ("shown", "state", "left"), [("next", "changed", (NEW, None)), ("current", "kept", (OLD, None))]
)
def test_a_password_that_takes_a_reboot_is_judged_after_the_boot(
    world: World, shown: Any, state: str, left: tuple[str, None]
) -> None:
    asked(world)
    answer(world, "RebootRequired")
    assert admitted(world) == (OLD, NEW)
    assert not world.timers
    world.connect(epoch=2, profile=1, credential="current")
    assert row(world)[0] == "unsure", "a lost connection is no boot"
    world.connect(epoch=3, profile=1, credential=shown)
    world.call("BootNotification", BOOT, epoch=3)
    assert (admitted(world), row(world)[0]) == (left, state)
    assert is_over(world)


# Crashes and repeats


def test_a_service_that_died_before_the_station_was_told_goes_on(world: World) -> None:
    """The request that tells it follows from the event: a new owner appends it again, and it is decided once."""
    rotate(world)
    (body,) = told(world, SendPassword.NAME)
    assert len(world.ask(SendPassword.NAME, body, key="cs-1").calls) == 1
    assert world.ask(SendPassword.NAME, body, key="cs-1").calls == ()
    answer(world, "Accepted")
    assert world.ask(SendPassword.NAME, body, key="cs-1").events == ()
    assert admitted(world) == (NEW, None)


def test_a_restored_database_without_the_password_keeps_the_old_one(world: World) -> None:
    rotate(world)
    restored = replayed(world)
    restored.connect(epoch=1, profile=1, credential="current")
    restored.ask(SendPassword.NAME, told(world, SendPassword.NAME)[-1], key="cs-1")
    assert admitted(restored) == (OLD, None)
    assert row(restored) == ("kept", "the password was lost before the station was told")


def test_a_repeated_end_changes_nothing(world: World) -> None:
    asked(world)
    answer(world, "Accepted")
    before = len(world.events)
    settle(world)
    world.ask(
        ENDED, Ended(command_id="x", action="SetVariables", status="timeout", reference="password/o0"), key="cs-1"
    )
    assert len(world.events) == before


# Refused, overruled


def test_one_change_at_a_time(world: World) -> None:
    asked(world)
    assert rotate(world, operation="o2").status == 409
    answer(world, "Accepted")
    assert rotate(world, operation="o2").status == 202


def test_an_unknown_station_and_one_with_a_certificate_have_no_password() -> None:
    assert rotate(fresh()).status == 404
    made = fresh()
    body = PutStation(identity="CS-1", fields=StationFields(security_profile=3), spare="s")
    made.ask(PutStation.NAME, body, key="cs-1")
    assert rotate(made).status == 409


@pytest.mark.requirement("A00.FR.205", "A00.FR.304")
def test_a_password_is_as_long_as_the_station_takes(world: World) -> None:
    assert [rotate(world, length=n).status for n in (15, 41)] == [422, 422]
    report(world, 64)
    assert rotate(world, length=65).status == 422
    assert rotate(world, length=64).status == 202


@pytest.mark.parametrize(("limit", "known"), [(64, 64), (1e6, 64), (20.5, 20), (3, None)])
def test_what_a_station_reports_of_its_passwords_is_believed_within_reason(
    world: World, limit: float, known: int | None
) -> None:
    report(world, limit)
    (found,) = world.rows(STATIONS)
    assert found["password_max"] == known
    replayed(world)


def report(world: World, limit: float) -> None:
    variable = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "variableAttribute": [{"mutability": "WriteOnly"}],
        "variableCharacteristics": {"dataType": "string", "supportsMonitoring": False, "maxLimit": limit},
    }
    said = {"requestId": 1, "generatedAt": "2023-11-14T22:00:00Z", "seqNo": 0, "reportData": [variable]}
    world.call("NotifyReport", said)


def patch(world: World, **fields: Any) -> None:
    world.ask(PatchStation.NAME, PatchStation(fields=StationFields(**fields)), key="cs-1")


@pytest.mark.parametrize("phase", ["started", "asked", "unsure"])
def test_a_password_set_in_the_registry_ends_the_change(world: World, phase: str) -> None:
    if phase == "started":
        rotate(world)
    elif phase == "asked":
        asked(world)
    else:
        unsure(world, "timeout")
    patch(world, credential="by-hand")
    assert admitted(world) == ("by-hand", None)
    assert row(world)[0] == "replaced"
    assert send(world) == ()
    assert is_over(world)
    replayed(world)


def test_other_settings_do_not_touch_the_change(world: World) -> None:
    asked(world)
    patch(world, zone="Europe/Amsterdam")
    again = PutStation(identity="CS-1", fields=StationFields(boot_interval=9), spare="s")
    world.ask(PutStation.NAME, again, key="cs-1")
    assert admitted(world) == (OLD, NEW)
    answer(world, "Accepted")
    assert admitted(world) == (NEW, None)


def test_a_removed_station_has_no_change(world: World) -> None:
    asked(world)
    world.ask(RemoveStation.NAME, RemoveStation(), key="cs-1")
    assert row(world)[0] == "replaced"
    answer(world, "Accepted")
    assert world.published(topics.STATIONS)[-1]["deleted"] is True
    assert is_over(world)
    replayed(world)


@pytest.mark.requirement("A01.FR.05")
@pytest.mark.parametrize(("limit", "status"), [(False, "Accepted"), (True, "Pending")])
def test_a_station_that_refused_is_pending_until_it_took_one_where_that_is_wanted(
    world: World, limit: bool, status: str
) -> None:
    asked(world, limit=limit)
    answer(world, "Rejected")
    assert boots(world) == status
    asked(world, operation="o2")
    answer(world, "Accepted", operation="o2")
    assert boots(world) == "Accepted"
    replayed(world)


@pytest.mark.parametrize("fields", [{"credential": "by-hand"}, {"boot": "pending"}])
def test_the_registry_lifts_the_limit(world: World, fields: dict[str, Any]) -> None:
    asked(world, limit=True)
    answer(world, "Rejected")
    patch(world, **fields)
    patch(world, boot="accepted")
    assert boots(world) == "Accepted"


@pytest.mark.requirement("A00.FR.805", "A00.FR.806")
def test_a_station_whose_factory_password_is_replaced_is_pending_until_it_is_accepted(world: World) -> None:
    patch(world, boot="pending")
    assert boots(world) == "Pending"
    asked(world)
    receipt(world, "sending")
    answer(world, "Accepted")
    assert admitted(world) == (NEW, None), "a Pending station takes another password"
    assert boots(world) == "Pending"
    patch(world, boot="accepted")
    assert boots(world) == "Accepted"
    replayed(world)


def test_a_password_that_never_arrived_limits_nobody(world: World) -> None:
    world.connect(epoch=1, connected=False)
    asked(world, limit=True)
    settle(world)
    assert boots(world) == "Accepted"


def boots(world: World) -> str:
    reply: Any = world.call("BootNotification", BOOT).reply
    return str(reply.status)


def register(made: World, **fields: Any) -> None:
    wanted: dict[str, Any] = {"factory_credentials": True, "automatic": Automatic(provisioning=True)} | fields
    body = PutStation(identity="CS-1", fields=StationFields(credential=OLD, **wanted), spare="s")
    made.ask(PutStation.NAME, body, key="cs-1")


def due(made: World) -> list[int]:
    """How long the passwords are that a boot asks for."""
    return [
        event.length for event in made.call("BootNotification", BOOT).events if isinstance(event, FactoryPasswordDue)
    ]


def factory(made: World) -> bool:
    return bool(made.published(topics.STATIONS)[-1].get("factoryCredentials"))


@pytest.mark.requirement("A00.FR.805")
def test_factory_credentials_are_replaced_once_the_station_is_accepted(world: World) -> None:
    register(world)
    assert due(world) == [32]
    asked(world, factory=True)
    assert due(world) == [], "it is under way"
    answer(world, "Accepted")
    assert (admitted(world), factory(world)) == ((NEW, None), False)
    assert due(world) == []
    assert rotate(world, operation="o2", factory=True).status == 409, "asked for twice, replaced once"
    replayed(world)


@pytest.mark.requirement("A00.FR.805")
def test_a_station_that_refuses_is_asked_again_at_its_next_boot(world: World) -> None:
    register(world)
    assert due(world) == [32]
    asked(world, factory=True)
    answer(world, "Rejected")
    assert (admitted(world), factory(world)) == ((OLD, None), True)
    assert due(world) == [32]


@pytest.mark.parametrize(
    "fields",
    [
        {"automatic": Automatic(local_list=True)},
        {"factory_credentials": False},
        {"boot": "pending"},
        {"security_profile": 3},
        {"disabled": True},
    ],
)
def test_nothing_is_replaced_where_it_may_not_be(world: World, fields: dict[str, Any]) -> None:
    register(world, **fields)
    assert due(world) == []


def test_who_sets_another_password_says_that_it_is_not_the_factorys(world: World) -> None:
    register(world)
    assert factory(world)
    world.ask(PatchStation.NAME, PatchStation(fields=StationFields(serial_number="S")), key="cs-1")
    assert factory(world)
    world.ask(PutStation.NAME, PutStation(identity="CS-1", fields=StationFields(), spare="s"), key="cs-1")
    assert factory(world), "replaced without a password: what it connects with stays"
    world.ask(PatchStation.NAME, PatchStation(fields=StationFields(credential="chosen")), key="cs-1")
    assert not factory(world)


# A station that puts off the boot at which it takes the new password

DAY_MS = 86_400_000


def waits_for_a_boot(world: World) -> None:
    asked(world, reboot_ms=DAY_MS, end_ms=7 * DAY_MS)
    answer(world, "RebootRequired")
    assert (admitted(world), row(world)[0]) == ((OLD, NEW), "unsure")
    assert {name for name, _ in world.timers} == {EVIDENCE, END}


def due_to_boot(world: World) -> list[Any]:
    """A station has not booted in time; the frames that it is sent."""
    before = len(told(world, ASK))
    world.wait(DAY_MS)
    world.tick(EVIDENCE, "cs-1")
    assert admitted(world) == (OLD, NEW), "the clock alone locks nobody out"
    return sent_since(world, before)


def sent_since(world: World, before: int) -> list[Any]:
    """Frames of what was asked for after so many."""
    return [call for ask in told(world, ASK)[before:] for call in world.ask(ASK, ask, key="cs-1").calls]


def boots_with(world: World, shown: Any, epoch: int) -> None:
    world.connect(epoch=epoch, profile=1, credential=shown)
    world.call("BootNotification", BOOT, epoch=epoch)


@pytest.mark.parametrize(
    ("shown", "state", "left"), [("next", "changed", (NEW, None)), ("current", "kept", (OLD, None))]
)
def test_a_station_that_puts_off_its_boot_is_sent_reset_and_its_boot_decides(
    world: World, shown: Any, state: str, left: tuple[str, None]
) -> None:
    waits_for_a_boot(world)
    (call,) = due_to_boot(world)
    assert (call.kind, call.action) == ("command", "Reset")
    assert msgspec.json.decode(call.frame)[3] == {"type": "OnIdle"}
    boots_with(world, shown, 2)
    assert (admitted(world), row(world)[0]) == (left, state)
    assert world.state(Station, "cs-1").rotation is None  # type: ignore[union-attr]
    replayed(world)


def test_a_station_that_boots_in_time_is_sent_nothing(world: World) -> None:
    waits_for_a_boot(world)
    boots_with(world, "next", 2)
    assert admitted(world) == (NEW, None)
    assert is_over(world)
    replayed(world)


def alarms(world: World) -> list[tuple[str, str]]:
    """The security events that nothing showed which password a station has."""
    found = world.rows(SECURITY_EVENTS)
    assert all((one["observed_by"], one["critical"]) == ("csms", None) for one in found)
    return [(str(one["type"]), str(one["tech_info"])) for one in found]


def never_boots(world: World) -> None:
    waits_for_a_boot(world)
    for _ in range(RESETS_MAX):
        due_to_boot(world)
    world.wait(DAY_MS)


@pytest.mark.requirement("A01.FR.03")
def test_a_station_that_never_boots_is_asked_three_times_and_stays_with_the_old_password(world: World) -> None:
    never_boots(world)
    world.tick(EVIDENCE, "cs-1")
    assert (admitted(world), row(world)[0]) == ((OLD, None), "kept")
    assert "3 Resets" in row(world)[1] and "rotate again" in row(world)[1]
    assert alarms(world) == [("PasswordUnconfirmed", row(world)[1])]
    assert is_over(world)
    replayed(world)


def test_one_that_was_reset_three_times_and_is_away_shows_it_when_it_comes(world: World) -> None:
    never_boots(world)
    world.connect(epoch=1, connected=False)
    world.tick(EVIDENCE, "cs-1")
    assert admitted(world) == (OLD, NEW)
    assert [info.startswith("it is away") for _, info in alarms(world)] == [True]
    before = len(told(world, ASK))
    world.connect(epoch=2, profile=1, credential="current")
    assert sent_since(world, before) == []
    assert (admitted(world), row(world)[0], len(alarms(world))) == ((OLD, None), "kept", 2)
    assert is_over(world)
    replayed(world)


def test_one_that_was_reset_three_times_and_comes_with_the_new_password_has_it(world: World) -> None:
    never_boots(world)
    world.connect(epoch=2, profile=1, credential="next")
    assert (admitted(world), row(world)[0], alarms(world)) == ((NEW, None), "changed", [])
    assert is_over(world)


# Never both for longer


@pytest.mark.requirement("A01.FR.03")
def test_a_station_that_does_not_come_back_to_boot_has_the_password_with_which_a_boot_brings_it_back(
    world: World,
) -> None:
    waits_for_a_boot(world)
    world.connect(epoch=1, connected=False)
    due_to_boot(world)
    ((_, said),) = alarms(world)
    assert "at most until 2023-11-21T22:13:21.000Z" in said, "said while there is time"
    world.wait(6 * DAY_MS)
    world.tick(END, "cs-1")
    assert (admitted(world), row(world)[0]) == ((NEW, None), "changed")
    assert "when it boots" in row(world)[1]
    assert len(alarms(world)) == 2
    assert is_over(world)
    replayed(world)


@pytest.mark.requirement("A01.FR.04")
@pytest.mark.parametrize("here", [True, False], ids=["connected all the time", "away"])
def test_a_station_that_said_nothing_and_shows_nothing_stays_with_the_old_password(world: World, here: bool) -> None:
    asked(world, end_ms=7 * DAY_MS)
    receipt(world, "sending")
    receipt(world, "timeout")
    settle(world)
    for _ in range(CLOSINGS_MAX):  # its socket does not end, or it is away: nothing is shown either way
        world.connect(epoch=1, profile=1, credential="current", connected=here)
        world.wait(60_000)
        if (EVIDENCE, "cs-1") in world.timers:
            world.tick(EVIDENCE, "cs-1")
    assert admitted(world) == (OLD, NEW)
    assert {name for name, _ in world.timers} == {END}
    world.wait(7 * DAY_MS)
    world.tick(END, "cs-1")
    assert (admitted(world), row(world)[0]) == ((OLD, None), "kept")
    assert alarms(world) == [("PasswordUnconfirmed", row(world)[1])]
    assert is_over(world)
    replayed(world)


def test_what_was_shown_in_time_is_not_ended_again(world: World) -> None:
    waits_for_a_boot(world)
    boots_with(world, "next", 2)
    assert is_over(world), "no timer is left that would end it again"
    assert (admitted(world), alarms(world)) == ((NEW, None), [])


def test_who_sets_the_password_ends_what_no_boot_ended(world: World) -> None:
    waits_for_a_boot(world)
    for _ in range(RESETS_MAX):
        due_to_boot(world)
    patch(world, credential="by-hand")
    assert (admitted(world), row(world)[0]) == (("by-hand", None), "replaced")
    assert is_over(world)


def test_a_station_that_is_away_when_its_boot_is_due_is_sent_reset_when_it_comes(world: World) -> None:
    waits_for_a_boot(world)
    world.connect(epoch=1, connected=False)
    assert due_to_boot(world) == []
    assert {name for name, _ in world.timers} == {END}
    world.connect(epoch=2, profile=1, credential="current")
    (call,) = sent_since(world, 0)
    assert (call.action, call.epoch) == ("Reset", 2)
    world.connect(epoch=3, profile=1, credential="current")
    assert len(told(world, ASK)) == 1, "once a day"
    assert EVIDENCE in {name for name, _ in world.timers}
    boots_with(world, "current", 4)
    assert (admitted(world), row(world)[0]) == ((OLD, None), "kept")
    replayed(world)


def test_a_station_that_comes_with_the_new_password_after_its_boot_was_due_has_it(world: World) -> None:
    waits_for_a_boot(world)
    world.connect(epoch=1, connected=False)
    due_to_boot(world)
    world.connect(epoch=2, profile=1, credential="next")
    assert told(world, ASK) == []
    assert (admitted(world), row(world)[0]) == ((NEW, None), "changed")
