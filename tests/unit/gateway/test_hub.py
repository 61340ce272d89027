"""Gateways on a log, without sockets: epochs, takeover, commands, drains, back-pressure."""

import asyncio
import json
from typing import Any

import pytest

from ocppcore import topics
from ocppcore.credentials import hash_generated
from ocppcore.envelope import (
    ConnectionChange,
    Frame,
    OutFrame,
    Receipt,
    Refusal,
    connection_record,
    outbound_record,
    parse_frame,
    state_record,
)
from ocppcore.log import LogUnavailable, RecordTooLarge
from ocppcore.sealed_frames import open_record
from ocppcore.telemetry import HIDDEN
from services.gateway.domain.admission import Knock
from services.gateway.domain.grants import Grant
from services.gateway.door import Admitted, Refused
from services.gateway.frames import item_of
from services.gateway.gateway import Gateway
from services.gateway.session import Session
from tests.unit.gateway.rig import CELLS, KEY, SEAL, Rig, Wire, admitted, playing_services, running
from tests.unit.gateway.talk import call, result


async def enter(gateway: Gateway, identity: str = "CS1") -> tuple[Session, Wire]:
    """A registered station connects."""
    station = gateway.stations.find(topics.normalise(identity))
    assert station is not None
    wire = Wire()
    session = await gateway.connect(admitted(station), identity, "ocpp2.0.1", wire)
    assert isinstance(session, Session), session
    return session, wire


def for_(session: Session, kind: str, id_: str, action: str = "Heartbeat", **more) -> OutFrame:
    origin = session.connection.origin
    frame = result(id_) if kind == "reply" else call(id_, action)
    return OutFrame(origin.station, origin.slot, origin.epoch, kind, id_, action, frame, **more)


def receipts(rig: Rig) -> list[tuple[str, str]]:
    return [(entry.command_id, entry.what) for entry in rig.frames() if isinstance(entry, Receipt)]


async def test_frames_carry_the_epoch_and_replies_come_back_to_exactly_that_connection():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        session, wire = await enter(gateway)
        session.receive(call("1"))
        [frame] = await rig.until(rig.frames)

        assert (frame.slot, frame.epoch) == (gateway.hub.holder.slot, session.epoch)
        stale = for_(session, "reply", "1")._replace(epoch=session.epoch + 1)
        await rig.put(stale)
        await rig.put(for_(session, "reply", "1"))
        await rig.until(lambda: wire.sent)
        assert wire.sent == [result("1")]
        assert gateway.stats.outbound_dropped == 1


async def test_the_epoch_is_the_position_of_the_connected_record():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        first, _ = await enter(gateway)
        first.ended(1000, "bye")
        second, _ = await enter(gateway)

        cell = topics.partition_of("cs1", CELLS)
        connected = [
            record.position
            for record in rig.cluster.partitions[topics.CONNECTIONS][cell]
            if json.loads(record.value)["connected"]
        ]
        assert [first.epoch, second.epoch] == connected
        changes = rig.changes()
        assert [(c.connected, c.epoch, c.claim) for c in changes[:2]] == [
            (True, 0, gateway.hub.holder.claim),
            (False, first.epoch, gateway.hub.holder.claim),
        ]


async def test_the_newest_connection_wins_within_a_gateway():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        _, old_wire = await enter(gateway)
        new, _ = await enter(gateway)

        assert old_wire.closed == (1008, "replaced by a newer connection")
        assert gateway.hub.sessions == {"cs1": new}
        assert all(change.connected for change in rig.changes()), "the newer record says it"


async def test_the_newest_connection_wins_across_gateways_and_its_commands_are_not_lost_silently():
    rig = Rig()
    await rig.register("CS1")
    one, two = rig.gateway("gw1"), rig.gateway("gw2")
    async with running(one, two):
        old, old_wire = await enter(one)
        await rig.put(for_(old, "command", "c1", "Reset"))
        await rig.put(for_(old, "command", "c2", "Reset"))
        await rig.until(lambda: old_wire.sent)

        await enter(two)
        await rig.until(lambda: old_wire.closed)
        await rig.until(lambda: len(receipts(rig)) == 3)

        assert receipts(rig) == [("c1", "sending"), ("c1", "lost"), ("c2", "gone")]
        assert not one.hub.sessions
        assert all(change.connected for change in rig.changes())


