"""What is known of a station's Local Authorization List, and what each event makes of it. Pure.

The entries lie in pages of their own, so that an update writes those that it touches. A page counts while it is of the
list's generation: a full list begins a new one, and with it every page is empty.
"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Final, Literal

import msgspec

from ocppcore.contracts.auth import AuthStationEvent
from ocppcore.contracts.local_lists import (
    Entry,
    LocalListBuilding,
    LocalListChecked,
    LocalListChecking,
    LocalListDoubted,
    LocalListInstalled,
    LocalListPaused,
    LocalListSending,
    LocalListSynced,
    LocalListSyncExpired,
    LocalListTriggered,
)
from ocppcore.service import Aggregate, Drop, Need, Put, Timer, View

WAIT: Final = "local-list"
DUE: Final = "local-list-due"
GUARD_MS: Final = 15 * 60_000
"""Whatever is under way has ended by then, or is begun again."""
PAGE_DIGITS: Final = 2
"""Of the pseudonym: a list has up to 256 pages."""
VERSION_MAX: Final = 2**31 - 1

Phase = Literal["idle", "checking", "building", "sending", "waiting", "failed", "unsupported", "off"]
BUSY: Final = frozenset({"checking", "building", "sending"})


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An operation that waits for the list; `next_pass`: it came while a pass was under way, and waits for another."""

    operation_id: str
    at: int
    due: int
    actor: str = ""
    next_pass: bool = False


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A SendLocalList of which it is not known yet whether the station has it."""

    version: int
    full: bool
    entries: tuple[Entry, ...]
    cursor: str
    done: bool
    taken: int
    next_change: int = 0


class StationList(Aggregate, frozen=True, kw_only=True, omit_defaults=True):
    """id = station. `version`: the highest number used; `installed`: the one that the station has, None: not known.

    `cursor`, `taken`, `fingerprint`, `next_change`: of the pass under way, else of the last one; `again`: another one
    is wanted after it. `verify`: ask for the station's version first. `unanswered`: tries in a row without an answer,
    `refused`: messages refused since the list was last complete, `shrink`: those of them that may have been too large.
    """

    KIND: ClassVar[str] = "StationLocalList"
    identity: str
    automatic: bool = False
    phase: Phase = "idle"
    version: int = 0
    installed: int | None = None
    generation: int = 0
    step: int = 0
    command_id: str = ""
    message: Message | None = None
    cursor: str = ""
    taken: int = 0
    fingerprint: str = ""
    next_change: int = 0
    verify: bool = False
    again: bool = False
    unanswered: int = 0
    refused: int = 0
    shrink: int = 0
    operations: tuple[Asked, ...] = ()


class ListPage(Aggregate, frozen=True, kw_only=True):
    """id = station/page. Pseudonym -> digest, of what the station has."""

    KIND: ClassVar[str] = "StationLocalListPage"
    generation: int
    entries: dict[str, str]


def page_of(token: str) -> str:
    return token[:PAGE_DIGITS]


def page_key(station: str, page: str) -> str:
    return f"{station}/{page}"


def list_needs(station: str) -> Sequence[Need]:
    return ((StationList, station),)


def event_needs(event: AuthStationEvent) -> Sequence[Need]:
    return list_needs(event.subject())


def installed_needs(event: LocalListInstalled) -> Sequence[Need]:
    station = event.subject()
    pages = sorted({page_of(entry.token) for entry in event.entries})
    return (*list_needs(station), *((ListPage, page_key(station, page)) for page in pages))


def evolved(known: StationList | None, event: AuthStationEvent) -> StationList:
    """The list after this event."""
    lst = known or StationList(identity=event.station)
    match event:
        case LocalListTriggered():
            return _triggered(lst, event)
        case LocalListChecking():
            return _with(lst, phase="checking", command_id=event.command_id)
        case LocalListChecked():
            version = max(lst.version, event.version)
            installed = lst.installed if event.kept else None
            return _with(lst, phase="idle", version=version, installed=installed, verify=False, message=None)
        case LocalListBuilding():
            fresh = {"taken": 0, "next_change": 0} if not event.cursor else {}
            operations = lst.operations if event.cursor else _joined(lst.operations)
            return _with(
                lst, phase="building", step=event.step, cursor=event.cursor, operations=operations,
                again=lst.again and bool(event.cursor), **fresh,
            )  # fmt: skip
        case LocalListSending():
            return _sending(lst, event)
        case LocalListInstalled():
            sent = lst.message
            so_far = {"cursor": sent.cursor, "taken": sent.taken, "next_change": sent.next_change} if sent else {}
            return _with(
                lst, phase="idle", installed=event.version, generation=event.generation, message=None, unanswered=0,
                **so_far,
            )  # fmt: skip
        case LocalListDoubted():
            return _with(
                lst,
                phase="idle",
                installed=None,
                verify=lst.verify or event.unanswered,
                message=lst.message if event.unanswered else None,
                refused=lst.refused + event.refused,
                shrink=lst.shrink + (event.refused and not event.unanswered),
            )
        case LocalListSynced():
            left = tuple(one for one in lst.operations if one.next_pass)
            return _with(
                lst, phase="idle", cursor="", refused=0, shrink=0, unanswered=0, operations=left,
                fingerprint=event.fingerprint, next_change=event.next_change, taken=event.entries, message=None,
            )  # fmt: skip
        case LocalListPaused():
            return _paused(lst, event)
        case LocalListSyncExpired():
            left = tuple(one for one in lst.operations if one.operation_id != event.operation_id)
            return _with(lst, operations=left)
    raise AssertionError(f"{type(event).__name__} is not about a local list")


def _triggered(lst: StationList, event: LocalListTriggered) -> StationList:
    automatic = lst.automatic if event.automatic is None else event.automatic
    operations = lst.operations
    busy = lst.phase in BUSY
    if event.operation_id:
        operations = (
            *operations,
            Asked(operation_id=event.operation_id, at=event.at, due=event.due, actor=event.actor, next_pass=busy),
        )
    return _with(
        lst,
        identity=event.station,
        automatic=automatic,
        operations=operations,
        again=lst.again or busy,
        verify=lst.verify or event.cause in ("asked", "boot"),
        installed=None if event.full and not busy else lst.installed,
        unanswered=lst.unanswered if busy else 0,
        refused=lst.refused if busy else 0,
        shrink=lst.shrink if busy else 0,
    )


def _sending(lst: StationList, event: LocalListSending) -> StationList:
    message = Message(
        version=event.version,
        full=event.full,
        entries=event.entries,
        cursor=event.cursor,
        done=event.done,
        taken=event.taken,
        next_change=event.next_change,
    )
    version = event.version if event.full else max(lst.version, event.version)
    return _with(
        lst, phase="sending", command_id=event.command_id, message=message, version=version,
        fingerprint=event.fingerprint or lst.fingerprint,
    )  # fmt: skip


def _paused(lst: StationList, event: LocalListPaused) -> StationList:
    phase: Phase = event.state
    return _with(
        lst,
        phase=phase,
        cursor="",
        again=False,
        command_id="",
        verify=lst.verify or event.unanswered,
        message=lst.message if event.unanswered else None,
        unanswered=lst.unanswered + (phase == "waiting"),
        refused=lst.refused + event.refused,
        shrink=lst.shrink + event.refused,
        operations=_joined(lst.operations) if phase == "waiting" else (),
    )


def _joined(operations: tuple[Asked, ...]) -> tuple[Asked, ...]:
    return tuple(msgspec.structs.replace(one, next_pass=False) for one in operations)


def _with(lst: StationList, **changes: object) -> StationList:
    return msgspec.structs.replace(lst, **changes)


# Folding


def evolve(event: AuthStationEvent, view: View) -> Iterable[Put | Drop | Timer]:
    """The list, and when to look at it again."""
    station = event.subject()
    lst = evolved(view.get(StationList, station), event)
    yield Put(station, lst)
    yield Timer(WAIT, station, _due(lst, event))


def _due(lst: StationList, event: AuthStationEvent) -> int | None:
    if lst.phase in BUSY:
        return event.at + GUARD_MS
    if isinstance(event, LocalListPaused):
        return event.retry_at or None
    if lst.phase == "idle" and lst.automatic:
        return lst.next_change or None
    return None


def evolve_triggered(event: LocalListTriggered, view: View) -> Iterable[Put | Drop | Timer]:
    """As others, but what was waited for is still waited for: whoever decided this says what comes next."""
    station = event.subject()
    yield Put(station, evolved(view.get(StationList, station), event))
    if event.operation_id:
        yield Timer(DUE, f"{station}/{event.operation_id}", event.due)


def evolve_installed(event: LocalListInstalled, view: View) -> Iterable[Put | Drop | Timer]:
    """With the pages that changed."""
    station = event.subject()
    yield from evolve(event, view)
    changed: dict[str, dict[str, str]] = {}
    for entry in event.entries:
        page = page_of(entry.token)
        if page not in changed:
            old = view.get(ListPage, page_key(station, page))
            changed[page] = dict(old.entries) if old and old.generation == event.generation else {}
        if entry.digest:
            changed[page][entry.token] = entry.digest
        else:
            changed[page].pop(entry.token, None)
    for page, entries in changed.items():
        yield Put(page_key(station, page), ListPage(generation=event.generation, entries=entries))


def evolve_ended(event: LocalListSynced | LocalListPaused | LocalListSyncExpired, view: View) -> Iterable[
    Put | Drop | Timer
]:  # fmt: skip
    """With the timers of operations that are over."""
    station = event.subject()
    before = view.get(StationList, station)
    if isinstance(event, LocalListSyncExpired):
        yield Put(station, evolved(before, event))
    else:
        yield from evolve(event, view)
    after = evolved(before, event)
    left = {one.operation_id for one in after.operations}
    for one in before.operations if before else ():
        if one.operation_id not in left:
            yield Timer(DUE, f"{station}/{one.operation_id}", None)
