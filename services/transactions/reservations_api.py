"""HTTP API of reservations (block H): asked for, given up, listed. No rules."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

import msgspec
import orjson
from fastapi import APIRouter, Path, Query, Response

from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.commands import Ask
from ocppcore.contracts.device import ConnectorState, connector_key
from ocppcore.contracts.reservations import CancelReservation, Reserve
from ocppcore.http.auth import Caller, require
from ocppcore.http.commands import CommandDesk, Registered
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import Problem, documented
from ocppcore.http.progress import Begun, Row, begin, look
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from services.transactions.domain.reservation import RESERVATIONS, reference_of
from services.transactions.reservation_bodies import ID_MAX, ReservationShown, ReserveAtBody, ReserveBody, Shown

REPEATS: Final = 3
"""How often a station that comes back may be told again."""
CONNECTORS_SHOWN: Final = 8
EFFECT_S: Final = 5.0
"""An answer waits so long for the EVSE to be shown as Reserved, or no longer."""
WAITING: Final = ("asked", "cancelling")

StationPath = Annotated[str, Path(alias="stationId", max_length=48)]
IdPath = Annotated[int, Path(alias="reservationId", ge=1, le=ID_MAX)]


def router(store: Store, desk: CommandDesk, pseudonyms: Pseudonyms) -> APIRouter:
    """The routes under `/reservations` and `/stations/{stationId}/reservations`."""
    made = APIRouter(tags=["reservations"])
    _reading(made, store)
    asking = _Asking(store, desk, pseudonyms)
    responses = RESPONSES | documented(404, 409)

    @made.post("/reservations", summary="Reserve", response_model=ReservationShown, responses=responses)
    async def reserve_at(body: ReserveAtBody, write: Annotated[Write, writing("operator")]) -> Response:
        """Answers when the station has: 200 whatever it said (`state`); 409 and 422 where it was not asked."""
        if not write.caller.reaches(normalise(body.stationId)):
            raise Problem(404, "No such station is registered.")
        return await asking.reserve(body.stationId, body, write)

    @made.post(
        "/stations/{stationId}/reservations", summary="Reserve", response_model=ReservationShown, responses=responses
    )
    async def reserve(
        body: ReserveBody, station: StationPath, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """Answers when the station has: 200 whatever it said (`state`); 409 and 422 where it was not asked."""
        return await asking.reserve(station, body, write)

    @made.delete(
        "/stations/{stationId}/reservations/{reservationId}", summary="Give a reservation up",
        response_model=ReservationShown, responses=responses,
    )  # fmt: skip
    async def cancel(
        station: StationPath, reservation_id: IdPath, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """Answers when the station has: `state` cancelled, or what it is now with the `reason`."""
        return await asking.cancel(station, reservation_id, write)

    return made


def _reading(made: APIRouter, store: Store) -> None:
    async def listed(page: Wanted, asked: Mapping[str, Value], caller: Caller | None) -> Page[ReservationShown]:
        rows = await store.select(
            RESERVATIONS,
            {column: value for column, value in asked.items() if value is not None},
            after=cast(Any, page.after),
            order=("asked_at",),
            descending=True,
            limit=page.limit + 1,
            among=caller.among("station") if caller is not None else None,
        )
        found = page.page(rows, lambda row: cast(Any, (row["asked_at"], row["station"], row["reservation_id"])))
        return Page(items=[await show(store, row) for row in found.items], next=found.next)

    @made.get("/reservations", summary="All reservations", responses=documented(401, 403, 422))
    async def reservations(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str, int)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        state: Shown | None = None,
        evse: Annotated[int | None, Query(alias="evseId", ge=1, le=ID_MAX)] = None,
        token: Annotated[str | None, Query(max_length=64, description="Pseudonym of the idToken")] = None,
    ) -> Page[ReservationShown]:
        """Those asked for last come first."""
        asked = {"station": normalise(station) if station else None, "state": state, "evse_id": evse, "token": token}
        return await listed(page, asked, caller)

    @made.get(
        "/stations/{stationId}/reservations", summary="A station's reservations", dependencies=[require("viewer")],
        responses=documented(401, 403, 422),
    )  # fmt: skip
    async def of_station(
        station: StationPath, page: Annotated[Wanted, wanted(int, str, int)], state: Shown | None = None
    ) -> Page[ReservationShown]:
        """Those asked for last come first."""
        return await listed(page, {"station": normalise(station), "state": state}, None)

    @made.get(
        "/stations/{stationId}/reservations/{reservationId}", summary="A reservation",
        dependencies=[require("viewer")], responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def reservation(station: StationPath, reservation_id: IdPath) -> ReservationShown:
        row = await _row(store, normalise(station), reservation_id)
        if row is None:
            raise Problem(404, "This station has no such reservation.")
        return await show(store, row)


class _Asking:
    """Asks for a reservation or its end, and waits for what becomes of it."""

    def __init__(self, store: Store, desk: CommandDesk, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._desk = desk
        self._pseudonyms = pseudonyms

    async def reserve(self, station_id: str, body: ReserveBody, write: Write) -> Response:
        station = await self._desk.station(station_id)
        reservation_id = body.reservationId or secrets.randbelow(ID_MAX) + 1
        expires_at = round(body.expiryDateTime.timestamp() * 1000)
        payload: dict[str, Any] = {
            "id": reservation_id,
            "expiryDateTime": to_rfc3339(expires_at),
            "idToken": body.idToken.model_dump(),
        }
        if body.groupIdToken is not None:
            payload["groupIdToken"] = body.groupIdToken.model_dump()
        if body.evseId is not None:
            payload["evseId"] = body.evseId
        if body.connectorType is not None:
            payload["connectorType"] = body.connectorType
        frame = orjson.dumps(payload)
        wanted_one = Reserve(
            reservation_id=reservation_id,
            ask=self._ask(station, frame, reservation_id, "reserve", queue_for_ms=body.queueFor * 1000),
            again=tuple(self._ask(station, frame, reservation_id, "repeat") for _ in range(REPEATS)),
            token=self._pseudonyms.of(body.idToken.type, body.idToken.idToken),
            token_type=body.idToken.type,
            expires_at=expires_at,
            evse_id=body.evseId,
            connector_type=body.connectorType or "",
            group=normalise(body.groupIdToken.idToken) if body.groupIdToken else "",
            group_type=body.groupIdToken.type if body.groupIdToken else "",
            replace=body.reservationId is not None,
            evses=tuple((evse.id, tuple(one.id for one in evse.connectors)) for evse in station.evses),
        )
        return await self._asked(write, Reserve.NAME, station, reservation_id, wanted_one)

    async def cancel(self, station_id: str, reservation_id: int, write: Write) -> Response:
        station = await self._desk.station(station_id)
        payload = orjson.dumps({"reservationId": reservation_id})
        reference = reference_of(station.key, reservation_id, "cancel")
        ask = self._desk.ask(station, "CancelReservation", payload, reply_service="transactions", reference=reference)
        body = CancelReservation(reservation_id=reservation_id, ask=ask)
        return await self._asked(write, CancelReservation.NAME, station, reservation_id, body)

    def _ask(self, station: Registered, frame: bytes, reservation_id: int, what: str, **more: Any) -> Ask:
        reference = reference_of(station.key, reservation_id, what)
        return self._desk.ask(station, "ReserveNow", frame, reply_service="transactions", reference=reference, **more)

    async def _asked(
        self, write: Write, type_: str, station: Registered, reservation_id: int, body: msgspec.Struct
    ) -> Response:
        begun = await begin(write, type_, station.key, body)
        if isinstance(begun, Response):
            return begun
        reservation_id = begun.body["reservationId"]
        shown = await self._settled(station.key, reservation_id, begun)
        status = 202 if shown.state in WAITING else 200
        location = f"/transactions/stations/{shown.stationId}/reservations/{reservation_id}"
        return Response(shown.model_dump_json(), status, {"Location": location}, "application/json")

    async def _settled(self, station: str, reservation_id: int, begun: Begun) -> ReservationShown:
        """Once the station has answered, and shows it on the EVSE; or as it is when the caller waits no longer."""

        async def at() -> Row:
            row = await _row(self._store, station, reservation_id)
            assert row is not None, f"reservation {reservation_id} of {station} has no row"
            return row

        async def effect() -> ReservationShown:
            return await show(self._store, await at())

        row = await look(at, lambda row: row["state"] not in WAITING, begun.left_s())
        if row["state"] in WAITING:
            return await show(self._store, row)
        return await look(effect, lambda found: found.shown is not False, min(begun.left_s(), EFFECT_S))


async def _row(store: Store, station: str, reservation_id: int) -> Row | None:
    rows = await store.select(RESERVATIONS, {"station": station, "reservation_id": reservation_id}, limit=1)
    return rows[0] if rows else None


async def show(store: Store, row: Row) -> ReservationShown:
    """A row as the API shows it, with what the station shows of the EVSE."""
    shown = None
    if row["state"] == "active" and row["evse_id"] is not None:
        shown = await _is_shown(store, str(row["station"]), int(row["evse_id"]))
    return ReservationShown.model_validate(
        {
            "stationId": row["identity"],
            "reservationId": row["reservation_id"],
            "state": row["state"],
            "evseId": row["evse_id"],
            "connectorType": row["connector_type"],
            "token": row["token"],
            "tokenType": row["token_type"],
            "group": row["group_id"],
            "expiryDateTime": _time(row["expires_at"]),
            "reason": row["reason"],
            "transactionId": row["transaction_id"],
            "shown": shown,
            "commandId": row["command_id"],
            "askedAt": _time(row["asked_at"]),
            "changedAt": _time(row["changed_at"]),
        }
    )


async def _is_shown(store: Store, station: str, evse_id: int) -> bool:
    """Whether the EVSE, or a connector of it, is Reserved by the station's own word."""
    keys = [connector_key(station, evse_id, connector) for connector in range(CONNECTORS_SHOWN)]
    rows = await store.copy_find(topics.CONNECTORS, keys)
    states = [msgspec.json.decode(row.value, type=ConnectorState) for row in rows.values() if row.value]
    return any(state.status == "Reserved" for state in states)


def _time(ms: Value) -> str | None:
    return None if ms is None else to_rfc3339(int(ms))
