"""Remote start and stop as whole operations (F01-F03): asked, answered by the station, and its effect seen.

The effect of a start is a transaction that carries the remoteStartId; that of a stop is the transaction's end, or an
event that names RemoteStop as its trigger where the stop point lies later (the cable is still in).
"""

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from ocppcore import topics
from ocppcore.authorization import TokenState, Where, decide
from ocppcore.command_end import Ended
from ocppcore.commands import commands, spelled
from ocppcore.contracts.device import StationState
from ocppcore.contracts.transactions import RemoteAsked, RemoteMoved, RemoteStart, RemoteState, RemoteStop
from ocppcore.service import (
    NOTHING,
    Aggregate,
    Context,
    Drop,
    Event,
    Lookup,
    Need,
    Outcome,
    Put,
    Result,
    Timer,
    View,
    problem,
)
from ocppcore.store import Table, Upsert
from ocppcore.wire import load_json
from services.transactions.domain.transaction import Transaction, transaction_key

WAIT = "remote-effect"

REMOTE = Table(
    "remote",
    {
        "operation_id": "text",
        "station": "text",
        "identity": "text",
        "kind": "text",
        "state": "text",
        "command_id": "text",
        "remote_start_id": "bigint",
        "transaction_id": "text",
        "evse_id": "bigint",
        "token": "text",
        "reason": "text",
        "asked_at": "bigint",
        "changed_at": "bigint",
        "actor": "text",
        "warnings": "jsonb",
    },
    ("operation_id",),
    indexes=(("station", "asked_at"),),
)


class Remote(Aggregate, frozen=True, kw_only=True):
    """One remote start or stop that waits for its effect; id = `start_key` or `stop_key`."""

    KIND: ClassVar[str] = "Remote"
    asked: RemoteAsked
    state: RemoteState = "asked"
    transaction_id: str = ""

    @property
    def key(self) -> str:
        return key_of(self.asked)


def start_key(station: str, remote_start_id: int) -> str:
    """Under which a start waits for its transaction."""
    return f"{station}/start/{remote_start_id}"


def stop_key(station: str, transaction_id: str) -> str:
    """Under which a stop waits for its transaction's end."""
    return f"{transaction_key(station, transaction_id)}/stop"


def start_lookups(body: RemoteStart, station: str) -> tuple[Lookup, ...]:
    return ((topics.TOKENS, body.token), (topics.STATIONS, station))


def _doubts(body: RemoteStart, view: View, context: Context) -> Iterable[str]:
    """Whether the idToken would be accepted once the transaction starts with it (F01.FR.03): it is judged then."""
    station = view.copy(topics.STATIONS, StationState, context.station)
    types = station.evse_types if station else {}
    token = view.copy(topics.TOKENS, TokenState, body.token)
    where = Where(context.station, context.now, evse=body.evse_id, evse_types=types, purpose="start")
    info = decide(body.token_type, token, where)
    if info.status != "Accepted":
        yield f"idToken: would be answered {info.status} now, the station stops what it starts with it (F01.FR.03)"


def start_needs(body: RemoteStart, station: str) -> tuple[Need, ...]:
    return ((Remote, start_key(station, body.remote_start_id)),)


def stop_needs(body: RemoteStop, station: str) -> tuple[Need, ...]:
    return (
        (Remote, stop_key(station, body.transaction_id)),
        (Transaction, transaction_key(station, body.transaction_id)),
    )


def start(body: RemoteStart, view: View, context: Context) -> Outcome:
    """Ask the station to start; the remoteStartId must be free at this station (F01.FR.25)."""
    if view.get(Remote, start_key(context.station, body.remote_start_id)):
        detail = f"remoteStartId {body.remote_start_id} waits for its transaction: choose another one"
        return Outcome(result=problem(409, "remoteStartId in use", detail))
    asked = RemoteAsked(
        at=context.now,
        station=context.station,
        operation_id=body.operation_id,
        command_id=body.ask.command_id,
        due=context.now + body.wait_ms,
        warnings=(*body.ask.warnings, *_doubts(body, view, context)),
        remote_start_id=body.remote_start_id,
        token=body.token,
        token_type=body.token_type,
        evse_id=body.evse_id,
        actor=context.actor,
        identity=spelled(body.ask.identity, context),
    )
    return _asked(asked, commands("transactions").ask(body.ask, view, context))


def stop(body: RemoteStop, view: View, context: Context) -> Outcome:
    """Ask the station to stop a transaction that is open, or was never heard of (the station knows better)."""
    if view.get(Remote, stop_key(context.station, body.transaction_id)):
        return Outcome(result=problem(409, "Already asked", "a remote stop of this transaction waits for its effect"))
    held = view.get(Transaction, transaction_key(context.station, body.transaction_id))
    if held is not None and held.ended:
        return Outcome(result=problem(409, "Already ended", f"transaction {held.transaction_id} has ended"))
    asked = RemoteAsked(
        at=context.now,
        station=context.station,
        operation_id=body.operation_id,
        command_id=body.ask.command_id,
        due=context.now + body.ask.queue_for_ms + body.wait_ms,
        wait_ms=body.wait_ms,
        warnings=body.ask.warnings,
        transaction_id=body.transaction_id,
        actor=context.actor,
        identity=spelled(body.ask.identity, context),
    )
    return _asked(asked, commands("transactions").ask(body.ask, view, context))


