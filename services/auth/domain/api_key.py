"""API keys: who may use the HTTP APIs, as what, for which stations, until when. Only their stored form is ever here."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import msgspec

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.auth import (
    ApiKeyChanged,
    ApiKeyCreated,
    ApiKeyRevoked,
    ApiKeyState,
    ChangeApiKey,
    PutApiKey,
    RevokeApiKey,
)
from ocppcore.service import Aggregate, Context, Drop, Need, Outcome, Put, Result, View, problem


class ApiKey(Aggregate, frozen=True, kw_only=True):
    """id = the key's id, which is no secret."""

    KIND: ClassVar[str] = "ApiKey"
    state: ApiKeyState


def needs(id_: str) -> Sequence[Need]:
    return ((ApiKey, id_),)


def put(wanted: PutApiKey, view: View, context: Context) -> Outcome:
    """Create, or replace under the same id: 201, 200; 422 for one that has expired. The same once more is no event."""
    if wanted.expires_at is not None and wanted.expires_at <= context.now:
        return Outcome(result=problem(422, "Invalid request", "body.expiresAt: must lie ahead"))
    old = view.get(ApiKey, wanted.id)
    state = ApiKeyState(
        id=wanted.id,
        hash=wanted.hash,
        scope=wanted.scope,
        name=wanted.name,
        stations=wanted.stations,
        expires_at=wanted.expires_at,
        created_at=old.state.created_at if old and old.state.hash == wanted.hash else context.now,
    )
    result = Result(200 if old else 201, represent(state))
    if old is not None and old.state == state:
        return Outcome(result=result)
    return Outcome((ApiKeyCreated(at=context.now, state=state, actor=context.actor),), result=result)


def change(wanted: ChangeApiKey, view: View, context: Context) -> Outcome:
    """Disable or enable it: 200, 404."""
    old = view.get(ApiKey, context.station)
    if old is None:
        return _unknown(context)
    state = msgspec.structs.replace(old.state, disabled=wanted.disabled)
    changed = ApiKeyChanged(at=context.now, state=state, actor=context.actor)
    return Outcome(() if state == old.state else (changed,), result=Result(200, represent(state)))


def revoke(_: RevokeApiKey, view: View, context: Context) -> Outcome:
    """It opens nothing from now on: 204, 404."""
    old = view.get(ApiKey, context.station)
    if old is None:
        return _unknown(context)
    revoked = ApiKeyRevoked(at=context.now, id=old.state.id, scope=old.state.scope, actor=context.actor)
    return Outcome((revoked,), result=Result(204))


def _unknown(context: Context) -> Outcome:
    return Outcome(result=problem(404, "Unknown API key", f"no API key has the id {context.station}"))


def represent(state: ApiKeyState) -> dict[str, object]:
    """A key as the API shows it: never its hash."""
    return {
        "id": state.id,
        "scope": state.scope,
        "name": state.name,
        "stations": None if state.stations is None else list(state.stations),
        "disabled": state.disabled,
        "createdAt": to_rfc3339(state.created_at),
        "expiresAt": None if state.expires_at is None else to_rfc3339(state.expires_at),
    }


def evolve(event: ApiKeyCreated | ApiKeyChanged, _: View) -> Iterable[Put]:
    yield Put(event.state.id, ApiKey(state=event.state))


def evolve_revoked(event: ApiKeyRevoked, _: View) -> Iterable[Drop]:
    yield Drop(ApiKey, event.id)
