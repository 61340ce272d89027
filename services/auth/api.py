"""HTTP API of auth: idTokens and API keys. No rules."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Final, cast
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Path, Query, Response

from ocppcore.authorization import AuthorizationStatus
from ocppcore.contracts.auth import ChangeApiKey, PatchToken, PutApiKey, PutToken, RemoveToken, RevokeApiKey
from ocppcore.http.auth import hash_key, require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import Problem, documented
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import StateKey, Store, Value
from ocppcore.topics import normalise
from services.auth.bodies import (
    ApiKeyMade,
    ApiKeyPatch,
    ApiKeyShown,
    IdToken,
    NewApiKey,
    TokenBody,
    TokenPatch,
    TokenShown,
    TokenType,
)
from services.auth.domain.token import DriverKey
from services.auth.drivers import Drivers, Sealed
from services.auth.projections import API_KEYS, TOKENS

KEY_PREFIX: Final = "csms_"
KEY_BYTES: Final = 32

KindPath = Annotated[TokenType, Path(alias="type")]
TokenPath = Annotated[IdToken, Path(alias="idToken", description="Compared in any case")]
ApiKeyId = Annotated[str, Path(alias="keyId", pattern=r"^[0-9A-Za-z_-]{1,64}$")]
Row = dict[str, Value]


def router(store: Store, pseudonyms: Pseudonyms, drivers: Drivers, password_key: bytes) -> APIRouter:
    """The routes under `/auth`; `password_key` is `CSMS_PASSWORD_KEY`."""
    made = APIRouter()
    made.include_router(_tokens(store, pseudonyms, drivers))
    made.include_router(_api_keys(store, password_key))
    return made


def _tokens(store: Store, pseudonyms: Pseudonyms, drivers: Drivers) -> APIRouter:
    made = APIRouter(tags=["tokens"])

    @made.put(
        "/tokens/{type}/{idToken:path}", summary="Create or replace a token", response_model=TokenShown,
        responses=RESPONSES | {201: {"model": TokenShown}},
    )  # fmt: skip
    async def put(
        kind: KindPath, value: TokenPath, body: TokenBody, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """What is not said gets its default. Stations that it names must be registered."""
        _no_driver(value, body)
        pseudonym = pseudonyms.of(kind, value)
        sealed = drivers.seal(pseudonym, value)
        asked = PutToken(state=body.state(kind, sealed.value), driver_key=sealed.key)
        operation, _ = await write.outcome(PutToken.NAME, pseudonym, asked, write.wait_s)
        if operation is None:
            return write.pending({})
        return write.answer(operation, f"/auth/tokens/{kind}/{quote(value, safe='')}", {"idToken": value})

    @made.patch(
        "/tokens/{type}/{idToken:path}", summary="Change some fields of a token", response_model=TokenShown,
        responses=RESPONSES | documented(404),
    )  # fmt: skip
    async def change(
        kind: KindPath, value: TokenPath, body: TokenPatch, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """So a program sets a status, or what a driver may still spend, and leaves the rest."""
        _no_driver(value, body)
        operation, _ = await write.outcome(PatchToken.NAME, pseudonyms.of(kind, value), body.patch(kind), write.wait_s)
        return write.pending({}) if operation is None else write.answer(operation, "", {"idToken": value})

    @made.delete(
        "/tokens/{type}/{idToken:path}",
        status_code=204,
        summary="Remove a token",
        responses=RESPONSES | documented(404),
    )
    async def remove(kind: KindPath, value: TokenPath, write: Annotated[Write, writing("operator")]) -> Response:
        """It is unknown from then on, and its value cannot be read any more, in no event ever written."""
        return await write(RemoveToken.NAME, pseudonyms.of(kind, value), RemoveToken())

    @made.get(
        "/tokens/{type}/{idToken:path}", summary="A token", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def token(kind: KindPath, value: TokenPath) -> TokenShown:
        rows = await store.select(TOKENS, {"token": pseudonyms.of(kind, value)}, limit=1)
        if not rows:
            raise Problem(404, "No such token is registered.", title="Unknown token")
        return (await shown(rows))[0]

    @made.get("/tokens", summary="All tokens", dependencies=[require("viewer")], responses=documented(401, 403, 422))
    async def tokens(
        page: Annotated[Wanted, wanted(str)],
        kind: Annotated[TokenType | None, Query(alias="type")] = None,
        status: AuthorizationStatus | None = None,
        group: Annotated[str | None, Query(max_length=36, description="The idToken of its groupIdToken")] = None,
    ) -> Page[TokenShown]:
        """In an order that says nothing."""
        asked = {"type": kind, "status": status, "group_id": normalise(group) if group else None}
        where = {column: value for column, value in asked.items() if value is not None}
        rows = await store.select(TOKENS, where, after=cast(Any, page.after), limit=page.limit + 1)
        found = page.page(rows, lambda row: (cast(str, row["token"]),))
        return Page(items=await shown(found.items), next=found.next)

    async def shown(rows: Sequence[Row]) -> list[TokenShown]:
        """With their values, where the drivers' keys are there."""
        keys = await store.load([StateKey(DriverKey.KIND, cast(str, row["token"])) for row in rows])
        return [TokenShown(**_json(row["entry"]), idToken=value_of(row, keys)) for row in rows]

    def value_of(row: Row, keys: Any) -> str | None:
        pseudonym, sealed = cast(str, row["token"]), cast(str, row["sealed"])
        data = keys.get(StateKey(DriverKey.KIND, pseudonym))
        if data is None or not sealed:
            return None
        return drivers.open(pseudonym, Sealed(sealed, msgspec.json.decode(data, type=DriverKey).sealed))

    return made


