"""TransactionEvent (E01-E13): fold one event of a transaction, check its idToken, answer a repeat in full.

The business key is (station, transactionId, seqNo), never the message id. An event that was kept is not kept again;
the same seqNo with other content is recorded as a conflict, once, and answered all the same, so that the station goes
on.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from ocppcore import asking
from ocppcore.authorization import NO_RULES, IdTokenInfo, Rules, TokenState, Where, decide
from ocppcore.contracts.transactions import (
    MeterValuesReceived,
    TransactionConflict,
    TransactionEnded,
    TransactionEvent,
    TransactionStarted,
    TransactionUpdated,
)
from ocppcore.id_token_info import to_wire
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import ActionHandler, Context, Event, Lookup, Need, Outcome, View
from ocppcore.v201 import TransactionEventRequest, TransactionEventResponse
from ocppcore.wire import dump_json, load_json
from services.transactions.domain import (
    charge_detail,
    credit,
    fallback,
    grading,
    inquiry,
    meter_gaps,
    meter_hours,
    open_transactions,
    remote,
    reservation,
    signed_values,
)
from services.transactions.domain.book import StationBook, book_of
from services.transactions.domain.cost import UTC, Costs
from services.transactions.domain.metering import current, fallen, first_and_last, registers
from services.transactions.domain.periods import PERIODS, Periods
from services.transactions.domain.said import Request, Said, milliseconds, read
from services.transactions.domain.transaction import (
    Transaction,
    is_known_conflict,
    known_digest,
    may_start,
    needs_of,
    transaction_key,
)

KINDS: dict[str, type[TransactionEvent]] = {
    "Started": TransactionStarted,
    "Updated": TransactionUpdated,
    "Ended": TransactionEnded,
}
_sorted = msgspec.json.Encoder(order="sorted", decimal_format="number")
EMPTY = TransactionEventResponse()
CLOCK_BELIEVED_MS: Final = 7 * 24 * 3600 * 1000


def digest_of(payload: bytes) -> str:
    """What makes two events the same: their content without the offline flag, which a retry may change (E04, E13)."""
    try:
        content = orjson.loads(payload)
        content.pop("offline", None)
        written = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONDecodeError:  # a number beyond a double, which customData may hold
        content = load_json(payload)
        content.pop("offline", None)
        written = _sorted.encode(content)
    return hashlib.blake2b(written, digest_size=8).hexdigest()


@dataclass(frozen=True)
class TransactionEvents:
    """The action with what the installation sets: the key of pseudonyms and the rules about idTokens."""

    pseudonyms: Pseudonyms
    rules: Rules = NO_RULES
    costs: Costs = UTC
    periods: Periods = PERIODS

    @property
    def asker(self) -> asking.Asker:
        """For what is looked up."""
        return asking.Asker(self.pseudonyms, self.rules)

    def handler(self) -> ActionHandler[Said]:
        return ActionHandler(
            TransactionEventRequest,
            self.on_transaction_event,
            self.needs,
            self.lookups,
            self_ordered=True,
            read=read,
            further=self.further,
        )

    def needs(self, said: Said, station: str) -> Sequence[Need]:
        info = said.request.transactionInfo
        found: list[Need] = [
            *needs_of(station, info.transactionId, said.request.seqNo),
            *self.costs.needs(station, info.transactionId),
            (StationBook, station),
        ]
        if said.request.eventType == "Started":
            found += fallback.needs(station)
        if _may_be_last(said.request):
            found += charge_detail.charged_needs(station, info.transactionId)
        if _may_stop(said.request.eventType, said.request.triggerReason):
            found.append((remote.Remote, remote.stop_key(station, info.transactionId)))
        if info.remoteStartId is not None:
            found.append((remote.Remote, remote.start_key(station, info.remoteStartId)))
        if _concerns(said.request):
            found += open_transactions.needs_of(station, info.transactionId)
        if said.request.reservationId is not None or said.request.idToken is not None:
            found += reservation.use_needs(station)
        if said.meter_values:
            found += meter_hours.clock_needs(station)
            if signed_values.MENTION in bytes(said.request.meterValue):
                found += signed_values.keys_needs(station)
        if said.meter_values or said.request.eventType == "Ended":
            found += meter_gaps.meter_needs(station)
        return found

    def lookups(self, said: Said, station: str) -> Sequence[Lookup]:
        """The tariffs, the station for its zone and the types of its connectors, the token and what it has open."""
        token, costs = said.request.idToken, self.costs.lookups(station)
        if token is None:
            return costs
        return (*asking.lookups(self.pseudonyms.of(token.type, token.idToken), station), *costs)

    def further(self, said: Said, station: str, view: View) -> Sequence[Lookup]:
        """What the token's group has open."""
        token = said.request.idToken
        if token is None:
            return ()
        return asking.further(view, self.pseudonyms.of(token.type, token.idToken), self.asker)

    def on_transaction_event(self, said: Said, view: View, context: Context) -> Outcome:
        """Events for what is new, and the answer, which is the same for a repeat."""
        request = said.request
        asked = self._authorize(said, view, context)
        info = asked.info
        fields: dict[str, Any] = {"idTokenInfo": to_wire(info)} if info else {}
        transaction_id, seq_no = request.transactionInfo.transactionId, request.seqNo
        digest = digest_of(context.payload)
        kept = known_digest(view, context.station, transaction_id, seq_no)
        if kept is not None:
            told = self.costs.repeated(view, context.station, transaction_id, seq_no)
            response = TransactionEventResponse(**fields, **told.fields())
            if kept == digest or is_known_conflict(view, context.station, transaction_id, seq_no, digest):
                return Outcome(reply=response)
            conflict = self._conflict(request, context, digest, kept, asked.pseudonym)
            regraded = grading.waiting(grading.disputed(conflict, view), self.periods.bill_wait)
            return Outcome((conflict, *regraded), reply=response)
        event, told = self.costs.priced(
            self._event(said, view, context, digest, asked), asked.token, bool(said.meter_values), view, context
        )
        fields |= told.fields()
        response = TransactionEventResponse(**fields) if fields else EMPTY
        events: list[Event] = [event, *fallback.asked(event, view, context)] if event.agreed else [event]
        held = view.get(Transaction, transaction_key(context.station, transaction_id))
        evse = _evse(request, held)
        if said.meter_values:
            events += _metering(said, evse, view, context)
        events += meter_gaps.noticed(event, held, evse, view, context)
        if event.cost is not None and (spent := credit.spent(event, held, view, self.costs.credit_step)) is not None:
            events.append(spent)
        events += self._effects(event, view, context)
        events += inquiry.after_event(event, view, self.periods)
        if _concerns(request):
            events += open_transactions.after_event(event, info, asked.token, self.asker, view)
        use = None
        if request.idToken is not None or request.reservationId is not None:
            starts = may_start(request.eventType, request.triggerReason)
            use = reservation.used(event, evse, info if starts else None, view, context)
            events += use.events
        puts = use.puts if use else ()
        if not _may_be_last(request):
            return Outcome(events, reply=response, puts=puts)
        found, then = charge_detail.at_once(events)
        return Outcome(found, reply=response, puts=puts, then=then)

    def _authorize(self, said: Said, view: View, context: Context) -> "_Asked":
        request = said.request
        if request.idToken is None:
            return _NOBODY
        pseudonym = self.pseudonyms.of(request.idToken.type, request.idToken.idToken)
        key = transaction_key(context.station, request.transactionInfo.transactionId)
        held = view.get(Transaction, key)
        where = Where(
            context.station,
            context.now,
            evse=_evse(request, held),
            purpose="start" if _starts(request, held) else "other",
            began=_began(said.at, context.now),
            transaction=key,
        )
        found = asking.found(view, pseudonym, where, self.asker)
        info = decide(request.idToken.type, found.token, found.where, self.rules)
        return _Asked(pseudonym, found.token, info, asking.positions(view, pseudonym, found, self.asker))

    def _event(self, said: Said, view: View, context: Context, digest: str, asked: "_Asked") -> TransactionEvent:
        request, transaction, evse = said.request, said.request.transactionInfo, said.request.evse
        readings = registers(said.meter_values)
        first, last = first_and_last(readings)
        registered_wh, drops = fallen(readings)
        return KINDS[request.eventType](
            at=context.now,
            station=context.station,
            transaction_id=transaction.transactionId,
            seq_no=request.seqNo,
            timestamp=said.at,
            trigger_reason=request.triggerReason,
            digest=digest,
            identity=context.identity if context.identity != context.station else "",
            offline=request.offline,
            evse_id=evse.id if evse else None,
            connector_id=evse.connectorId if evse else None,
            charging_state=transaction.chargingState or "",
            stopped_reason=transaction.stoppedReason or "",
            remote_start_id=transaction.remoteStartId,
            reservation_id=request.reservationId,
            time_spent_charging_s=transaction.timeSpentCharging,
            phases_used=request.numberOfPhasesUsed,
            cable_max_current_a=request.cableMaxCurrent,
            token=asked.pseudonym,
            token_type=request.idToken.type if request.idToken else "",
            authorization=str(asked.info.status) if asked.info else "",
            token_position=asked.positions.token,
            station_position=asked.positions.station,
            open_position=asked.positions.open,
            group_open_position=asked.positions.group_open,
            first_register=first,
            last_register=last,
            registered_wh=registered_wh,
            register_drops=drops,
            clock_offset_ms=book_of(view, context.station).clock_offset_ms if request.offline else None,
            current_a=current(said.meter_values),
        )

    def _conflict(
        self, request: Request, context: Context, digest: str, kept: str, pseudonym: str
    ) -> TransactionConflict:
        payload = load_json(context.payload)
        if pseudonym:
            payload["idToken"] = {"idToken": pseudonym, "type": payload["idToken"]["type"]}
        return TransactionConflict(
            at=context.now,
            station=context.station,
            transaction_id=request.transactionInfo.transactionId,
            seq_no=request.seqNo,
            event_type=request.eventType,
            digest=digest,
            kept_digest=kept,
            payload=msgspec.Raw(dump_json(payload)),
        )

    def _effects(self, event: TransactionEvent, view: View, context: Context) -> list[Event]:
        """What a remote start or stop was waiting for (F01, F02, F03)."""
        found: list[Event] = []
        if event.remote_start_id is not None:
            key = remote.start_key(context.station, event.remote_start_id)
            found += remote.seen(key, view, context, event.transaction_id)
        if _may_stop("Ended" if isinstance(event, TransactionEnded) else "", event.trigger_reason):
            key = remote.stop_key(context.station, event.transaction_id)
            found += remote.seen(key, view, context, event.transaction_id)
        return found


