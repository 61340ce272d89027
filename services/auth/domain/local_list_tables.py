"""What can be asked about stations' local lists and about the operations on them. Pure."""

from collections.abc import Iterable
from typing import Final

from ocppcore.contracts.auth import AuthStationEvent
from ocppcore.contracts.local_lists import (
    LocalListPaused,
    LocalListSynced,
    LocalListSyncExpired,
    LocalListTriggered,
    SyncState,
)
from ocppcore.service import View
from ocppcore.store import Table, Upsert
from services.auth.domain.local_list_state import Asked, StationList, evolved

LISTS = Table(
    "local_lists",
    {
        "station": "text",
        "identity": "text",
        "state": "text",
        "automatic": "boolean",
        "version": "bigint",
        "entries": "bigint",
        "fingerprint": "text",
        "reason": "text",
        "changed_at": "bigint",
    },
    ("station",),
    indexes=(("state", "station"),),
)
"""`state`: synced, syncing, or why it pauses; `version` 0: not known."""

SYNCS = Table(
    "local_list_syncs",
    {
        "operation_id": "text",
        "station": "text",
        "identity": "text",
        "state": "text",
        "version": "bigint",
        "entries": "bigint",
        "reason": "text",
        "asked_at": "bigint",
        "changed_at": "bigint",
        "actor": "text",
    },
    ("operation_id",),
    indexes=(("station", "asked_at"),),
)
OPEN: Final = "asked"


def project(event: AuthStationEvent, view: View) -> Iterable[Upsert]:
    """Before `evolve`: what the list is after the event, and the operations that it ends."""
    before = view.get(StationList, event.subject())
    after = evolved(before, event)
    yield _list(event, after)
    match event:
        case LocalListTriggered() if event.operation_id:
            asked = Asked(operation_id=event.operation_id, at=event.at, due=event.due, actor=event.actor)
            yield _operation(event, asked, after, "asked", "")
        case LocalListSyncExpired():
            for one in before.operations if before else ():
                if one.operation_id == event.operation_id:
                    yield _operation(event, one, after, "no_effect", f"the list was {after.phase} when time was up")
        case LocalListSynced() | LocalListPaused():
            state: SyncState = "synced"
            if isinstance(event, LocalListPaused):
                if event.state == "waiting":
                    return
                state = event.state
            left = {one.operation_id for one in after.operations}
            reason = event.reason if isinstance(event, LocalListPaused) else ""
            for one in before.operations if before else ():
                if one.operation_id not in left:
                    yield _operation(event, one, after, state, reason)


def _list(event: AuthStationEvent, after: StationList) -> Upsert:
    state = {"idle": "synced"}.get(after.phase, after.phase)
    if after.phase in ("checking", "building", "sending") or not isinstance(
        event, LocalListSynced | LocalListPaused | LocalListSyncExpired
    ):
        state = "syncing"
    reason = event.reason if isinstance(event, LocalListPaused) else ""
    return Upsert(
        LISTS,
        (
            event.subject(), after.identity, state, after.automatic, after.installed or 0, after.taken,
            after.fingerprint, reason, event.at,
        ),
    )  # fmt: skip


def _operation(event: AuthStationEvent, asked: Asked, after: StationList, state: SyncState, reason: str) -> Upsert:
    return Upsert(
        SYNCS,
        (
            asked.operation_id, event.subject(), after.identity, state, after.installed or 0, after.taken, reason,
            asked.at, event.at, asked.actor,
        ),
    )  # fmt: skip
