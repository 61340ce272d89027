"""What stands around a payload on the log: typed views of records, and the codec between the two.

Records follow the CloudEvents Kafka binding, binary mode: attributes are headers (`ce_*`), the value is the payload:
a frame exactly as received or sent, or JSON. Times inside headers are RFC 3339, inside these types ms since 1970.

Frames are most of all records, and each header of one is written, sent, stored and read: so station, epoch and number
stand in `ce_id`, slot and claim in `ce_source`, and nowhere else.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar

import msgspec

from ocppcore import topics
from ocppcore.clock import from_rfc3339, to_rfc3339
from ocppcore.log import NewRecord, Record

FRAME = "ocpp.frame.v1"
RECEIPT = "ocpp.receipt.v1"
REFUSAL = "ocpp.refusal.v1"
OUTBOUND = "ocpp.outbound.v1"
CONNECTION = "ocpp.connection.v1"
GATEWAY = "ocpp.gateway.v1"
SEALED = "sealed"
"""The header of a frame that is encrypted on the log."""

FrameKind = Literal["call", "result", "error", "malformed"]
ReceiptKind = Literal["sending", "timeout", "refused", "gone", "lost"]
OutKind = Literal["reply", "command", "close"]
AdmittedBy = Literal["", "current", "next"]
Registration = Literal["Accepted", "Pending", "Rejected"]


class BadRecord(ValueError):
    """A record does not carry what its type demands: it was not written by this system, or by a broken release."""


class Frame(NamedTuple):
    """A frame that a station sent. `station` is the normalised id, `identity` its spelling in the URL.

    `n` counts the frames of one connection from 0; (station, epoch, n) is unique. `action` is the CALL's action, or
    that of the CALL which a result or error answers. `refused` is the RPC error code with which the gateway itself
    answered ("" when a service is to answer); services skip refused CALLs. `claim` is the gateway's claim of its slot.
    `sealed`: `frame` is encrypted (`sealed_frames.py`).
    """

    station: str
    identity: str
    slot: int
    epoch: int
    n: int
    subprotocol: str
    received_at: int
    kind: FrameKind
    message_id: str
    action: str
    refused: str
    frame: bytes
    traceparent: str
    claim: int = 0
    sealed: bool = False


class Receipt(NamedTuple):
    """What a gateway did with a command: the owner of the command's action reads it among its frames.

    sending: about to be written to the socket; timeout: no answer in time;
    refused: not sent (queue full, registration);
    gone: not sent, its connection is no more. lost: sent, then the connection went without an answer.
    """

    station: str
    slot: int
    epoch: int
    received_at: int
    command_id: str
    action: str
    what: ReceiptKind
    reason: str
    traceparent: str


class OutFrame(NamedTuple):
    """A frame for a station on exactly one connection (slot, epoch).

    `registration` is set on the answer to BootNotification. `sealed`: the frame is encrypted (`seal.py`) because it
    carries a secret. `timeout_ms` (commands): how long the gateway waits for the answer, 0 = its default.
    kind close: the gateway is to close the connection; `frame` says why, in plain words.
    """

    station: str
    slot: int
    epoch: int
    kind: OutKind
    message_id: str
    action: str
    frame: bytes
    timeout_ms: int = 0
    registration: Registration | None = None
    sealed: bool = False
    traceparent: str = ""


class ConnectionChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A station's connection came or went. `epoch` is 0 in a connected record: it is that record's own position.

    What let it in: its `security_profile`; `credential`: the password in force ("current") or the one that is to
    replace it ("next", A01), "" where no password was checked; `certificate_name`: the common name of the client
    certificate (profile 3); `certificate_expired`: it has, and was admitted all the same (A00.FR.429).
    """

    identity: str
    slot: int
    claim: int
    connected: bool
    subprotocol: str
    at: int
    epoch: int = 0
    security_profile: int = 0
    reason: str = ""
    credential: AdmittedBy = ""
    certificate_name: str = ""
    certificate_expired: bool = False


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A handshake of a registered station that a gateway refused: the device service reads it among its frames.

    `cause`: the word that the gateway counts it under; `address`: who asked; `secure`: over TLS. `more`: so many of
    this station were refused since the record before and have none of their own (the gateway bounds them).
    """

    identity: str
    slot: int
    at: int
    cause: str
    address: str = ""
    secure: bool = False
    more: int = 0


class GatewayLease(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gateway claims (claim 0), renews (claim = position of its claim record) or releases a slot until `until`."""

    slot: int
    gateway: str
    until: int
    claim: int = 0
    released: bool = False


class Asked(NamedTuple):
    """How a request came over HTTP. `route` is a template, never a path: that may hold an idToken."""

    method: str
    route: str
    address: str


class Request(NamedTuple):
    """A write wanted from a service. `id` makes it once-only; `body` is JSON; `actor` says who asked (an API key's id,
    or issuer#subject of a token), `asked` how, where it came over HTTP."""

    id: str
    type: str
    key: str
    body: bytes
    received_at: int
    source: str
    actor: str
    fingerprint: str
    traceparent: str
    asked: Asked | None = None


