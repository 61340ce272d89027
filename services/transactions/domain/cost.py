"""What a transaction costs while it runs and when it ends (I02, I03), and a tariff that changes on the way (I06).

Each event is decided with the tariff that applies now; one that was made offline, with the tariff of its own time. The
tariffs that a transaction has named are kept with it, so that its cost needs nothing else, however they change later.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from ocppcore.authorization import TokenState
from ocppcore.commands import ASK, Ask
from ocppcore.contracts.device import StationState
from ocppcore.contracts.transactions import (
    Agreed,
    Cost,
    Driver,
    RunningCostDue,
    TransactionEnded,
    TransactionEvent,
    TransactionStarted,
    TransactionUpdated,
)
from ocppcore.log import NewRecord
from ocppcore.service import (
    NOTHING,
    WHOLE,
    Aggregate,
    Context,
    Follow,
    Lookup,
    Need,
    Outcome,
    Put,
    Timer,
    View,
)
from ocppcore.tariff import EMPTY, Tariff, Text, Whose, read_index, shows_tariff, text_for
from ocppcore.topics import STATIONS, TARIFFS, normalise
from ocppcore.v201 import MessageContentType
from services.transactions.domain.course import NO_TARIFF, PERIOD_MAX_MS, course, stamp, totals, until
from services.transactions.domain.rating import Bill, Total, rate_along, total_along, total_steady
from services.transactions.domain.transaction import (
    Transaction,
    begin,
    known_cost,
    may_start,
    merge,
    note_merged,
    transaction_key,
)

TARIFFS_MAX: Final = 20
"""That one transaction is rated by: it goes on with the last of them."""


class Agreement(Aggregate, frozen=True, kw_only=True):
    """The tariffs of a transaction by `Tariff.ref`; id = `transaction_key`. None where no tariff ever applied.

    `last`: the newest of them, `shown`: what the driver knows of, `told`: by seqNo, what an answer told of (I06).
    `driver`: of the token whose transaction it is, with the seqNo of its event. `asks`: the station is told the cost
    in answers to its meter values, it needs no CostUpdated. `shows`: as in Agreed; `due`: when it is sent the cost,
    `told_cost`: what it was sent last; `spent`: what the driver's account was told last.
    """

    KIND: ClassVar[str] = "Agreement"
    tariffs: dict[str, Tariff] = msgspec.field(default_factory=dict)
    zone: str = ""
    last: str = ""
    shown: str = ""
    told: dict[int, str] = msgspec.field(default_factory=dict)
    driver: tuple[int, Driver] | None = None
    asks: bool = False
    shows: bool = True
    due: int | None = None
    told_cost: Decimal | None = None
    spent: Decimal | None = None


class Answer(NamedTuple):
    """What of the cost the answer to a TransactionEvent says."""

    total_cost: Decimal | None = None
    message: Text | None = None

    def fields(self) -> dict[str, Any]:
        """As TransactionEventResponse has them."""
        found: dict[str, Any] = {}
        if self.total_cost is not None:
            found["totalCost"] = self.total_cost
        if self.message is not None:
            found["updatedPersonalMessage"] = to_wire(self.message)
        return found


NOTHING_TOLD: Final = Answer()


class Priced(NamedTuple):
    event: TransactionEvent
    answer: Answer


def to_wire(text: Text) -> MessageContentType:
    """A tariff's text as a station shows it."""
    if not text.language:
        return MessageContentType(format="UTF8", content=text.text)
    return MessageContentType(format="UTF8", content=text.text, language=text.language)


