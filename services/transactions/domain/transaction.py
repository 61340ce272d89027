"""A transaction as the fold of its TransactionEvents: any order, repeats and delays give the same end state.

Every field is taken from the event with the lowest or highest seqNo that carries it, never from the last to arrive,
and a transaction that has ended stays ended (E01-E13). seqNos may begin anywhere; gaps are those between the first
(Started, else the lowest) and the last (Ended, else the highest).
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import ClassVar

import msgspec

from ocppcore.contracts.inquiries import Grade, TransactionReconciled
from ocppcore.contracts.transactions import (
    Cost,
    Register,
    TransactionConflict,
    TransactionEnded,
    TransactionEvent,
    TransactionStarted,
)
from ocppcore.service import Aggregate, Need, Put, View
from ocppcore.store import Table, Upsert
from ocppcore.topics import normalise
from services.transactions.domain import course, energy
from services.transactions.domain.course import Piece

PAGE = 64
CONFLICTS_KNOWN_MAX = 8
"""Other contents of one seqNo that are told apart: what comes beyond them is raised each time it comes."""
CLOCK_TOLERANCE_MS = 60_000
"""A station's clock that is less wrong than this is taken as it is."""
RANGES_MAX = 250
"""Ranges of seqNos that are told apart in one transaction: each event rewrites them all."""


class Reading(msgspec.Struct, frozen=True, array_like=True, order=True):
    """An energy register with its place in the transaction: sorts Begin first, End last, else by seqNo and index."""

    rank: int
    seq_no: int
    index: int
    at: int
    wh: str


class Said(msgspec.Struct, frozen=True, array_like=True):
    """A value and the seqNo of the event that carried it."""

    seq_no: int
    value: str


