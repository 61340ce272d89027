"""HTTP API of device: stations are registered here, and what they last said is read here. No rules."""

import asyncio
import json
import secrets
import string
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, cast
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Path, Query, Response

from ocppcore import credentials
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.device import PatchStation, PutStation, RemoveStation
from ocppcore.http.auth import Caller, check_reach, require
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import Problem, documented
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from services.device.bodies import (
    NewStation,
    StationBody,
    StationId,
    StationListed,
    StationShown,
    StationWritten,
    StatusShown,
)
from services.device.domain.contact import CONTACTS
from services.device.projections import CONNECTORS, HISTORY, STATIONS

PASSWORD_CHARACTERS: Final = 32
CONNECTORS_SHOWN_MAX: Final = 1000
LABELS: Final = frozenset({"site", "groups"})
_ALPHABET: Final = string.ascii_letters + string.digits

Identity = Annotated[StationId, Path(alias="stationId", description="The station's identity, in any case")]
Row = dict[str, Value]


def router(store: Store, password_key: bytes) -> APIRouter:
    """The routes under `/device`; `password_key` is `CSMS_PASSWORD_KEY`."""
    made = APIRouter(tags=["stations"])

    async def hashed(body: StationBody) -> str | None:
        """The stored form of the password that was given; slow, so not in the event loop."""
        if "password" not in body.model_fields_set:
            return None
        return await asyncio.to_thread(credentials.hash_chosen, body.password, password_key)

    def check_beyond(write: Write, body: StationBody) -> None:
        """What a station's entry says of more than this station is for those who reach that too.

        With a controller of others one would guess its password at a station of one's own; with labels of others, by
        which rules for all stations go, one's own would be sent what is for theirs: a local list's idTokens.
        """
        if body.controller is not None:
            check_reach(write.caller, body.controller)
        if write.caller.stations is not None and LABELS & body.model_fields_set:
            raise Problem(403, "site and groups are for callers who reach all stations; this one reaches some only.")

    async def put(write: Write, identity: str, body: StationBody, *, create: bool) -> Response:
        check_beyond(write, body)
        spare = "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_CHARACTERS))
        asked = PutStation(
            identity=identity,
            fields=body.fields(await hashed(body)),
            spare=credentials.hash_generated(spare, password_key),
            create=create,
            lowers=write.caller.may("admin"),
        )
        operation, first = await write.outcome(PutStation.NAME, normalise(identity), asked, write.wait_s)
        once: dict[str, Any] = {"warnings": warnings} if (warnings := body.warnings()) else {}
        if operation is None:
            return write.pending(once | ({} if "password" in body.model_fields_set else {"password": spare}))
        if first and operation.status < 400 and orjson.loads(bytes(operation.body))["passwordMade"]:
            once["password"] = spare
        return write.answer(operation, f"/device/stations/{quote(identity, safe='')}", once)

    @made.post(
        "/stations", status_code=201, summary="Register a station", response_model=StationWritten,
        responses=RESPONSES | documented(409),
    )  # fmt: skip
    async def register(body: NewStation, write: Annotated[Write, writing("operator", within=True)]) -> Response:
        """Without `password` the CSMS makes one and shows it in this answer only. 409 if the id is registered.

        A lower `securityProfile` than it was removed with is for admins, as is switching on `allowUnauthenticated` and
        `allowExpiredCertificate`.
        """
        check_reach(write.caller, body.id)
        return await put(write, body.id, body, create=True)

    @made.put(
        "/stations/{stationId}", summary="Create or replace a station", response_model=StationWritten,
        responses=RESPONSES | {201: {"model": StationWritten}},
    )  # fmt: skip
    async def replace(identity: Identity, body: StationBody, write: Annotated[Write, writing("operator")]) -> Response:
        """What is not said gets its default; only a password that is set stays. A new station gets one as in POST.

        A lower `securityProfile`, and switching on `allowUnauthenticated` or `allowExpiredCertificate`, is for admins.
        """
        return await put(write, identity, body, create=False)

    @made.patch(
        "/stations/{stationId}", summary="Change a station", response_model=StationWritten,
        responses=RESPONSES | documented(404),
    )  # fmt: skip
    async def change(identity: Identity, body: StationBody, write: Annotated[Write, writing("operator")]) -> Response:
        """What is not said stays. Nothing is sent to the station; a change of its credentials closes its socket.

        A lower `securityProfile`, and switching on `allowUnauthenticated` or `allowExpiredCertificate`, is for admins.
        """
        check_beyond(write, body)
        asked = PatchStation(fields=body.fields(await hashed(body)), lowers=write.caller.may("admin"))
        once = {"warnings": warnings} if (warnings := body.warnings()) else None
        return await write(PatchStation.NAME, normalise(identity), asked, once=once)

    @made.delete(
        "/stations/{stationId}", status_code=204, summary="Remove a station", responses=RESPONSES | documented(404)
    )
    async def remove(identity: Identity, write: Annotated[Write, writing("operator")]) -> Response:
        """It is unknown from then on, its socket is closed. The history of its connectors stays, and what its
        `securityProfile` was: to register it anew with a lower one is for admins."""
        return await write(RemoveStation.NAME, normalise(identity), RemoveStation())

    @made.get("/stations", summary="All stations", responses=documented(401, 403, 422))
    async def stations(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(str)],
        boot: Annotated[str | None, Query(pattern="^(accepted|pending|rejected)$")] = None,
        registration: Annotated[str | None, Query(pattern="^(Accepted|Pending|Rejected)$")] = None,
        connected: bool | None = None,
    ) -> Page[StationListed]:
        """In the order of their ids."""
        asked = {"boot": boot, "registration": registration, "connected": connected}
        where = {column: value for column, value in asked.items() if value is not None}
        rows = await store.select(
            STATIONS, where, after=cast(Any, page.after), limit=page.limit + 1, among=caller.among("station")
        )
        found = page.page(rows, lambda row: (cast(str, row["station"]),))
        return Page(items=[StationListed.model_validate(_listed(row)) for row in found.items], next=found.next)

    @made.get(
        "/stations/{stationId}", summary="A station", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def station(identity: Identity) -> StationShown:
        """Registry, connection, last boot, and the status of every EVSE and connector that is registered or known."""
        key = normalise(identity)
        row = await known(key)
        connectors = await store.select(CONNECTORS, {"station": key}, limit=CONNECTORS_SHOWN_MAX)
        contacts = await store.select(CONTACTS, {"station": key}, limit=1)
        return StationShown.model_validate(_shown(row, connectors, contacts))

    @made.get(
        "/stations/{stationId}/status-history", summary="What its connectors were", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def history(
        identity: Identity,
        page: Annotated[Wanted, wanted(int, str, int, int, str)],
        evse: Annotated[int | None, Query(alias="evseId", ge=0, le=2**31 - 1)] = None,
        connector: Annotated[int | None, Query(alias="connectorId", ge=0, le=2**31 - 1)] = None,
    ) -> Page[StatusShown]:
        """Every status that was reported, by StatusNotification or NotifyEvent, newest first by the station's time."""
        key = normalise(identity)
        await known(key)
        asked: dict[str, Value] = {"station": key, "evse_id": evse, "connector_id": connector}
        where = {column: value for column, value in asked.items() if value is not None}
        rows = await store.select(
            HISTORY,
            where,
            after=cast(Any, page.after),
            order=("timestamp",),
            descending=True,
            limit=page.limit + 1,
        )
        found = page.page(rows, _history_key)
        return Page(items=[StatusShown.model_validate(_status(row)) for row in found.items], next=found.next)

    async def known(key: str) -> Row:
        rows = await store.select(STATIONS, {"station": key}, limit=1)
        if not rows:
            raise Problem(404, f"No station {key} is registered.", title="Unknown station")
        return rows[0]

    return made


def _listed(row: Row) -> dict[str, Any]:
    return {
        **_json(row["entry"]),
        "connection": _json(row["connection"]) if row["connection"] else {"connected": False},
        "lastBoot": _json(row["last_boot"]) if row["last_boot"] else None,
    }


def _shown(row: Row, connectors: Iterable[Row], contacts: Sequence[Row]) -> dict[str, Any]:
    shown = _listed(row)
    heard = {(cast(int, one["evse_id"]), cast(int, one["connector_id"])): one for one in connectors}
    own = heard.pop((0, 0), None)
    return shown | {
        "lastContact": to_rfc3339(cast(int, contacts[0]["last_contact_at"])) if contacts else None,
        "status": own["status"] if own else None,
        "evses": _evses(shown["evses"], heard),
    }


def _evses(registered: Iterable[dict[str, Any]], heard: dict[tuple[int, int], Row]) -> list[dict[str, Any]]:
    """Registered and learned EVSEs together, each with what was last heard of it."""
    types = {evse["id"]: {one["id"]: one.get("type") for one in evse.get("connectors", ())} for evse in registered}
    shown = []
    for evse in sorted({*types, *(place[0] for place in heard)}):
        places = sorted({*types.get(evse, {}), *(place[1] for place in heard if place[0] == evse and place[1])})
        connectors = [
            {"id": place, "type": types.get(evse, {}).get(place), **_present(heard.get((evse, place)))}
            for place in places
        ]
        present = _present(heard.get((evse, 0)))
        shown.append({"id": evse, "registered": evse in types, **present, "connectors": connectors})
    return shown


def _present(row: Row | None) -> dict[str, Any]:
    if row is None:
        return {"status": None, "timestamp": None}
    return {"status": row["status"], "timestamp": to_rfc3339(cast(int, row["timestamp"]))}


def _status(row: Row) -> dict[str, Any]:
    return {
        "evseId": row["evse_id"],
        "connectorId": row["connector_id"],
        "receivedAt": to_rfc3339(cast(int, row["received_at"])),
        "via": row["via"],
        **_present(row),
    }


def _history_key(row: Row) -> tuple[Any, ...]:
    return tuple(row[column] for column in ("timestamp", "station", "evse_id", "connector_id", "status"))


def _json(text: Value) -> Any:
    return json.loads(cast(str, text))  # what a station said may hold numbers beyond a double