T = TypeVar("T")


def ce_headers(id_: str, type_: str, source: str, subject: str, at: int) -> dict[str, str]:
    """The attributes that every record has."""
    return {
        "ce_specversion": "1.0",
        "ce_id": id_,
        "ce_type": type_,
        "ce_source": source,
        "ce_subject": subject,
        "ce_time": to_rfc3339(at),
    }


def _trace(headers: dict[str, str], traceparent: str) -> dict[str, str]:
    if traceparent:
        headers["traceparent"] = traceparent
    return headers


def frame_record(frame: Frame, service: str, partitions: int) -> NewRecord:
    """The record of a received frame on the topic of the service that owns it.

    `ce_id` is `station/epoch/n`, `ce_source` is `/gateway/slot/claim`; `kind` is left out of a CALL.
    """
    headers = ce_headers(
        f"{frame.station}/{frame.epoch}/{frame.n}",
        FRAME,
        f"/gateway/{frame.slot}/{frame.claim}",
        frame.identity,
        frame.received_at,
    )
    headers["subprotocol"] = frame.subprotocol
    headers["message_id"] = frame.message_id
    if frame.kind != "call":
        headers["kind"] = frame.kind
    if frame.action:
        headers["action"] = frame.action
    if frame.refused:
        headers["refused"] = frame.refused
    if frame.sealed:
        headers[SEALED] = "1"
    return NewRecord(
        topics.frames(service),
        topics.partition_of(frame.station, partitions),
        frame.station,
        frame.frame,
        _trace(headers, frame.traceparent),
    )


def receipt_record(receipt: Receipt, service: str, partitions: int) -> NewRecord:
    """The record of a receipt, on the frames topic of the service that owns the command's action."""
    headers = ce_headers(
        f"{receipt.station}/{receipt.epoch}/{receipt.command_id}/{receipt.what}",
        RECEIPT,
        f"/gateway/{receipt.slot}",
        receipt.station,
        receipt.received_at,
    )
    headers["slot"] = str(receipt.slot)
    headers["epoch"] = str(receipt.epoch)
    headers["command_id"] = receipt.command_id
    headers["action"] = receipt.action
    headers["what"] = receipt.what
    return NewRecord(
        topics.frames(service),
        topics.partition_of(receipt.station, partitions),
        receipt.station,
        receipt.reason.encode(),
        _trace(headers, receipt.traceparent),
    )


def refusal_record(refusal: Refusal, number: int, partitions: int) -> NewRecord:
    """The record of a refused handshake, on the device service's frames topic. `number` tells a gateway's own apart."""
    key = topics.normalise(refusal.identity)
    id_ = f"{key}/{refusal.slot}/{refusal.at}/{number}/refused"
    headers = ce_headers(id_, REFUSAL, f"/gateway/{refusal.slot}", refusal.identity, refusal.at)
    partition = topics.partition_of(key, partitions)
    return NewRecord(topics.frames("device"), partition, key, msgspec.json.encode(refusal), headers)


def parse_frame(record: Record) -> Frame | Receipt | Refusal:
    """A record of a frames topic; BadRecord if it is none."""
    h = record.headers
    try:
        if h["ce_type"] != FRAME:
            return _parse_note(record)
        _, epoch, n = h["ce_id"].rsplit("/", 2)
        _, _, slot, claim = h["ce_source"].split("/")
        return Frame(
            record.key,
            h["ce_subject"],
            int(slot),
            int(epoch),
            int(n),
            h["subprotocol"],
            from_rfc3339(h["ce_time"]),
            h.get("kind", "call"),  # type: ignore[arg-type]
            h["message_id"],
            h.get("action", ""),
            h.get("refused", ""),
            record.value,
            h.get("traceparent", ""),
            int(claim),
            SEALED in h,
        )
    except (KeyError, ValueError) as error:
        raise BadRecord(f"{record.topic}/{record.partition}/{record.position}: {error!r}") from error


def _parse_note(record: Record) -> Receipt | Refusal:
    """What a gateway says of itself among the frames."""
    h = record.headers
    if h["ce_type"] == REFUSAL:
        return parse_json(record, Refusal)
    if h["ce_type"] != RECEIPT:
        raise ValueError(f"{h['ce_type']} is no type of this topic")
    return Receipt(
        record.key,
        int(h["slot"]),
        int(h["epoch"]),
        from_rfc3339(h["ce_time"]),
        h["command_id"],
        h["action"],
        h["what"],  # type: ignore[arg-type]
        record.value.decode(),
        h.get("traceparent", ""),
    )


