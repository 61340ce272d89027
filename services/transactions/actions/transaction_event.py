"""TransactionEvent (E01-E13): fold one event of a transaction, check its idToken, answer a repeat in full.

The business key is (station, transactionId, seqNo), never the message id. An event that was kept is not kept again;
the same seqNo with other content is recorded as a conflict, once, and answered all the same, so that the station goes
on.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from ocppcore import topics
from ocppcore.authorization import IdTokenInfo, TokenState, Where, decide
from ocppcore.contracts.device import StationState
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
from services.transactions.domain import grading, inquiry, remote
from services.transactions.domain.book import StationBook, book_of
from services.transactions.domain.cost import UTC, Costs
from services.transactions.domain.metering import current, fallen, first_and_last, registers
from services.transactions.domain.said import Request, Said, read
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
    """The action with what the installation sets: the key of pseudonyms and the master-pass group (C16)."""

    pseudonyms: Pseudonyms
    master_pass_group: str = ""
    costs: Costs = UTC

    def handler(self) -> ActionHandler[Said]:
        return ActionHandler(
            TransactionEventRequest,
            self.on_transaction_event,
            self.needs,
            self.lookups,
            self_ordered=True,
            read=read,
        )

    def needs(self, said: Said, station: str) -> Sequence[Need]:
        info = said.request.transactionInfo
        found: list[Need] = [
            *needs_of(station, info.transactionId, said.request.seqNo),
            *self.costs.needs(station, info.transactionId),
            (remote.Remote, remote.stop_key(station, info.transactionId)),
            (StationBook, station),
        ]
        if info.remoteStartId is not None:
            found.append((remote.Remote, remote.start_key(station, info.remoteStartId)))
        return found

    def lookups(self, said: Said, station: str) -> Sequence[Lookup]:
        """The tariffs, the station for its zone and the types of its connectors, and the token."""
        token = said.request.idToken
        if token is None:
            return self.costs.lookups(station)
        return ((topics.TOKENS, self.pseudonyms.of(token.type, token.idToken)), *self.costs.lookups(station))

    def on_transaction_event(self, said: Said, view: View, context: Context) -> Outcome:
        """Events for what is new, and the answer, which is the same for a repeat."""
        request = said.request
        pseudonym, info = self._authorize(request, view, context)
        fields: dict[str, Any] = {"idTokenInfo": to_wire(info)} if info else {}
        transaction_id, seq_no = request.transactionInfo.transactionId, request.seqNo
        digest = digest_of(context.payload)
        kept = known_digest(view, context.station, transaction_id, seq_no)
        if kept is not None:
            told = self.costs.repeated(view, context.station, transaction_id, seq_no)
            response = TransactionEventResponse(**fields, **told.fields())
            if kept == digest or is_known_conflict(view, context.station, transaction_id, seq_no, digest):
                return Outcome(reply=response)
            conflict = self._conflict(request, context, digest, kept, pseudonym)
            return Outcome((conflict, *grading.disputed(conflict, view)), reply=response)
        token = view.copy(topics.TOKENS, TokenState, pseudonym) if pseudonym else None
        event, told = self.costs.priced(
            self._event(said, view, context, digest, pseudonym, info), token, bool(said.meter_values), view, context
        )
        fields |= told.fields()
        response = TransactionEventResponse(**fields) if fields else EMPTY
        events: list[Event] = [event]
        if said.meter_values:
            meter = MeterValuesReceived(
                at=context.now,
                station=context.station,
                meter_values=request.meterValue,
                evse_id=event.evse_id,
                transaction_id=transaction_id,
                seq_no=seq_no,
            )
            events.append(meter)
        events += self._effects(event, view, context)
        events += inquiry.after_event(event, view)
        return Outcome(events, reply=response)

    def _authorize(self, request: Request, view: View, context: Context) -> tuple[str, IdTokenInfo | None]:
        if request.idToken is None:
            return "", None
        pseudonym = self.pseudonyms.of(request.idToken.type, request.idToken.idToken)
        token = view.copy(topics.TOKENS, TokenState, pseudonym)
        station = view.copy(topics.STATIONS, StationState, context.station)
        held = view.get(Transaction, transaction_key(context.station, request.transactionInfo.transactionId))
        where = Where(
            context.station,
            context.now,
            evse=_evse(request, held),
            evse_types=station.evse_types if station else {},
            starting=_starts(request, held),
        )
        return pseudonym, decide(request.idToken.type, token, where, master_pass_group=self.master_pass_group)

    def _event(
        self, said: Said, view: View, context: Context, digest: str, pseudonym: str, info: IdTokenInfo | None
    ) -> TransactionEvent:
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
            token=pseudonym,
            token_type=request.idToken.type if request.idToken else "",
            authorization=str(info.status) if info else "",
            token_position=view.copy_position(topics.TOKENS, pseudonym) if pseudonym else -1,
            station_position=view.copy_position(topics.STATIONS, context.station) if pseudonym else -1,
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
        if isinstance(event, TransactionEnded) or event.trigger_reason == "RemoteStop":
            key = remote.stop_key(context.station, event.transaction_id)
            found += remote.seen(key, view, context, event.transaction_id)
        return found


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