async def test_a_connection_that_lost_the_race_before_it_was_open_is_refused():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        released = asyncio.Event()

        async def hold(point: str) -> None:
            if point == "appended":
                await released.wait()

        rig.cluster.interrupt = hold
        opening = asyncio.create_task(
            gateway.connect(admitted(gateway.stations.find("cs1")), "CS1", "ocpp2.0.1", Wire())
        )
        await rig.until(lambda: len(rig.changes()) == 1)
        elsewhere = ConnectionChange(identity="CS1", slot=7, claim=1, connected=True, subprotocol="ocpp2.0.1", at=1)
        rig.cluster.put(connection_record(elsewhere, CELLS))
        rig.cluster.wake()
        await rig.until(lambda: gateway.hub._opening["cs1"].newest == 1)
        rig.cluster.interrupt = None
        released.set()

        assert isinstance(await opening, Refused)
        assert not gateway.hub.sessions


async def test_a_command_that_comes_before_its_connection_is_known_here_waits_for_it():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        released = asyncio.Event()

        async def hold(point: str) -> None:
            if point == "appended":
                await released.wait()

        rig.cluster.interrupt = hold
        wire = Wire()
        opening = asyncio.create_task(gateway.connect(admitted(gateway.stations.find("cs1")), "CS1", "ocpp2.0.1", wire))
        await rig.until(lambda: len(rig.changes()) == 1)
        # A service has read the `connected` record already.
        out = OutFrame("cs1", gateway.hub.holder.slot, 0, "command", "c1", "Reset", call("c1", "Reset"))
        rig.cluster.interrupt = None
        await asyncio.wait_for(_put_beside(rig, out), 5)
        await rig.until(lambda: gateway.hub._opening["cs1"].frames)
        released.set()
        await opening

        await rig.until(lambda: wire.sent)
        assert receipts(rig) == [("c1", "sending")]


async def _put_beside(rig: Rig, out: OutFrame) -> None:
    """Another process's append: not behind the one that is held up."""
    rig.cluster.put(outbound_record(out, "device", rig.clock()))
    rig.cluster.wake()


async def test_a_command_for_a_connection_that_is_not_here_is_gone():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        session, wire = await enter(gateway)
        await rig.put(for_(session, "command", "c1", "ReserveNow")._replace(epoch=session.epoch + 5))
        await rig.put(for_(session, "command", "c2", "ReserveNow")._replace(station="cs2"))

        await rig.until(lambda: len(receipts(rig)) == 2)
        assert receipts(rig) == [("c1", "gone"), ("c2", "gone")]
        assert wire.sent == []


async def test_a_command_frame_that_comes_again_is_sent_once():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        session, wire = await enter(gateway)
        for _ in range(2):
            await rig.put(for_(session, "command", "c1", "Reset"))
        await rig.until(lambda: wire.sent)
        session.receive(result("c1"))
        await rig.put(for_(session, "command", "c1", "Reset"))
        await rig.put(for_(session, "command", "c2", "Reset"))
        await rig.until(lambda: len(wire.sent) == 2)

        assert wire.sent == [call("c1", "Reset"), call("c2", "Reset")]
        assert receipts(rig) == [("c1", "sending"), ("c2", "sending")]


async def test_a_refused_handshake_is_recorded_among_the_device_service_s_frames():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway(recorded_per_station=1)
    async with running(gateway):
        for _ in range(2):
            assert (await gateway.admit("cs1", Knock(source="10.0.0.1"))).status == 401
        await rig.until(rig.frames)
        slot = gateway.hub.holder.slot
    assert not gateway.hub.refused(Refusal(identity="CS1", slot=-1, at=0, cause="password")), "no slot is held"

    [record] = rig.records(topics.frames("device"))
    assert record.key == "cs1"
    refusal = parse_frame(record)
    assert refusal == Refusal(identity="CS1", slot=slot, at=refusal.at, cause="no_password", address="10.0.0.1")
    assert gateway.stats.refusals_unrecorded == 1