def _api_keys(store: Store, password_key: bytes) -> APIRouter:
    made = APIRouter(tags=["API keys"])

    @made.post("/apikeys", status_code=201, summary="Make an API key", response_model=ApiKeyMade, responses=RESPONSES)
    async def create(body: NewApiKey, write: Annotated[Write, writing("admin")]) -> Response:
        """The key is in this answer only: what is kept tells whether a key is the right one, not what it is."""
        key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
        id_ = hashlib.blake2b(write.request_id.encode(), digest_size=8).hexdigest()
        asked = body.put(id_, hash_key(key, password_key))
        return await write(PutApiKey.NAME, id_, asked, location=f"/auth/apikeys/{id_}", once={"key": key})

    @made.get("/apikeys", summary="All API keys", dependencies=[require("admin")], responses=documented(401, 403, 422))
    async def keys(page: Annotated[Wanted, wanted(str)]) -> Page[ApiKeyShown]:
        rows = await store.select(API_KEYS, after=cast(Any, page.after), limit=page.limit + 1)
        found = page.page(rows, lambda row: (cast(str, row["id"]),))
        return Page(items=[ApiKeyShown(**_json(row["entry"])) for row in found.items], next=found.next)

    @made.patch(
        "/apikeys/{keyId}", summary="Disable or enable an API key", response_model=ApiKeyShown,
        responses=RESPONSES | documented(404),
    )  # fmt: skip
    async def change(id_: ApiKeyId, body: ApiKeyPatch, write: Annotated[Write, writing("admin")]) -> Response:
        """The administrator's own key is enabled again at the next start."""
        return await write(ChangeApiKey.NAME, id_, ChangeApiKey(disabled=body.disabled))

    @made.delete(
        "/apikeys/{keyId}", status_code=204, summary="Revoke an API key", responses=RESPONSES | documented(404)
    )
    async def revoke(id_: ApiKeyId, write: Annotated[Write, writing("admin")]) -> Response:
        return await write(RevokeApiKey.NAME, id_, RevokeApiKey())

    return made


def _no_driver(value: str, body: TokenBody) -> None:
    """Events name groups in clear, for ever: a driver that is erased must not be among them."""
    group = body.groupIdToken
    if group is not None and normalise(group.idToken) == normalise(value):
        detail = "body.groupIdToken.idToken: must not be the idToken itself, which could not be erased from a group"
        raise Problem(422, detail, title="Invalid token")


def _json(text: Value) -> Any:
    return msgspec.json.decode(cast(str, text))
