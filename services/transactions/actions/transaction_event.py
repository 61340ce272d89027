"""TransactionEvent (E01-E13): fold one event of a transaction, check its idToken, answer a repeat in full.

The business key is (station, transactionId, seqNo), never the message id. An event that was kept is not kept again;
the same seqNo with other content is recorded as a conflict and answered all the same, so that the station goes on.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
import orjson

from ocppcore import topics
from ocppcore.authorization import IdTokenInfo, TokenState, Where, decide
from ocppcore.clock import from_rfc3339
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
from ocppcore.v201 import IdTokenType, TransactionEventRequest, TransactionEventResponse
from services.transactions.domain import remote
from services.transactions.domain.metering import first_and_last, registers
from services.transactions.domain.transaction import known_digest, needs_of

KINDS: dict[str, type[TransactionEvent]] = {
    "Started": TransactionStarted,
    "Updated": TransactionUpdated,
    "Ended": TransactionEnded,
}


class _IdToken(msgspec.Struct):
    idToken: str
    type: str


class _Evse(msgspec.Struct):
    id: int
    connectorId: int | None = None


class _Info(msgspec.Struct):
    transactionId: str
    chargingState: str = ""
    stoppedReason: str = ""
    remoteStartId: float | None = None
    timeSpentCharging: float | None = None


class _Wire(msgspec.Struct):
    """The validated payload once more, as cheap plain values; the meter values also as the bytes that came."""

    eventType: str
    timestamp: str
    triggerReason: str
    seqNo: float
    transactionInfo: _Info
    offline: bool = False
    numberOfPhasesUsed: float | None = None
    cableMaxCurrent: float | None = None
    reservationId: float | None = None
    evse: _Evse | None = None
    idToken: _IdToken | None = None
    meterValue: msgspec.Raw = msgspec.Raw(b"[]")


_wire = msgspec.json.Decoder(_Wire, strict=False)
_meter_values = msgspec.json.Decoder(list[dict[str, object]], float_hook=Decimal)


def digest_of(payload: bytes) -> str:
    """What makes two events the same: their content without the offline flag, which a retry may change (E04, E13)."""
    content = orjson.loads(payload)
    content.pop("offline", None)
    return hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


@dataclass(frozen=True)
class TransactionEvents:
    """The action with what the installation sets: the key of pseudonyms and the master-pass group (C16)."""

    pseudonyms: Pseudonyms
    master_pass_group: str = ""

    def handler(self) -> ActionHandler[TransactionEventRequest]:
        return ActionHandler(
            TransactionEventRequest, self.on_transaction_event, self.needs, self.lookups, self_ordered=True
        )

    def needs(self, request: TransactionEventRequest, station: str) -> Sequence[Need]:
        info = request.transactionInfo
        found: list[Need] = [
            *needs_of(station, info.transactionId, request.seqNo),
            (remote.Remote, remote.stop_key(station, info.transactionId)),
        ]
        if isinstance(info.remoteStartId, int):
            found.append((remote.Remote, remote.start_key(station, info.remoteStartId)))
        return found

    def lookups(self, request: TransactionEventRequest, station: str) -> Sequence[Lookup]:
        token = request.idToken
        if not isinstance(token, IdTokenType):
            return ()
        return ((topics.TOKENS, self.pseudonyms.of(token.type, token.idToken)),)

    def on_transaction_event(self, request: TransactionEventRequest, view: View, context: Context) -> Outcome:
        """Events for what is new, and the answer, which is the same for a repeat."""
        wire = _wire.decode(context.payload)
        pseudonym, info = self._authorize(wire, view, context)
        response = TransactionEventResponse(idTokenInfo=to_wire(info)) if info else TransactionEventResponse()
        transaction_id, seq_no = wire.transactionInfo.transactionId, int(wire.seqNo)
        digest = digest_of(context.payload)
        kept = known_digest(view, context.station, transaction_id, seq_no)
        if kept == digest:
            return Outcome(reply=response)
        if kept is not None:
            return Outcome((self._conflict(wire, context, digest, kept, pseudonym),), reply=response)
        event = self._event(wire, view, context, digest, pseudonym, info)
        events: list[Event] = [event]
        if bytes(wire.meterValue) != b"[]":
            meter = MeterValuesReceived(
                at=context.now,
                station=context.station,
                meter_values=wire.meterValue,
                evse_id=event.evse_id,
                transaction_id=transaction_id,
                seq_no=seq_no,
            )
            events.append(meter)
        events += self._effects(event, view, context)
        return Outcome(events, reply=response)

    def _authorize(self, wire: _Wire, view: View, context: Context) -> tuple[str, IdTokenInfo | None]:
        if wire.idToken is None:
            return "", None
        pseudonym = self.pseudonyms.of(wire.idToken.type, wire.idToken.idToken)
        token = view.copy(topics.TOKENS, TokenState, pseudonym)
        where = Where(
            context.station,
            context.now,
            evse=wire.evse.id if wire.evse else None,
            starting=wire.eventType == "Started",
        )
        return pseudonym, decide(wire.idToken.type, token, where, master_pass_group=self.master_pass_group)

    def _event(
        self, wire: _Wire, view: View, context: Context, digest: str, pseudonym: str, info: IdTokenInfo | None
    ) -> TransactionEvent:
        said = wire.transactionInfo
        first, last = first_and_last(registers(_meter_values.decode(wire.meterValue)))
        return KINDS[wire.eventType](
            at=context.now,
            station=context.station,
            transaction_id=said.transactionId,
            seq_no=int(wire.seqNo),
            timestamp=from_rfc3339(wire.timestamp),
            trigger_reason=wire.triggerReason,
            digest=digest,
            identity=context.identity if context.identity != context.station else "",
            offline=wire.offline,
            evse_id=wire.evse.id if wire.evse else None,
            connector_id=wire.evse.connectorId if wire.evse else None,
            charging_state=said.chargingState,
            stopped_reason=said.stoppedReason,
            remote_start_id=_whole(said.remoteStartId),
            reservation_id=_whole(wire.reservationId),
            time_spent_charging_s=_whole(said.timeSpentCharging),
            phases_used=_whole(wire.numberOfPhasesUsed),
            cable_max_current_a=_whole(wire.cableMaxCurrent),
            token=pseudonym,
            token_type=wire.idToken.type if wire.idToken else "",
            authorization=str(info.status) if info else "",
            token_position=view.copy_position(topics.TOKENS, pseudonym) if pseudonym else -1,
            first_register=first,
            last_register=last,
        )

    def _conflict(self, wire: _Wire, context: Context, digest: str, kept: str, pseudonym: str) -> TransactionConflict:
        payload = orjson.loads(context.payload)
        if pseudonym:
            payload["idToken"] = {"idToken": pseudonym, "type": payload["idToken"]["type"]}
        return TransactionConflict(
            at=context.now,
            station=context.station,
            transaction_id=wire.transactionInfo.transactionId,
            seq_no=int(wire.seqNo),
            event_type=wire.eventType,
            digest=digest,
            kept_digest=kept,
            payload=msgspec.Raw(orjson.dumps(payload)),
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


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)