async def test_a_service_may_have_exactly_one_connection_closed_after_its_reply():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        session, wire = await enter(gateway)
        session.receive(call("1"))
        await rig.until(rig.frames)
        close = for_(session, "close", "")._replace(frame=b"not this station")
        await rig.put(close._replace(epoch=session.epoch + 1))
        await rig.put(for_(session, "reply", "1"))
        await rig.put(close)
        await rig.until(lambda: wire.closed)
        assert (wire.sent, wire.closed) == ([result("1")], (1008, "not this station"))
        assert gateway.stats.outbound_dropped == 1
        await rig.until(lambda: not rig.changes()[-1].connected)
        assert receipts(rig) == []


async def test_a_sealed_command_is_opened_at_the_socket_only():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        session, wire = await enter(gateway)
        frame = call("c1", "SetVariables")
        sealed = for_(session, "command", "c1", "SetVariables", sealed=True)
        await rig.put(sealed._replace(frame=SEAL.seal(frame, b"c1")))
        await rig.put(sealed._replace(message_id="c2", frame=SEAL.seal(frame, b"other")))
        await rig.until(lambda: wire.sent)
        session.receive(result("c1"))
        await rig.until(lambda: ("c2", "refused") in receipts(rig))

        assert wire.sent == [frame]


@pytest.mark.requirement("B02.FR.09", "P4.5.3.1")
async def test_registration_comes_from_the_copy_and_changes_with_the_boot_answer():
    rig = Rig()
    await rig.register("CS1", registration="Pending")
    gateway = rig.gateway()
    async with running(gateway):
        session, wire = await enter(gateway)
        session.receive(call("1"))
        await rig.until(lambda: wire.sent)
        assert json.loads(wire.sent[0])[:3] == [4, "1", "SecurityError"]
        assert rig.frames()[0].refused == "SecurityError", "and the log had it first"

        session.receive(call("2", "BootNotification"))
        await rig.put(for_(session, "reply", "2", "BootNotification", registration="Accepted"))
        await rig.until(lambda: len(wire.sent) == 2)
        session.receive(call("3"))
        await rig.put(for_(session, "reply", "3"))
        await rig.until(lambda: len(wire.sent) == 3)


@pytest.mark.parametrize("change", [{"credential": None}, {"disabled": True}, {"deleted": True}])
async def test_changed_credentials_close_the_live_socket_within_a_second(change):
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        _, wire = await enter(gateway)

        await rig.register("CS1", **change)

        await rig.until(lambda: wire.closed, 1.0)
        assert wire.closed == (1008, "credentials changed")
        await rig.until(lambda: not rig.changes()[-1].connected)


async def test_a_change_that_admits_nobody_else_leaves_the_socket_alone():
    rig = Rig()
    await rig.register("CS1", credential="c")
    gateway = rig.gateway()
    async with running(gateway):
        _, wire = await enter(gateway)

        await rig.register("CS1", credential="c", registration="Pending", zone="Europe/Vienna")
        await rig.until(lambda: gateway.stations.find("cs1").registration == "Pending")

        assert wire.closed is None


async def test_a_password_that_is_changed_by_the_csms_does_not_close_the_connection_that_is_there():
    """A01: first both are admitted, then the next one is in force."""
    old, new = hash_generated("old", KEY), hash_generated("new", KEY)
    rig = Rig()
    await rig.register("CS1", credential=old)
    gateway = rig.gateway()
    async with running(gateway):
        session, wire = await enter(gateway)
        for state in (
            {"credential": old, "next_credential": new},
            {"credential": new},
            {"credential": new, "boot": "pending"},
        ):
            before = gateway.stations.find("cs1")
            await rig.register("CS1", **state, serial_number=str(state))
            await rig.until(lambda before=before: gateway.stations.find("cs1") != before)
            assert wire.closed is None
        assert session.grant.credential == new

        await rig.register("CS1", credential=old)
        await rig.until(lambda: wire.closed)
        assert wire.closed == (1008, "credentials changed")


