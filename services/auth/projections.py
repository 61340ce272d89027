"""What can be asked about tokens and API keys, and their state records for other services. Pure."""

from collections.abc import Iterable

import msgspec

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.contracts.auth import (
    ApiKeyChanged,
    ApiKeyCreated,
    ApiKeyRevoked,
    ApiKeyState,
    TokenChanged,
    TokenRegistered,
    TokenRemoved,
)
from ocppcore.envelope import state_record
from ocppcore.log import NewRecord
from ocppcore.service import Event, Follow, View
from ocppcore.store import Delete, Table, Upsert
from services.auth.domain.api_key import represent as represent_key
from services.auth.domain.token import represent

TOKENS = Table(
    "tokens",
    {
        "token": "text",
        "type": "text",
        "status": "text",
        "group_id": "text",
        "sealed": "text",
        "entry": "jsonb",
        "changed_at": "bigint",
    },
    key=("token",),
    indexes=(("type", "token"), ("status", "token"), ("group_id", "token")),
)
"""`token`: the pseudonym; `group_id`: normalised, "" without; `sealed`: the value, readable while the driver's key is
there; `entry`: the token as the API shows it."""

API_KEYS = Table("api_keys", {"id": "text", "entry": "jsonb"}, key=("id",))
"""`entry`: the key as the API shows it."""

TABLES = (TOKENS, API_KEYS)


def project_token(event: TokenRegistered | TokenChanged, _: View) -> Iterable[Upsert]:
    state = event.state
    group = topics.normalise(state.group.id_token) if state.group else ""
    entry = msgspec.json.encode(represent(state)).decode()
    yield Upsert(TOKENS, (event.token, state.type, state.status, group, state.sealed, entry, event.at))


def project_removed(event: TokenRemoved, _: View) -> Iterable[Delete]:
    yield Delete(TOKENS, (event.token,))


def project_api_key(event: ApiKeyCreated | ApiKeyChanged, _: View) -> Iterable[Upsert]:
    entry = msgspec.json.encode(represent_key(event.state)).decode()
    yield Upsert(API_KEYS, (event.state.id, entry))


def project_revoked(event: ApiKeyRevoked, _: View) -> Iterable[Delete]:
    yield Delete(API_KEYS, (event.id,))


def derive_token(event: TokenRegistered | TokenChanged, follow: Follow) -> Iterable[NewRecord]:
    yield _record(topics.TOKENS, event, event.state, follow)


def derive_token_removed(event: TokenRemoved, follow: Follow) -> Iterable[NewRecord]:
    yield _record(topics.TOKENS, event, TokenState(type=event.type, status="Unknown", deleted=True), follow)


def derive_api_key(event: ApiKeyCreated | ApiKeyChanged, follow: Follow) -> Iterable[NewRecord]:
    yield _record(topics.APIKEYS, event, event.state, follow)


def derive_revoked(event: ApiKeyRevoked, follow: Follow) -> Iterable[NewRecord]:
    gone = ApiKeyState(id=event.id, hash="", scope=event.scope, created_at=event.at, deleted=True)
    yield _record(topics.APIKEYS, event, gone, follow)


def _record(topic: str, event: Event, state: TokenState | ApiKeyState, follow: Follow) -> NewRecord:
    value = msgspec.to_builtins(state)
    return state_record(topic, event.subject(), value, "/auth", follow.id, event.at, follow.partitions)
