"""Builds the next message of a station's local list: what the rules select, less what the station has.

Outside the loop: tokens are homed in other cells than the station, and their values are encrypted under keys that are
in no event. It reads this service's own tables, page by page, in the order of pseudonyms: one step costs as much as
the part of the list that it looks through, whatever the number of tokens. What it found comes back as a request.
"""

import heapq
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from ocppcore import topics
from ocppcore.authorization import TokenState, Where, decide
from ocppcore.clock import Clock
from ocppcore.contracts.device import StationState
from ocppcore.contracts.local_lists import Entry, ListRule, LocalListBuilding, LocalListStep
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.id_token_info import to_wire
from ocppcore.service import Effect, EffectResult, Event
from ocppcore.store import Among, StateKey, Store, Table, Value
from ocppcore.wire import encode
from services.auth.domain import local_list
from services.auth.domain.local_list_state import ListPage, page_key, page_of
from services.auth.domain.local_list_sync import REFERENCE
from services.auth.domain.token import DriverKey, Token
from services.auth.drivers import Drivers, Sealed
from services.auth.projections import TOKENS

PAGE: Final = 200
RULES_MAX: Final = 1000
MARKS_MAX: Final = 100_000
DIGITS: Final = "0123456789abcdef"
PAGES: Final = tuple(one + other for one in DIGITS for other in DIGITS)
FRAME_BYTES: Final = 120
"""Of a SendLocalList beside its entries."""
NO_RULE: Final = "no rule gives this station a list"
UNREGISTERED: Final = "the station is not registered"
OFF: Final = "off"

AskFor = Callable[..., Any]


@dataclass(frozen=True)
class Bounds:
    """Of one message to a station that is not known to take less, and of a list."""

    items: int = 100
    bytes: int = 32_000
    entries: int = 10_000


class _Selected(NamedTuple):
    """A token as a list of the station has it; `info` as it goes over the wire."""

    token: str
    digest: str
    type: str
    sealed: str
    key: str
    info: Mapping[str, Any]


@dataclass
class _Part:
    """What a step has gathered."""

    entries: list[Entry]
    data: list[bytes]
    size: int = FRAME_BYTES
    cursor: str = ""
    taken: int = 0
    next_change: int = 0
    full_needed: bool = False


async def read_rules(store: Store) -> list[ListRule]:
    """All rules, the first 1000 of them."""
    rows = await store.select(local_list.RULES, limit=RULES_MAX)
    return [msgspec.json.decode(str(row["rule"]), type=ListRule) for row in rows]


async def read_marks(store: Store, rules: Sequence[ListRule]) -> dict[str, str]:
    """The marks of all that these rules select tokens by."""
    wanted = tuple(sorted(local_list.labels(rules)))
    found: dict[str, str] = {}
    if wanted:
        rows = await store.select(local_list.MARKS, among=Among("label", wanted), limit=MARKS_MAX)
        found = local_list.joined_marks(rows)
    named = sorted({one for rule in rules for one in rule.selects.ids})
    for start in range(0, len(named), PAGE):
        some = tuple(named[start : start + PAGE])
        for row in await store.select(TOKENS, among=Among("token", some), limit=PAGE):
            text = f"{row['entry']}{row['sealed']}{row['changed_at']}"
            found[str(row["token"])] = blake2b(text.encode(), digest_size=8).hexdigest()
    return found