@dataclass(frozen=True)
class Costs:
    """What the installation sets. `zone`: of stations that name none. A station that does not ask for the cost is sent
    it every `update_s` seconds (0: never) where it has grown by `update_step` or more. A driver's credit is told the
    cost in steps of `credit_step`."""

    zone: str = "UTC"
    update_s: int = 900
    update_step: Decimal = Decimal("0.01")
    credit_step: Decimal = Decimal(1)

    def needs(self, station: str, transaction_id: str) -> tuple[Need, ...]:
        return ((Agreement, transaction_key(station, transaction_id)),)

    def lookups(self, station: str) -> tuple[Lookup, ...]:
        return ((TARIFFS, WHOLE), (STATIONS, station))

    def repeated(self, view: View, station: str, transaction_id: str, seq_no: int) -> Answer:
        """What the first answer to this event said."""
        agreement = view.get(Agreement, transaction_key(station, transaction_id))
        ref = agreement.told.get(seq_no) if agreement else None
        message = _text(agreement, ref) if agreement and ref else None
        return Answer(known_cost(view, station, transaction_id, seq_no), message)

    def priced(
        self, event: TransactionEvent, token: TokenState | None, measured: bool, view: View, context: Context
    ) -> Priced:
        """The event with its tariff and cost, and what the answer says of them. `measured`: it has meter values."""
        key = transaction_key(event.station, event.transaction_id)
        held, agreement = view.get(Transaction, key), view.get(Agreement, key)
        if agreement is None and view.whole(TARIFFS, read_index) == EMPTY:
            return self._unpriced(event, held)
        event, tariff = self._stamped(event, token, held, agreement, view, context)
        before = held or begin(event)
        merged = merge(before, event)
        bill = total_of(merged, _tariffs(agreement, event), _zone(agreement, event))
        more: dict[str, Any] = {}
        if bill is not None:
            more["cost"] = Cost(bill.currency, bill.excl_vat, bill.incl_vat)
            more["cost_told"] = isinstance(event, TransactionEnded) or (
                measured and isinstance(event, TransactionUpdated)
            )
        asked = measured and isinstance(event, TransactionUpdated)
        if bill is not None and self.update_s and merged.ended is None and not asked and _is_silent(agreement, event):
            more["cost_due"] = context.now + self.update_s * 1000
        told = self._tells(event, tariff, held, agreement, view)
        if told:
            more["tariff_told"] = True
        if more:
            event = msgspec.structs.replace(event, **more)
            merged = msgspec.structs.replace(merged, cost=event.cost or merged.cost)
        note_merged(held, event, merged)
        message = None
        if told and tariff is not None:
            driver = event.driver or (agreement.driver[1] if agreement and agreement.driver else Driver("", "", ""))
            message = text_for(tariff, driver.language1, driver.language2)
        return Priced(event, Answer(bill.incl_vat if bill and more.get("cost_told") else None, message))

    def _unpriced(self, event: TransactionEvent, held: Transaction | None) -> Priced:
        """The short way where there are no tariffs at all."""
        event = msgspec.structs.replace(event, tariff=stamp(NO_TARIFF, _owner(event, held, None)[0]))
        note_merged(held, event, merge(held or begin(event), event))
        return Priced(event, NOTHING_TOLD)

    def _stamped(
        self,
        event: TransactionEvent,
        token: TokenState | None,
        held: Transaction | None,
        agreement: Agreement | None,
        view: View,
        context: Context,
    ) -> tuple[TransactionEvent, Tariff | None]:
        """With the tariff that applies, and whose transaction it is as far as that is known at this seqNo."""
        more: dict[str, Any] = {}
        index = view.whole(TARIFFS, read_index)
        owner, pseudonym, group = _owner(event, held, agreement)
        if owner == event.seq_no and index != EMPTY:
            state = token or TokenState(type="", status="Accepted")
            group = normalise(state.group.id_token) if state.group else ""
            more["driver"] = _driver(state, group)
        whose = Whose(pseudonym, group, event.station)
        moment = event.timestamp if event.offline else context.now
        tariff = index.choose(whose, moment)
        if agreement is not None and agreement.tariffs and not _goes_on(tariff, agreement):
            tariff = agreement.tariffs[agreement.last]
        more["tariff"] = stamp(NO_TARIFF if tariff is None else tariff.ref, owner)
        if tariff is not None and (agreement is None or tariff.ref not in agreement.tariffs):
            station = view.copy(STATIONS, StationState, event.station)
            zone = (agreement.zone if agreement else "") or (station.zone if station else "") or self.zone
            shows = _shows(station)
            more["agreed"] = Agreed(tariff=tariff, zone=zone, shows=shows)
        return msgspec.structs.replace(event, **more), tariff

    def _tells(
        self,
        event: TransactionEvent,
        tariff: Tariff | None,
        held: Transaction | None,
        agreement: Agreement | None,
        view: View,
    ) -> bool:
        """I06: an Updated that came in its order and finds another tariff than the driver knows of."""
        if tariff is None or held is None or event.offline or not isinstance(event, TransactionUpdated):
            return False
        if event.seq_no < held.seen[-1][1] or tariff.ref == (agreement.shown if agreement else ""):
            return False
        station = view.copy(STATIONS, StationState, event.station)
        return _shows(station)