def _asked(asked: RemoteAsked, command: Outcome) -> Outcome:
    return Outcome(
        (asked, *command.events),
        calls=command.calls,
        puts=command.puts,
        result=Result(202, {"operationId": asked.operation_id}),
    )


def ended_needs(body: Ended, station: str) -> tuple[Need, ...]:
    return ((Remote, body.reference),)


def command_ended(body: Ended, view: View, context: Context) -> Outcome:
    """The station answered, or will not."""
    remote = view.get(Remote, body.reference)
    if remote is None or remote.state != "asked":
        return NOTHING
    if body.status != "answered":
        error = load_json(body.error)
        detail = f": {error.get('description') or error.get('code')}" if isinstance(error, dict) else ""
        return Outcome((_moved(remote, context, "failed", reason=body.status + detail),))
    response = load_json(body.response)
    if response.get("status") != "Accepted":
        reason = response.get("statusInfo", {}).get("reasonCode", "") or str(response.get("status"))
        return Outcome((_moved(remote, context, "rejected", reason=reason),))
    transaction_id = response.get("transactionId") or remote.asked.transaction_id
    return Outcome((_moved(remote, context, "accepted", transaction_id=transaction_id),))


def seen(key: str, view: View, context: Context, transaction_id: str) -> Iterable[Event]:
    """A TransactionEvent shows the effect that an operation may be waiting for."""
    remote = view.get(Remote, key)
    if remote is not None:
        yield _moved(remote, context, "seen", transaction_id=transaction_id)


def expire(subject: str, view: View, context: Context) -> Outcome:
    """No effect within the time given."""
    remote = view.get(Remote, subject)
    if remote is None:
        return NOTHING
    return Outcome((_moved(remote, context, "no_effect", reason="no effect was seen in time"),))


def _moved(
    remote: Remote, context: Context, state: RemoteState, *, transaction_id: str = "", reason: str = ""
) -> RemoteMoved:
    return RemoteMoved(
        at=context.now,
        station=remote.asked.station,
        operation_id=remote.asked.operation_id,
        key=remote.key,
        state=state,
        transaction_id=transaction_id,
        reason=reason,
    )


def key_of(asked: RemoteAsked) -> str:
    if asked.remote_start_id is not None:
        return start_key(asked.station, asked.remote_start_id)
    return stop_key(asked.station, asked.transaction_id)


def evolve_asked(event: RemoteAsked, view: View) -> Iterable[Put | Drop | Timer]:
    yield Put(key_of(event), Remote(asked=event, transaction_id=event.transaction_id))
    yield Timer(WAIT, key_of(event), event.due)


def evolve_moved(event: RemoteMoved, view: View) -> Iterable[Put | Drop | Timer]:
    remote = view.get(Remote, event.key)
    assert remote is not None, f"no remote operation {event.key}"
    if event.state == "accepted":
        if remote.asked.wait_ms:
            yield Timer(WAIT, event.key, event.at + remote.asked.wait_ms)
        transaction_id = event.transaction_id or remote.transaction_id
        yield Put(event.key, msgspec.structs.replace(remote, state=event.state, transaction_id=transaction_id))
        return
    yield Drop(Remote, event.key)
    yield Timer(WAIT, event.key, None)


def project_asked(event: RemoteAsked, view: View) -> Iterable[Upsert]:
    yield _row(event, "asked", event.at, event.transaction_id, "")


def project_moved(event: RemoteMoved, view: View) -> Iterable[Upsert]:
    remote = view.get(Remote, event.key)
    assert remote is not None, f"no remote operation {event.key}"
    yield _row(remote.asked, event.state, event.at, event.transaction_id or remote.transaction_id, event.reason)


def _row(asked: RemoteAsked, state: RemoteState, at: int, transaction_id: str, reason: str) -> Upsert:
    row = (
        asked.operation_id,
        asked.station,
        asked.identity or asked.station,
        "start" if asked.remote_start_id is not None else "stop",
        state,
        asked.command_id,
        asked.remote_start_id,
        transaction_id or None,
        asked.evse_id,
        asked.token or None,
        reason or None,
        asked.at,
        at,
        asked.actor,
        msgspec.json.encode(asked.warnings).decode(),
    )
    return Upsert(REMOTE, row)


def moved_needs(event: RemoteMoved) -> tuple[Need, ...]:
    return ((Remote, event.key),)


def asked_needs(event: RemoteAsked) -> tuple[Need, ...]:
    return ((Remote, key_of(event)),)
