"""One station on a real WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from simulator.actions import Actions
from simulator.client import Clock, Network, Player
from simulator.config import Setting, StationConfig
from simulator.fleet import source_addresses
from simulator.inputs import GoOffline, PlugIn, PresentToken
from simulator.notes import CallLost, Note, Refused
from simulator.station import Station
from tests.support.fake_csms import FakeCsms

from .bench import TOKEN

QUICK = (
    Setting("OCPPCommCtrlr", "RetryBackOffWaitMinimum", "0"),
    Setting("OCPPCommCtrlr", "RetryBackOffRandomRange", "0"),
)


class Played(Player):
    notes: list[Note]


@asynccontextmanager
async def playing(csms: FakeCsms, **config: Any) -> AsyncIterator[tuple[Player, list[Note]]]:
    clock, notes = Clock(), list[Note]()

    def observe(_: Station, actions: Actions) -> None:
        notes.extend(actions.notes)

    settings = {"station_id": "CS 1", "variables": QUICK, "speed": 100.0, **config}
    station = Station(StationConfig(**settings), clock.now_ms())
    network = Network(url=csms.url, dials=asyncio.Semaphore(1), sources=source_addresses(csms.url))
    player = Player(station, 3, network, clock, observe)
    async with asyncio.TaskGroup() as group:
        group.create_task(player.run())
        yield player, notes
        player.stop()


async def test_boots_with_its_identity_and_password() -> None:
    async with FakeCsms() as csms, playing(csms, password="0123456789abcdef") as (player, _):
        await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 1)
        assert csms.authorization == {"CS%201": "CS 1:0123456789abcdef"}
        assert csms.sources == {"127.0.0.4"}
        assert player.station.link.up


async def test_charges_when_something_is_injected() -> None:
    async with FakeCsms() as csms, playing(csms) as (player, _):
        await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 1)
        player.inject(PlugIn(1))
        player.inject(PresentToken(1, TOKEN))
        await csms.wait_for(lambda: len(csms.of("TransactionEvent")) >= 3)
        assert [e["seqNo"] for e in csms.of("TransactionEvent")][:3] == [0, 1, 2]


async def test_answers_while_its_own_call_is_open() -> None:
    async with FakeCsms() as csms, playing(csms) as (player, _):
        await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 1)
        csms.silent = True
        player.inject(PlugIn(1))
        await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 2)
        answer = await csms.ask("CS%201", "GetLocalListVersion", {})
        assert answer[2] == {"versionNumber": 0}


async def test_reconnects_after_a_drop_without_booting_again_and_delivers() -> None:
    async with FakeCsms() as csms, playing(csms) as (player, _):
        await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 1)
        player.inject(PlugIn(1))
        player.inject(PresentToken(1, TOKEN))
        await csms.wait_for(lambda: len(csms.of("TransactionEvent")) >= 1)
        csms.drop_all()
        await csms.wait_for(lambda: csms.opened["CS%201"] == 2 and csms.calls[-1][1] == "TransactionEvent")
        assert len(csms.of("BootNotification")) == 1
        seen = {e["seqNo"] for e in csms.of("TransactionEvent")}
        assert seen == set(range(len(seen)))


async def test_a_call_that_was_dropped_unanswered_comes_again() -> None:
    async with FakeCsms() as csms:
        async with playing(csms) as (player, notes):
            await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 1)
            player.inject(PlugIn(1))
            player.inject(PresentToken(1, TOKEN))
            await csms.wait_for(lambda: len(csms.of("TransactionEvent")) == 1)
            csms.drop_after = 2
            await csms.wait_for(lambda: len(csms.of("TransactionEvent")) >= 5)
        assert any(isinstance(note, CallLost) for note in notes)
        seen = [e["seqNo"] for e in csms.of("TransactionEvent")]
        assert seen == sorted(seen)
        assert set(seen) == set(range(max(seen) + 1))


async def test_goes_offline_on_purpose_and_comes_back() -> None:
    async with FakeCsms() as csms, playing(csms) as (player, _):
        await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 1)
        player.inject(GoOffline(50))
        await csms.wait_for(lambda: csms.opened["CS%201"] == 2)
        answer = await csms.ask("CS%201", "GetLocalListVersion", {})
        assert answer[2] == {"versionNumber": 0}
        assert csms.closed == [None]  # no close frame: the network was gone


async def test_a_refusal_is_told_and_tried_again() -> None:
    async with FakeCsms() as csms:
        csms.refuse = 401
        async with playing(csms) as (_, notes):
            await csms.wait_for(lambda: len(notes) >= 2)
            csms.refuse = None
            await csms.wait_for(lambda: len(csms.of("BootNotification")) == 1)
        assert Refused(401) in notes


async def test_a_reset_closes_and_boots_again() -> None:
    async with FakeCsms() as csms, playing(csms) as (_, _notes):
        await csms.wait_for(lambda: len(csms.of("StatusNotification")) == 1)
        assert (await csms.ask("CS%201", "Reset", {"type": "Immediate"}))[2] == {"status": "Accepted"}
        await csms.wait_for(lambda: len(csms.of("BootNotification")) == 2)
        assert csms.of("BootNotification")[1]["reason"] == "RemoteReset"
        assert csms.closed == [1000]