UTC: Final = Costs()


def total_of(transaction: Transaction, tariffs: Mapping[str, Tariff], zone: str) -> Total | None:
    """The totals of `bill_of`, for the running cost."""
    if not tariffs:
        return None
    energy_wh = transaction.energy_wh
    sums = totals(transaction.course, energy_wh)
    tariff = tariffs.get(sums.tariff) if sums is not None else None
    if sums is not None and tariff is not None:
        steady = total_steady(tariff, sums, zone)
        if steady is not None:
            return steady
    found = course(transaction.course, energy_wh)
    return total_along(tariffs, found, zone) if found is not None else None


def bill_of(transaction: Transaction, tariffs: Mapping[str, Tariff], zone: str) -> Bill | None:
    """The cost along all events that came, None without a tariff."""
    if not tariffs:
        return None
    found = course(transaction.course, transaction.energy_wh)
    return rate_along(tariffs, found, zone) if found is not None else None


def _driver(state: TokenState, group: str) -> Driver:
    languages = state.language1 or "", state.language2 or ""
    if state.credit is None:
        return Driver(group, *languages)
    return Driver(group, *languages, state.credit.balance + state.credit.limit, state.credit.currency)


def _shows(station: StationState | None) -> bool:
    return station is None or shows_tariff(station.supports, station.reported)


def _is_silent(agreement: Agreement | None, event: TransactionEvent) -> bool:
    """Whether nobody is to tell the station what it costs yet."""
    if agreement is None or not agreement.tariffs:
        return event.agreed is not None and event.agreed.shows
    return agreement.shows and not agreement.asks and agreement.due is None


def _zone(agreement: Agreement | None, event: TransactionEvent) -> str:
    return (agreement.zone if agreement else "") or (event.agreed.zone if event.agreed else "")


def _tariffs(agreement: Agreement | None, event: TransactionEvent) -> Mapping[str, Tariff]:
    held: Mapping[str, Tariff] = agreement.tariffs if agreement else {}
    return held if event.agreed is None else {**held, event.agreed.tariff.ref: event.agreed.tariff}


def _goes_on(tariff: Tariff | None, agreement: Agreement) -> bool:
    """Whether a transaction can change to this tariff: not to none, to another currency, or without end."""
    last = agreement.tariffs[agreement.last]
    return tariff is not None and (
        tariff.ref in agreement.tariffs or (tariff.currency == last.currency and len(agreement.tariffs) < TARIFFS_MAX)
    )


def _owner(
    event: TransactionEvent, held: Transaction | None, agreement: Agreement | None
) -> tuple[int | None, str, str]:
    """The seqNo and pseudonym of the token whose transaction it is, of those up to this event, and its group."""
    known = held.accepted if held else None
    kind = "Started" if isinstance(event, TransactionStarted) else ""
    starts = event.token and event.authorization == "Accepted" and may_start(kind, event.trigger_reason)
    if starts and (known is None or event.seq_no < known[0]):
        return event.seq_no, event.token, ""
    if known is None or known[0] > event.seq_no:
        return None, "", ""
    group = agreement.driver[1].group if agreement and agreement.driver and agreement.driver[0] == known[0] else ""
    return known[0], known[1], group


def _text(agreement: Agreement, ref: str) -> Text:
    driver = agreement.driver[1] if agreement.driver else Driver("", "", "")
    return text_for(agreement.tariffs[ref], driver.language1, driver.language2)


def event_needs(event: TransactionEvent) -> Sequence[Need]:
    """For folds."""
    return ((Agreement, transaction_key(event.station, event.transaction_id)),)