def outbound_record(out: OutFrame, service: str, at: int) -> NewRecord:
    """The record of a frame for a station; its partition is the gateway's slot.

    `ce_id` is `station/epoch/message id/kind`; a message id may have slashes of its own.
    """
    headers = ce_headers(
        f"{out.station}/{out.epoch}/{out.message_id}/{out.kind}", OUTBOUND, f"/{service}", out.station, at
    )
    headers["action"] = out.action
    if out.timeout_ms:
        headers["timeout_ms"] = str(out.timeout_ms)
    if out.registration:
        headers["registration"] = out.registration
    if out.sealed:
        headers[SEALED] = "1"
    return NewRecord(topics.OUTBOUND, out.slot, out.station, out.frame, _trace(headers, out.traceparent))


def parse_outbound(record: Record) -> OutFrame:
    """A record of the outbound topic; BadRecord if it is none."""
    h = record.headers
    try:
        _, epoch, rest = h["ce_id"].split("/", 2)
        message_id, _, kind = rest.rpartition("/")
        return OutFrame(
            record.key,
            record.partition,
            int(epoch),
            kind,  # type: ignore[arg-type]
            message_id,
            h["action"],
            record.value,
            int(h.get("timeout_ms", "0")),
            h.get("registration"),  # type: ignore[arg-type]
            SEALED in h,
            h.get("traceparent", ""),
        )
    except (KeyError, ValueError) as error:
        raise BadRecord(f"{record.topic}/{record.partition}/{record.position}: {error!r}") from error


def connection_record(change: ConnectionChange, partitions: int) -> NewRecord:
    """The record of a connection's coming or going, in the station's partition."""
    key = topics.normalise(change.identity)
    state = "connected" if change.connected else f"disconnected/{change.epoch}"
    id_ = f"{key}/{change.slot}/{change.claim}/{change.at}/{state}"
    headers = ce_headers(id_, CONNECTION, f"/gateway/{change.slot}", change.identity, change.at)
    return NewRecord(
        topics.CONNECTIONS, topics.partition_of(key, partitions), key, msgspec.json.encode(change), headers
    )


def lease_record(lease: GatewayLease, at: int) -> NewRecord:
    """The record of a claim, renewal or release of a slot."""
    headers = ce_headers(
        f"{lease.slot}/{lease.gateway}/{at}", GATEWAY, f"/gateway/{lease.gateway}", str(lease.slot), at
    )
    return NewRecord(topics.GATEWAYS, 0, str(lease.slot), msgspec.json.encode(lease), headers)


def request_record(request: Request, service: str, partitions: int) -> NewRecord:
    """The record of a write wanted from `service`."""
    headers = ce_headers(request.id, request.type, request.source, request.key, request.received_at)
    if request.actor:
        headers["actor"] = request.actor
    if request.fingerprint:
        headers["fingerprint"] = request.fingerprint
    if request.asked:
        headers["asked"] = " ".join(request.asked)
    return NewRecord(
        topics.requests(service),
        topics.partition_of(request.key, partitions),
        request.key,
        request.body,
        _trace(headers, request.traceparent),
    )


def parse_request(record: Record) -> Request:
    """A record of a requests topic; BadRecord if it is none."""
    h = record.headers
    try:
        return Request(
            h["ce_id"],
            h["ce_type"],
            record.key,
            record.value,
            from_rfc3339(h["ce_time"]),
            h["ce_source"],
            h.get("actor", ""),
            h.get("fingerprint", ""),
            h.get("traceparent", ""),
            Asked(*h["asked"].split(" ")) if "asked" in h else None,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadRecord(f"{record.topic}/{record.partition}/{record.position}: {error!r}") from error


def parse_json(record: Record, type_: type[T]) -> T:
    """The JSON value of a record as one of the structs above; BadRecord if it does not fit."""
    try:
        return msgspec.json.decode(record.value, type=type_)
    except msgspec.DecodeError as error:
        raise BadRecord(f"{record.topic}/{record.partition}/{record.position}: {error}") from error


def state_record(
    topic: str, key: str, value: Mapping[str, object], source: str, id_: str, at: int, partitions: int
) -> NewRecord:
    """A record of a compacted state topic: the newest state under its key."""
    type_ = f"{topic}.v1"
    return NewRecord(
        topic,
        topics.partition_of(key, partitions),
        key,
        msgspec.json.encode(value),
        ce_headers(id_, type_, source, key, at),
    )


def origin(id_: str) -> tuple[str, int]:
    """The cell that made an event, `service/cell`, and the event's number there, from the `ce_id` of a record that
    follows from it; ("", -1) if no event's id stands there."""
    source, _, number = id_.rpartition("/")
    service, _, cell = source.rpartition("/")
    if service and cell.isdecimal() and number.isdecimal():
        return source, int(number)
    return "", -1


class _State(msgspec.Struct):
    deleted: bool = False


_state = msgspec.json.Decoder(_State)


def is_deletion(value: bytes) -> bool:
    """Whether a record of a compacted topic says that its key is gone: `deleted: true`, or Kafka's tombstone."""
    if not value:
        return True
    try:
        return b"deleted" in value and _state.decode(value).deleted
    except msgspec.DecodeError:
        return False  # no state at all, such as a key's fingerprint