class Transaction(Aggregate, frozen=True, kw_only=True):
    """id = `transaction_key(station, transactionId)`. `seen` are the seqNos as closed ranges, merged and sorted.

    `heard_at`: our clock when the first of its events came, whichever that was; it never changes, so lists are in its
    order and an index on it is written once a transaction.
    `token`: the first that any event named; `accepted`: the first that was accepted to start the energy, whose
    transaction it then is. `pieces`: the register's course (`energy.py`); `span_wh` and `span_drops`: the most that
    any one event shows.

    `gaps_exact` False: there were more than RANGES_MAX ranges at once. From then on `seen` may hold, at its end,
    numbers that did not come, and `pieces` are given up: the energy is what the first and last register show, or any
    one event. All else is the same in any order of arrival.

    `latest`: the highest seqNo and its timestamp; `live_at`: our clock when an event last came that was not sent late.
    `skew`: the least and the most by which such events came after their timestamps (ms). `closed`: when and why the end
    was concluded; `gaps_final`: so many missing events will not come any more.
    `course`: what it contributes to its cost (`course.py`), `cost`: as the event that came last found it.
    """

    KIND: ClassVar[str] = "Transaction"
    station: str
    transaction_id: str
    heard_at: int
    identity: str = ""
    seen: tuple[tuple[int, int], ...] = ()
    gaps_exact: bool = True
    started: tuple[int, int] | None = None
    ended: tuple[int, int] | None = None
    stopped_reason: str = ""
    charging_state: Said | None = None
    evse: tuple[int, int] | None = None
    connector: tuple[int, int] | None = None
    token: tuple[int, str, str] | None = None
    accepted: tuple[int, str, str] | None = None
    remote_start_id: tuple[int, int] | None = None
    reservation_id: tuple[int, int] | None = None
    time_spent_charging_s: tuple[int, int] | None = None
    first: Reading | None = None
    last: Reading | None = None
    pieces: tuple[energy.Piece, ...] = ()
    span_wh: Decimal = energy.ZERO
    span_drops: int = 0
    offline: bool = False
    conflicts: int = 0
    latest: tuple[int, int] | None = None
    live_at: int = 0
    skew: tuple[int, int] | None = None
    closed: tuple[int, str] | None = None
    gaps_final: int = 0
    course: tuple[Piece, ...] = ()
    cost: Cost | None = None

    @property
    def state(self) -> str:
        return "ended" if self.over else "open"

    @property
    def over(self) -> bool:
        """Whether it has ended: the station said so, or it was concluded."""
        return self.ended is not None or self.closed is not None

    @property
    def missing(self) -> int:
        """How many events are missing."""
        return sum(high - low + 1 for low, high in self.gaps)

    @property
    def grade(self) -> Grade:
        """How much is known of it."""
        if not self.over:
            return "open"
        if self.conflicts:
            return "disputed"
        if self.ended is None:
            return "estimated"
        return "complete" if self.started and self.gaps_exact and not self.gaps else "gaps"

    @property
    def ended_at(self) -> int | None:
        """The end by the station's clock: as it said, or (concluded) the latest time it said anything for."""
        if self.ended:
            return self.ended[1]
        return self.latest[1] if self.closed and self.latest else None

    @property
    def clock_offset_ms(self) -> int:
        """What to add to the station's times of this transaction: 0 where its clock was right, or is not known.

        An event that was sent as it happened arrives a little after its timestamp. The least of these differences
        shows the clock, whatever was delayed on its way.
        """
        if self.skew is None or not self.clock_steady:
            return 0
        return self.skew[0] if abs(self.skew[0]) >= CLOCK_TOLERANCE_MS else 0

    @property
    def clock_steady(self) -> bool:
        """False: the clock was set during the transaction, so that no one offset is right."""
        if self.skew is None or self.skew[0] > -CLOCK_TOLERANCE_MS:
            return True
        return self.skew[1] < self.skew[0] + max(CLOCK_TOLERANCE_MS, -self.skew[0] // 2)

    @property
    def owner(self) -> tuple[str, str] | None:
        """The pseudonym and type of the token whose transaction this is: a refused one only where none was accepted."""
        found = self.accepted or self.token
        return found[1:] if found else None

    def starts_with(self, seq_no: int) -> bool:
        """Whether a token in the event of this seqNo is to start the energy: none before it was accepted to. So the
        first one that is accepted, and each that was refused before it, are judged again as they were the first time.
        """
        return self.accepted is None or seq_no <= self.accepted[0]

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The first and last seqNo that this transaction is known to have."""
        if not self.seen:
            return None
        first = self.started[0] if self.started else self.seen[0][0]
        last = self.ended[0] if self.ended else self.seen[-1][1]
        return first, last

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Ranges of seqNos that are missing between the bounds."""
        bounds = self.bounds
        if bounds is None:
            return []
        first, last = bounds
        if len(self.seen) == 1 and self.seen[0][0] <= first and last <= self.seen[0][1]:
            return []
        missing, expected = [], first
        for low, high in self.seen:
            if low > expected and expected <= last:
                missing.append((expected, min(low - 1, last)))
            expected = max(expected, high + 1)
        if expected <= last:
            missing.append((expected, last))
        return missing

    @property
    def energy_wh(self) -> Decimal | None:
        """The register's positive differences, None without a reading: never negative, whatever the register does."""
        if self.first is None or self.last is None:
            return None
        difference = energy.EXACT.subtract(Decimal(self.last.wh), Decimal(self.first.wh))
        return energy.largest(energy.largest(difference, self.span_wh), energy.total(self.pieces)[0])

    @property
    def meter_drops(self) -> int:
        """How often the register fell: a meter that was replaced, rolled over or is faulty (J02.FR.16)."""
        return max(self.span_drops, energy.total(self.pieces)[1])


class SeqPage(Aggregate, frozen=True, kw_only=True):
    """Digests of up to 64 events of a transaction, by seqNo: tells repeats from conflicts without growing for ever.

    `conflicts`: of the other contents that came under a seqNo, so that a repeated one is a repeat too. `costs`: the
    totalCost that the answer said, for a repeat to be answered alike.
    """

    KIND: ClassVar[str] = "SeqPage"
    digests: dict[int, str]
    conflicts: dict[int, tuple[str, ...]] = msgspec.field(default_factory=dict)
    costs: dict[int, Decimal] = msgspec.field(default_factory=dict)


TRANSACTIONS = Table(
    "transactions",
    {
        "station": "text",
        "key": "text",
        "identity": "text",
        "transaction_id": "text",
        "state": "text",
        "evse_id": "bigint",
        "connector_id": "bigint",
        "started_at": "bigint",
        "ended_at": "bigint",
        "charging_state": "text",
        "stopped_reason": "text",
        "remote_start_id": "bigint",
        "token": "text",
        "token_type": "text",
        "meter_start_wh": "numeric",
        "meter_stop_wh": "numeric",
        "energy_wh": "numeric",
        "meter_drops": "bigint",
        "seen": "jsonb",
        "gaps": "jsonb",
        "gaps_exact": "boolean",
        "missing": "bigint",
        "conflicts": "bigint",
        "offline": "boolean",
        "time_spent_charging_s": "bigint",
        "grade": "text",
        "closed_at": "bigint",
        "closed_cause": "text",
        "gaps_final": "boolean",
        "clock_offset_ms": "bigint",
        "clock_steady": "boolean",
        "currency": "text",
        "cost_excl_vat": "numeric",
        "cost_incl_vat": "numeric",
        "heard_at": "bigint",
        "changed_at": "bigint",
    },
    ("station", "key"),
    indexes=(
        ("heard_at", "station", "key"),
        ("state", "heard_at", "station", "key"),
        ("station", "heard_at", "key"),
        ("grade", "heard_at", "station", "key"),
        ("token", "heard_at", "station", "key"),
        ("evse_id", "heard_at", "station", "key"),
    ),
)


@lru_cache(maxsize=4096)
def transaction_key(station: str, transaction_id: str) -> str:
    """The aggregate's id: transactionIds are identifierStrings and compare without case."""
    return f"{station}/{normalise(transaction_id)}"


def page_key(station: str, transaction_id: str, seq_no: int) -> str:
    """The id of the page that holds a seqNo's digest."""
    return f"{transaction_key(station, transaction_id)}/{seq_no // PAGE}"


def needs_of(station: str, transaction_id: str, seq_no: int) -> tuple[Need, ...]:
    """What deciding and folding one event looks at."""
    return (
        (Transaction, transaction_key(station, transaction_id)),
        (SeqPage, page_key(station, transaction_id, seq_no)),
    )


def needs(event: TransactionEvent | TransactionConflict) -> tuple[Need, ...]:
    """For folds."""
    return needs_of(event.station, event.transaction_id, event.seq_no)


def known_digest(view: View, station: str, transaction_id: str, seq_no: int) -> str | None:
    """The digest of the event that was kept under this seqNo, None if there is none."""
    page = view.get(SeqPage, page_key(station, transaction_id, seq_no))
    return page.digests.get(seq_no) if page else None


def is_known_conflict(view: View, station: str, transaction_id: str, seq_no: int, digest: str) -> bool:
    """Whether this other content of a kept event came before, and was raised then."""
    page = view.get(SeqPage, page_key(station, transaction_id, seq_no))
    return page is not None and digest in page.conflicts.get(seq_no, ())


def may_start(event_type: str, trigger_reason: str) -> bool:
    """Whether an idToken in such an event can be there to start the energy, not to stop it: with the first event, or
    once the cable is in already (E02, F02)."""
    return event_type == "Started" or trigger_reason in ("Authorized", "RemoteStart")


def add_seq(seen: Sequence[tuple[int, int]], seq_no: int) -> tuple[tuple[int, int], ...]:
    """Sorted, merged ranges with one more number."""
    if seen and seen[-1][1] + 1 == seq_no:
        return (*seen[:-1], (seen[-1][0], seq_no))
    merged: list[tuple[int, int]] = []
    for low, high in sorted((*seen, (seq_no, seq_no))):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def evolve(event: TransactionEvent, view: View) -> Iterable[Put]:
    """One more event of a transaction. Commutative: what wins is decided by seqNo alone."""
    key = transaction_key(event.station, event.transaction_id)
    before = view.get(Transaction, key)
    yield Put(key, _merged.taken(before, event) or merge(before or begin(event), event))
    page = page_key(event.station, event.transaction_id, event.seq_no)
    known = view.get(SeqPage, page) or SeqPage(digests={})
    digests, costs = {**known.digests, event.seq_no: event.digest}, known.costs
    if event.cost_told and event.cost is not None:
        costs = {**costs, event.seq_no: event.cost.incl_vat}
    yield Put(page, SeqPage(digests=digests, conflicts=known.conflicts, costs=costs))


def known_cost(view: View, station: str, transaction_id: str, seq_no: int) -> Decimal | None:
    """The totalCost that the answer to this event said, None if none."""
    page = view.get(SeqPage, page_key(station, transaction_id, seq_no))
    return page.costs.get(seq_no) if page else None


def begin(event: TransactionEvent) -> Transaction:
    """A transaction before its first event."""
    return Transaction(
        station=event.station,
        transaction_id=event.transaction_id,
        heard_at=event.at,
        identity=event.identity or event.station,
    )


class _Merged:
    """The event that was just decided, merged: deciding its cost has to, and folding it need not do it again."""

    def __init__(self) -> None:
        self._held: tuple[Transaction | None, TransactionEvent, Transaction] | None = None

    def note(self, before: Transaction | None, event: TransactionEvent, after: Transaction) -> None:
        self._held = (before, event, after)

    def held(self, before: Transaction | None, event: TransactionEvent) -> Transaction | None:
        """It stays, for the fold."""
        held = self._held
        return held[2] if held is not None and held[0] is before and held[1] is event else None

    def taken(self, before: Transaction | None, event: TransactionEvent) -> Transaction | None:
        held, self._held = self._held, None
        return held[2] if held is not None and held[0] is before and held[1] is event else None


_merged = _Merged()
note_merged = _merged.note
"""What `merge` gave for these very objects; a fold of any others merges itself."""


def merged(before: Transaction | None, event: TransactionEvent) -> Transaction:
    """The transaction with one more of its events, None: with its first."""
    return _merged.held(before, event) or merge(before or begin(event), event)


def merge(before: Transaction, event: TransactionEvent) -> Transaction:
    """With one more event."""
    seq = event.seq_no
    started, ended, reason = before.started, before.ended, before.stopped_reason
    if isinstance(event, TransactionStarted) and (started is None or seq < started[0]):
        started = (seq, event.timestamp)
    if isinstance(event, TransactionEnded) and (ended is None or seq > ended[0]):
        ended, reason = (seq, event.timestamp), event.stopped_reason or "Local"
    charging = before.charging_state
    if event.charging_state and (charging is None or seq > charging.seq_no):
        charging = Said(seq, event.charging_state)
    token = before.token
    if event.token and (token is None or seq < token[0]):
        token = (seq, event.token, event.token_type)
    accepted = before.accepted
    started_with = event.authorization == "Accepted" and may_start(
        "Started" if isinstance(event, TransactionStarted) else "", event.trigger_reason
    )
    if event.token and started_with and (accepted is None or seq < accepted[0]):
        accepted = (seq, event.token, event.token_type)
    spent = before.time_spent_charging_s
    if event.time_spent_charging_s is not None and (spent is None or seq > spent[0]):
        spent = (seq, event.time_spent_charging_s)
    seen, said = add_seq(before.seen, seq), energy.span(event)
    gaps_exact = before.gaps_exact and len(seen) <= RANGES_MAX
    if len(seen) > RANGES_MAX:
        seen = (*seen[:-2], (seen[-2][0], seen[-1][1]))
    owner, told = accepted[0] if accepted else None, before.course
    if owner is not None and (before.accepted is None or before.accepted[0] != owner):
        told = course.owned(told, owner)
    return msgspec.structs.replace(
        before,
        seen=seen,
        gaps_exact=gaps_exact,
        started=started,
        ended=ended,
        stopped_reason=reason,
        charging_state=charging,
        evse=_earliest(before.evse, seq, event.evse_id),
        connector=_earliest(before.connector, seq, event.connector_id),
        token=token,
        accepted=accepted,
        remote_start_id=_earliest(before.remote_start_id, seq, event.remote_start_id),
        reservation_id=_earliest(before.reservation_id, seq, event.reservation_id),
        time_spent_charging_s=spent,
        first=_first(before.first, event.first_register, seq),
        last=_last(before.last, event.last_register, seq),
        pieces=energy.add(before.pieces, seen, seq, said) if gaps_exact else (),
        span_wh=energy.largest(before.span_wh, said.energy) if said else before.span_wh,
        span_drops=max(before.span_drops, said.drops) if said else before.span_drops,
        offline=before.offline or event.offline,
        latest=max(before.latest, (seq, event.timestamp)) if before.latest else (seq, event.timestamp),
        live_at=before.live_at if event.offline else max(before.live_at, event.at),
        skew=_skew(before.skew, event),
        course=course.add(told, seen, event, owner) if gaps_exact else course.forget(told, event),
        cost=event.cost or before.cost,
    )


def _skew(held: tuple[int, int] | None, event: TransactionEvent) -> tuple[int, int] | None:
    late = event.clock_offset_ms if event.offline else event.at - event.timestamp
    if late is None or (held is not None and held[0] <= late <= held[1]):
        return held
    return (min(held[0], late), max(held[1], late)) if held else (late, late)


def reconciled(before: Transaction, event: TransactionReconciled) -> Transaction:
    """The transaction with what was concluded about it."""
    if event.what == "gaps_final":
        return msgspec.structs.replace(before, gaps_final=event.missing)
    return msgspec.structs.replace(before, closed=before.closed or (event.at, event.cause), gaps_final=event.missing)


def reconciled_needs(event: TransactionReconciled) -> tuple[Need, ...]:
    return ((Transaction, transaction_key(event.station, event.transaction_id)),)


def evolve_reconciled(event: TransactionReconciled, view: View) -> Iterable[Put]:
    key = transaction_key(event.station, event.transaction_id)
    before = view.get(Transaction, key)
    assert before is not None, f"nothing to reconcile: {key}"
    yield Put(key, reconciled(before, event))


def _earliest(held: tuple[int, int] | None, seq_no: int, value: int | None) -> tuple[int, int] | None:
    return (seq_no, value) if value is not None and (held is None or seq_no < held[0]) else held


def _reading(register: Register, seq_no: int) -> Reading:
    return Reading(register.rank, seq_no, register.index, register.at, register.wh)


def _first(held: Reading | None, register: Register | None, seq_no: int) -> Reading | None:
    if register is None:
        return held
    reading = _reading(register, seq_no)
    return reading if held is None or reading < held else held


def _last(held: Reading | None, register: Register | None, seq_no: int) -> Reading | None:
    if register is None:
        return held
    reading = _reading(register, seq_no)
    return reading if held is None or reading > held else held


def evolve_conflict(event: TransactionConflict, view: View) -> Iterable[Put]:
    """A conflict is counted, the first content stays; the other is remembered."""
    key = transaction_key(event.station, event.transaction_id)
    before = view.get(Transaction, key)
    assert before is not None, f"conflict in an unknown transaction {key}"
    yield Put(key, msgspec.structs.replace(before, conflicts=before.conflicts + 1))
    page = page_key(event.station, event.transaction_id, event.seq_no)
    known = view.get(SeqPage, page)
    assert known is not None, f"conflict with an unknown event {page}"
    others = known.conflicts.get(event.seq_no, ())
    if event.digest not in others and len(others) < CONFLICTS_KNOWN_MAX:
        conflicts = {**known.conflicts, event.seq_no: (*others, event.digest)}
        yield Put(page, msgspec.structs.replace(known, conflicts=conflicts))


def _listed(ranges: Sequence[tuple[int, int]]) -> str:
    return msgspec.json.encode(ranges).decode() if ranges else "[]"


def project(event: TransactionEvent | TransactionConflict | TransactionReconciled, view: View) -> Iterable[Upsert]:
    """The transaction's row as the API shows it."""
    key = transaction_key(event.station, event.transaction_id)
    held = view.get(Transaction, key)
    assert held is not None, f"no transaction {key}"
    gaps, energy_wh, owner = held.gaps, held.energy_wh, held.owner
    missing = sum(high - low + 1 for low, high in gaps) if gaps else 0
    row = (
        held.station,
        normalise(held.transaction_id),
        held.identity,
        held.transaction_id,
        held.state,
        held.evse[1] if held.evse else None,
        held.connector[1] if held.connector else None,
        held.started[1] if held.started else None,
        held.ended_at,
        held.charging_state.value if held.charging_state else None,
        held.stopped_reason or None,
        held.remote_start_id[1] if held.remote_start_id else None,
        owner[0] if owner else None,
        owner[1] if owner else None,
        held.first.wh if held.first else None,
        held.last.wh if held.last else None,
        format(energy_wh, "f") if energy_wh is not None else None,
        held.meter_drops,
        _listed(held.seen),
        _listed(gaps),
        held.gaps_exact,
        missing,
        held.conflicts,
        held.offline,
        held.time_spent_charging_s[1] if held.time_spent_charging_s else None,
        held.grade,
        held.closed[0] if held.closed else None,
        held.closed[1] if held.closed else None,
        bool(gaps) and missing == held.gaps_final,
        held.clock_offset_ms,
        held.clock_steady,
        held.cost.currency if held.cost else None,
        str(held.cost.excl_vat) if held.cost else None,
        str(held.cost.incl_vat) if held.cost else None,
        held.heard_at,
        event.at,
    )
    yield Upsert(TRANSACTIONS, row)