class _Asked(NamedTuple):
    """About the idToken of an event: its pseudonym, what is registered, the answer, and what that rested on."""

    pseudonym: str
    token: TokenState | None
    info: IdTokenInfo | None
    positions: asking.Positions


_NOBODY: Final = _Asked("", None, None, asking.NOWHERE)


def _may_be_last(request: Request) -> bool:
    """Whether such an event can be the one that makes its transaction whole."""
    return request.eventType == "Ended" or request.offline


def _may_stop(event_type: str, trigger_reason: str) -> bool:
    """Whether such an event can be what a remote stop was waiting for."""
    return event_type == "Ended" or trigger_reason == "RemoteStop"


def _concerns(request: Request) -> bool:
    return open_transactions.concerns(request.eventType, request.triggerReason, token=request.idToken is not None)


def _began(said_at: int, now: int) -> int:
    """When the station says it was, for the windows of a token: an event may come late. Not what a wrong clock says."""
    return said_at if now - CLOCK_BELIEVED_MS <= said_at <= now else now


def _metering(said: Said, evse: int | None, view: View, context: Context) -> list[Event]:
    """The meter values as they came, and what they begin (J02)."""
    request = said.request
    transaction_id, seq_no, raw = request.transactionInfo.transactionId, request.seqNo, request.meterValue
    kept = MeterValuesReceived(
        at=context.now,
        station=context.station,
        meter_values=raw,
        evse_id=evse,
        transaction_id=transaction_id,
        seq_no=seq_no,
    )
    times = [milliseconds(one.timestamp) for one in said.meter_values]
    events: list[Event] = [kept, *meter_hours.begun(times, view, context)]
    if signed_values.MENTION in bytes(raw):
        events += signed_values.judged(bytes(raw), evse, transaction_id, seq_no, view, context)
    return events


def _evse(request: Request, held: Transaction | None) -> int | None:
    """Where the energy flows: as this event says, or as one before it did; stations name the EVSE once (E01.FR.16)."""
    if request.evse is not None:
        return request.evse.id
    return held.evse[1] if held and held.evse else None


def _starts(request: Request, held: Transaction | None) -> bool:
    """Whether this idToken is to start the energy, which a master pass may not (C16.FR.03)."""
    if request.eventType == "Started":
        return True
    return may_start(request.eventType, request.triggerReason) and (held is None or held.starts_with(request.seqNo))