def evolve(event: TransactionEvent, view: View) -> Iterable[Put | Timer]:
    """What the event adds to the transaction's agreement; nothing where no tariff ever applied."""
    key = transaction_key(event.station, event.transaction_id)
    held = view.get(Agreement, key)
    if held is None and event.agreed is None and event.driver is None:
        return
    before = held or Agreement()
    more: dict[str, Any] = {}
    if event.agreed is not None:
        tariff = event.agreed.tariff
        more = {"tariffs": {**before.tariffs, tariff.ref: tariff}, "last": tariff.ref, "zone": event.agreed.zone}
        more["shows"] = event.agreed.shows
        if not before.shown and not isinstance(event, TransactionUpdated):
            more["shown"] = tariff.ref
    if event.driver is not None and (before.driver is None or event.seq_no < before.driver[0]):
        more["driver"] = (event.seq_no, event.driver)
    ref = event.tariff.partition(":")[2]
    if event.tariff_told:
        more["shown"], more["told"] = ref, {**before.told, event.seq_no: ref}
    if event.cost_told and not before.asks:
        more["asks"], more["due"] = True, None
    elif event.cost_due is not None:
        more["due"] = event.cost_due
    if more:
        yield Put(key, msgspec.structs.replace(before, **more))
    if "due" in more and more["due"] != before.due:
        yield Timer(COST_DUE, timer_subject(key), more["due"])


COST_DUE: Final = "cost-due"
TIMER_SUFFIX: Final = "/cost"


def timer_subject(key: str) -> str:
    """Of the timer of a transaction, by its `transaction_key`."""
    return key + TIMER_SUFFIX


def due_needs(subject: str) -> Sequence[Need]:
    key = subject.removesuffix(TIMER_SUFFIX)
    return ((Transaction, key), (Agreement, key))


def fall_due(costs: Costs, subject: str, view: View, context: Context) -> Outcome:
    """The cost by now, with the time that has gone since the last event, where it is more than the station knows."""
    key = subject.removesuffix(TIMER_SUFFIX)
    held, agreement = view.get(Transaction, key), view.get(Agreement, key)
    if held is None or agreement is None or held.ended is not None or agreement.due is None:
        return NOTHING
    ends = held.heard_at + PERIOD_MAX_MS
    due = context.now + max(1, costs.update_s) * 1000
    found = course(held.course, held.energy_wh)
    total = total_along(agreement.tariffs, until(found, context.now), agreement.zone) if found else None
    grown = total is not None and total.incl_vat - (agreement.told_cost or 0) >= costs.update_step
    happened = RunningCostDue(
        at=context.now,
        station=held.station,
        transaction_id=held.transaction_id,
        cost=Cost(total.currency, total.excl_vat, total.incl_vat) if total is not None and grown else None,
        cost_due=due if due < ends and costs.update_s else None,
        identity=held.identity if held.identity != held.station else "",
    )
    return Outcome((happened,))


def told_needs(event: RunningCostDue) -> Sequence[Need]:
    return ((Agreement, transaction_key(event.station, event.transaction_id)),)


def evolve_told(event: RunningCostDue, view: View) -> Iterable[Put | Timer]:
    key = transaction_key(event.station, event.transaction_id)
    before = view.get(Agreement, key) or Agreement()
    told = event.cost.incl_vat if event.cost else before.told_cost
    yield Put(key, msgspec.structs.replace(before, due=event.cost_due, told_cost=told))
    yield Timer(COST_DUE, timer_subject(key), event.cost_due)


def derive_told(event: RunningCostDue, follow: Follow) -> Iterable[NewRecord]:
    """CostUpdated, as a command of this service."""
    if event.cost is None:
        return
    payload = {"totalCost": msgspec.Raw(format(event.cost.incl_vat, "f").encode())}
    ask = Ask(
        command_id=hashlib.blake2b(follow.id.encode(), digest_size=16).hexdigest(),
        action="CostUpdated",
        payload=msgspec.Raw(msgspec.json.encode({**payload, "transactionId": event.transaction_id})),
        identity=event.identity,
    )
    yield follow.request("transactions", ASK, event.station, ask, event.at)