@dataclass(frozen=True)
class Builder:
    """`ask` makes a command's request body (`CommandDesk.ask`)."""

    store: Store
    ask: AskFor
    drivers: Drivers
    clock: Clock
    master_pass_group: str = ""
    bounds: Bounds = Bounds()

    @property
    def effects(self) -> Mapping[type[Event], Effect]:
        """For the part of auth."""
        return {LocalListBuilding: self.build}

    async def build(self, event: LocalListBuilding) -> EffectResult:
        """The next message. Raises StoreUnavailable."""
        return EffectResult(LocalListStep.NAME, await self.step(event))

    async def step(self, event: LocalListBuilding) -> LocalListStep:
        """What follows on `event`."""
        key = event.subject()
        row = (await self.store.copy_find(topics.STATIONS, [key])).get(key)
        if row is None or row.value is None:
            return LocalListStep(step=event.step, refusal=UNREGISTERED)
        station = msgspec.json.decode(row.value, type=StationState)
        if event.unasked and not station.automatic.local_list:
            return LocalListStep(step=event.step, refusal=OFF)
        rules = [one for one in await read_rules(self.store) if local_list.matches(one.applies_to, key, station)]
        if not rules and event.generation == 0:
            return LocalListStep(step=event.step, refusal=NO_RULE)
        fingerprint = ""
        if not event.cursor:
            # Before the tokens are read: what changes from here on is seen as another fingerprint.
            fingerprint = local_list.fingerprint(rules, await read_marks(self.store, rules), station)
        part = await self._gather(event, station, rules)
        if part.full_needed:
            return LocalListStep(step=event.step, full_needed=True)
        ask = None
        if part.entries or event.full:
            ask = self._ask(event, station, part.data)
        return LocalListStep(
            step=event.step,
            ask=ask,
            entries=tuple(part.entries),
            cursor=part.cursor,
            done=not part.cursor,
            taken=part.taken,
            next_change=part.next_change,
            fingerprint=fingerprint,
        )

    def _ask(self, event: LocalListBuilding, station: StationState, data: list[bytes]) -> Any:
        kind = b"Full" if event.full else b"Differential"
        payload = b'{"versionNumber":%d,"updateType":"%s"' % (event.version, kind)
        if data:
            payload += b',"localAuthorizationList":[%s]' % b",".join(data)
        about = Registered(id=station.id, limits=station.limits)
        return self.ask(about, "SendLocalList", payload + b"}", reply_service="auth", reference=REFERENCE)

    async def _gather(self, event: LocalListBuilding, station: StationState, rules: Sequence[ListRule]) -> _Part:
        """Differences behind the cursor, until a message is full or the list is at its end."""
        limit = station.limits.get("SendLocalList")
        items_max = max(1, ((limit and limit.items) or self.bounds.items) >> event.shrink)
        bytes_max = max(1, ((limit and limit.bytes) or self.bounds.bytes) >> event.shrink)
        entries_max = (limit and limit.entries) or self.bounds.entries
        part = _Part([], [], taken=event.taken)
        known = _Known(self.store, event)
        selected = self._selected(event, station, rules, part, entries_max)
        wanted = await anext(selected, None)
        had = await known.next()
        while wanted is not None or had is not None:
            if wanted is not None and (had is None or wanted.token <= had[0]):
                same = had is not None and had == (wanted.token, wanted.digest)
                entry, data = Entry(token=wanted.token, digest=wanted.digest), None if same else self._data(wanted)
            else:
                assert had is not None, "one of the two is there"
                same, entry = False, Entry(token=had[0])
                data = await self._removal(had[0])
                if data is None:
                    part.full_needed = True
                    return part
            if not same and data is not None:
                if part.entries and (len(part.entries) >= items_max or part.size + len(data) + 1 > bytes_max):
                    return part
                part.entries.append(entry)
                part.data.append(data)
                part.size += len(data) + 1
            part.cursor = entry.token
            if wanted is not None and wanted.token == entry.token:
                part.taken += 1
                wanted = await anext(selected, None)
            if had is not None and had[0] == entry.token:
                had = await known.next()
        part.cursor = ""
        return part

    def _data(self, one: _Selected) -> bytes:
        value = self.drivers.open(one.token, Sealed(one.sealed, one.key))
        return orjson.dumps({"idToken": {"idToken": value, "type": one.type}, "idTokenInfo": one.info})

    async def _removal(self, token: str) -> bytes | None:
        """What takes a token off; None where its driver was erased and nobody can name it any more."""
        found = await _tokens(self.store, [token])
        if token not in found:
            return None
        state, key = found[token]
        value = self.drivers.open(token, Sealed(state.sealed, key))
        return orjson.dumps({"idToken": {"idToken": value, "type": state.type}})

    async def _selected(
        self, event: LocalListBuilding, station: StationState, rules: Sequence[ListRule], part: _Part, most: int
    ) -> AsyncIterator[_Selected]:
        """Tokens of the list behind the cursor, up to `most` in all; notes when time alone changes the list."""
        now, place = self.clock(), event.subject()
        where = Where(place, now, evse_types=station.evse_types)
        count = event.taken
        async for tokens in _pages(self.store, rules, event.cursor):
            found = await _tokens(self.store, list(tokens))
            for token, refused in tokens.items():
                if token not in found or count >= most:
                    continue
                state, key = found[token]
                for moment in (state.valid_from, state.valid_to):
                    if moment is not None and moment > now and not 0 < part.next_change <= moment:
                        part.next_change = moment
                info = decide(state.type, state, where, master_pass_group=self.master_pass_group)
                if info.status != "Accepted" and not refused:
                    continue
                count += 1
                digest = blake2b(msgspec.json.encode((info, state.sealed)), digest_size=6).hexdigest()
                yield _Selected(token, digest, state.type, state.sealed, key, orjson.loads(encode(to_wire(info))))