async def test_what_closes_a_local_controller_s_door_closes_it_for_all_behind_it():
    rig = Rig()
    await rig.register("LC")
    for identity in ("CS1", "CS2"):
        await rig.register(identity, controller="LC")
    gateway = rig.gateway()
    async with running(gateway):
        wires = []
        for identity in ("CS1", "CS2"):
            station = gateway.stations.find(identity.casefold())
            grant = Grant("lc", 1, gateway.stations.find("lc").credential)
            wires.append(Wire())
            entered = await gateway.connect(Admitted(station, grant), identity, "ocpp2.0.1", wires[-1])
            assert isinstance(entered, Session)
        await rig.register("CS1", controller="LC", credential=hash_generated("not asked for", KEY))
        await rig.register("LC", disabled=True)
        await rig.until(lambda: all(wire.closed for wire in wires))
        assert not gateway.hub._carried


async def test_credentials_that_changed_during_the_handshake_close_it():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        before = gateway.stations.find("cs1")
        await rig.register("CS1")
        await rig.until(lambda: gateway.stations.find("cs1") != before)

        assert isinstance(await gateway.connect(admitted(before), "CS1", "ocpp2.0.1", Wire()), Refused)
        await rig.until(lambda: len(rig.changes()) == 2)
        assert not gateway.hub.sessions


@pytest.mark.requirement("A00.FR.702")
async def test_a_certificate_that_was_revoked_during_the_handshake_opens_nothing():
    rig, fingerprint = Rig(), "f" * 64
    await rig.register("CS1", security_profile=3)
    gateway = rig.gateway()
    async with running(gateway):
        station = gateway.stations.find("cs1")
        shown = Admitted(station, Grant("cs1", 3, None, certificate_name="CS1", fingerprint=fingerprint))
        assert isinstance(await gateway.connect(shown, "CS1", "ocpp2.0.1", Wire()), Session)

        revoked = {"fingerprint": fingerprint, "kind": "revoked", "use": "ChargingStationCertificate", "notAfter": 1}
        await rig.log.append([state_record(topics.AUTHORITIES, fingerprint, revoked, "/auth", "r", rig.clock(), CELLS)])
        await rig.until(lambda: not gateway.hub.sessions)

        assert isinstance(await gateway.connect(shown, "CS1", "ocpp2.0.1", Wire()), Refused)
        assert not gateway.hub.sessions


async def test_a_station_s_calls_without_answer_are_forgotten_by_the_clock():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        now = rig.clock()
        session, _ = await enter(gateway)
        session.receive(call("1"))
        session.receive(call("2"))
        gateway.hub.clock = lambda: now + 60_000
        gateway.hub.tick()

        await rig.until(lambda: len(rig.frames()) == 2)
        gateway.hub.tick()
        assert list(gateway.hub.timed) == [session]
        session.ended()
        assert not gateway.hub.timed


async def test_a_log_that_falls_behind_stops_the_reading_of_sockets_until_it_has_caught_up():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway(append_bytes_max=10_000)
    async with running(gateway):
        session, wire = await enter(gateway)
        released = asyncio.Event()

        async def hold(point: str) -> None:
            await released.wait()

        rig.cluster.interrupt = hold
        session.receive(call("1", "DataTransfer", {"data": "x" * 20_000}))
        assert not wire.reading
        assert list(gateway.hub.held_back) == [session]

        rig.cluster.interrupt = None
        released.set()
        await rig.until(lambda: wire.reading)
        assert not gateway.hub.held_back


async def test_a_drain_answers_what_is_in_flight_closes_with_1012_and_frees_the_slot():
    rig = Rig()
    for n in range(20):
        await rig.register(f"CS{n}")
    gateway = rig.gateway()
    running_task = asyncio.create_task(gateway.run())
    async with playing_services(rig):
        await rig.until(lambda: gateway.not_ready() is None)
        entered = [await enter(gateway, f"CS{n}") for n in range(20)]
        for session, _ in entered:
            session.receive(call("1"))
        await gateway.drain()
        await running_task

    assert {wire.closed[0] for _, wire in entered} == {1012}
    assert [[json.loads(frame) for frame in wire.sent] for _, wire in entered] == [[[3, "1", {}]]] * 20
    assert sum(not change.connected for change in rig.changes()) == 20
    refused = await gateway.admit("CS1", Knock())
    assert isinstance(refused, Refused)