class _Known:
    """The entries that the station has, behind the cursor, in order."""

    def __init__(self, store: Store, event: LocalListBuilding) -> None:
        self._store = store
        self._event = event
        after = page_of(event.cursor)
        self._left = [] if event.full else [page for page in PAGES if page >= after]
        self._entries: list[tuple[str, str]] = []
        self._at = 0

    async def next(self) -> tuple[str, str] | None:
        while self._at >= len(self._entries):
            if not self._left:
                return None
            await self._load()
        self._at += 1
        return self._entries[self._at - 1]

    async def _load(self) -> None:
        some, self._left = self._left[:64], self._left[64:]
        station, event = self._event.subject(), self._event
        keys = [StateKey(ListPage.KIND, page_key(station, page)) for page in some]
        pages = [msgspec.json.decode(data, type=ListPage) for data in (await self._store.load(keys)).values()]
        self._entries = sorted(
            (token, digest)
            for page in pages
            if page.generation == event.generation
            for token, digest in page.entries.items()
            if token > event.cursor
        )
        self._at = 0


async def _tokens(store: Store, tokens: Sequence[str]) -> dict[str, tuple[TokenState, str]]:
    """State and sealed driver's key of those that are registered and not erased."""
    keys = [StateKey(kind, token) for token in tokens for kind in (Token.KIND, DriverKey.KIND)]
    data = await store.load(keys)
    found = {}
    for token in tokens:
        state, key = data.get(StateKey(Token.KIND, token)), data.get(StateKey(DriverKey.KIND, token))
        if state is not None and key is not None:
            sealed = msgspec.json.decode(key, type=DriverKey).sealed
            found[token] = (msgspec.json.decode(state, type=Token).state, sealed)
    return found


async def _pages(store: Store, rules: Sequence[ListRule], cursor: str) -> AsyncIterator[dict[str, bool]]:
    """Pages of selected tokens behind the cursor, in order, each once; whether those that are refused count."""
    streams = []
    for rule in rules:
        tokens = rule.selects
        if tokens.all:
            streams.append(_stream(store, TOKENS, {}, cursor, rule.refused))
            continue
        streams += [_stream(store, TOKENS, {"group_id": one}, cursor, rule.refused) for one in tokens.groups]
        streams += [_stream(store, local_list.TAGS, {"tag": one}, cursor, rule.refused) for one in tokens.tags]
        streams.append(_named(sorted(tokens.ids), cursor, rule.refused))
    page: dict[str, bool] = {}
    async for token, refused in _merged(streams):
        if token not in page and len(page) >= PAGE:
            yield page
            page = {}
        page[token] = page.get(token, False) or refused
    if page:
        yield page


async def _merged(streams: Sequence[AsyncIterator[tuple[str, bool]]]) -> AsyncIterator[tuple[str, bool]]:
    heads: list[tuple[tuple[str, bool], int]] = []
    for n, stream in enumerate(streams):
        if (first := await anext(stream, None)) is not None:
            heads.append((first, n))
    heapq.heapify(heads)
    while heads:
        head, n = heads[0]
        yield head
        if (following := await anext(streams[n], None)) is not None:
            heapq.heapreplace(heads, (following, n))
        else:
            heapq.heappop(heads)


async def _stream(
    store: Store, table: Table, where: Mapping[str, Value], cursor: str, refused: bool
) -> AsyncIterator[tuple[str, bool]]:
    prefix = tuple(where.values()) if table is local_list.TAGS else ()
    after = cursor
    while True:
        rows = await store.select(table, where, after=(*prefix, after), limit=PAGE)
        for row in rows:
            yield str(row["token"]), refused
        if len(rows) < PAGE:
            return
        after = str(rows[-1]["token"])


async def _named(tokens: Sequence[str], cursor: str, refused: bool) -> AsyncIterator[tuple[str, bool]]:
    for token in tokens:
        if token > cursor:
            yield token, refused


def desk(store: Store, pseudonyms: Any, seal: Any) -> CommandDesk:
    """Makes commands' request bodies; it finds no station: the worker knows which one it is for."""

    async def nobody(_: str) -> Registered | None:
        return None

    return CommandDesk("auth", store, nobody, pseudonyms, seal)