async def test_a_drain_does_not_wait_for_ever():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    task = asyncio.create_task(gateway.run())
    await rig.until(lambda: gateway.not_ready() is None)
    session, wire = await enter(gateway)
    session.receive(call("1"))

    await asyncio.wait_for(gateway.drain(), 5)
    await task

    assert wire.closed == (1012, "gateway is stopping")


async def test_a_gateway_that_lost_its_slot_closes_everything_and_takes_another():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    async with running(gateway):
        _, wire = await enter(gateway)
        before = gateway.hub.holder

        gateway._slots._until = 0  # as after a pause longer than the lease
        await rig.until(lambda: wire.closed and gateway.hub.holder not in (None, before))

        assert wire.closed == (1012, "the gateway lost its slot")
        assert gateway.hub.holder.claim > before.claim
        await enter(gateway)


async def test_a_log_that_fails_stops_the_gateway():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    task = asyncio.create_task(gateway.run())
    await rig.until(lambda: gateway.not_ready() is None)
    session, wire = await enter(gateway)

    await rig.log.close()
    session.receive(call("1"))

    with pytest.raises(ExceptionGroup) as raised:
        await task
    assert raised.group_contains(LogUnavailable)
    assert wire.sent == [], "what is not in the log is not answered"
    assert wire.closed is not None


async def test_a_frame_too_large_for_the_log_closes_its_connection_and_harms_no_other():
    rig = Rig()
    await rig.register("CS1")
    await rig.register("CS2")
    gateway = rig.gateway()
    append = rig.log.append

    async def small_only(records):
        if any(len(record.value) > 1000 for record in records):
            raise RecordTooLarge("too large")
        return await append(records)

    async with running(gateway):
        large, large_wire = await enter(gateway, "CS1")
        small, _ = await enter(gateway, "CS2")
        rig.log.append = small_only
        large.receive(call("1", "DataTransfer", {"data": "x" * 2000}))
        small.receive(call("2"))
        await rig.until(lambda: large_wire.closed)
        await rig.until(rig.frames)

        assert large_wire.closed[0] == 1009
        assert [frame.message_id for frame in rig.frames() if isinstance(frame, Frame)] == ["2"]


async def test_a_station_without_a_slot_or_before_the_start_is_not_served():
    rig = Rig()
    gateway = rig.gateway()

    assert (await gateway.admit("CS1", Knock())).status == 503
    assert gateway.not_ready() == "the gateway holds no slot"


@pytest.mark.requirement("C04.FR.04")
async def test_a_frame_with_a_key_code_is_encrypted_on_the_log_and_nothing_else_is():
    rig = Rig()
    await rig.register("CS1")
    gateway = rig.gateway()
    plain = b'[2,"1","Authorize",{"idToken":{"idToken":"4711","type":"ISO14443"}}]'
    pin = b'[2,"2","Authorize",{"idToken":{"idToken":"4711","type":"KeyCode"}}]'
    escaped = b'[2,"3","Authorize",{"idToken":{"idToken":"4711","type":"\\u004beyCode"}}]'
    refused = b'[2,"4","Autorize",{"idToken":{"idToken":"4711","type":"KeyCode"}}]'
    broken = b'[2,"5","Authorize",{"idToken":{"idToken":"4711","type":"KeyCode"'
    async with running(gateway):
        session, _ = await enter(gateway)
        for number, frame in enumerate((plain, pin, escaped, refused, broken), 1):
            session.receive(frame)
            if number <= 3:
                await rig.put(for_(session, "reply", str(number)))
        await rig.until(lambda: len(received(rig)) == 5)
    records = received(rig)
    assert [record.value for record in records if "sealed" not in record.headers] == [plain]
    hidden = [record for record in records if "sealed" in record.headers]
    assert all(b"4711" not in record.value for record in hidden)
    assert {open_record(record, SEAL).value for record in hidden} == {pin, escaped, refused, broken}
    assert {item.frame for record in hidden if (item := item_of(record))} == {HIDDEN}, "as tools show it"


def received(rig: Rig) -> list[Any]:
    return [record for service in topics.SERVICES for record in rig.records(topics.frames(service))]
