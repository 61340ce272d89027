"""HTTP API of signed meter values: the keys of meters, and the verdicts. No rules."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, cast

from fastapi import APIRouter, Path, Query, Response

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.metering import RegisterMeterKey, RemoveMeterKey
from ocppcore.http.auth import Caller, require
from ocppcore.http.commands import CommandDesk
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import Problem, documented
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from services.transactions.domain.ocmf import read_key, spelled
from services.transactions.domain.signed_values import KEYS, SIGNED
from services.transactions.meter_bodies import MeterKeyBody, MeterKeyShown, SignedShown

EVSE_MAX: Final = 2**31 - 1
KEYS_SHOWN_MAX: Final = 100

StationPath = Annotated[str, Path(alias="stationId", max_length=48)]
EvsePath = Annotated[int, Path(alias="evseId", ge=0, le=EVSE_MAX)]
Row = Mapping[str, Value]


def router(store: Store, desk: CommandDesk) -> APIRouter:
    """The routes under `/stations/{stationId}/evses/{evseId}/meter-keys` and `/signed-values`."""
    made = APIRouter(tags=["meter values"])
    place = "/stations/{stationId}/evses/{evseId}/meter-keys"
    responses = RESPONSES | documented(404, 409)

    @made.post(place, summary="Register a meter's key", response_model=MeterKeyShown, responses=responses)
    async def register(
        body: MeterKeyBody, station: StationPath, evse: EvsePath, write: Annotated[Write, writing("admin")]
    ) -> Response:
        """Signed values of the EVSE that come from now on are verified by it, beside those registered before."""
        found = await desk.station(station)
        try:
            key = read_key(body.publicKey)
        except ValueError as error:
            raise Problem(422, f"body.publicKey: {error}", title="Not a key") from None
        wanted_key = RegisterMeterKey(evse_id=evse, fingerprint=key.fingerprint, public_key=spelled(key))
        location = f"/transactions/stations/{found.id}/evses/{evse}/meter-keys/{key.fingerprint}"
        return await write(RegisterMeterKey.NAME, found.key, wanted_key, location=location)

    @made.delete(f"{place}/{{fingerprint}}", summary="Remove a meter's key", status_code=204, responses=responses)
    async def remove(
        station: StationPath,
        evse: EvsePath,
        fingerprint: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
        write: Annotated[Write, writing("admin")],
    ) -> Response:
        """Verdicts that were given stay."""
        found = await desk.station(station)
        return await write(RemoveMeterKey.NAME, found.key, RemoveMeterKey(evse_id=evse, fingerprint=fingerprint))

    @made.get(place, summary="A meter's keys", dependencies=[require("viewer")], responses=documented(401, 403, 422))
    async def keys(station: StationPath, evse: EvsePath) -> list[MeterKeyShown]:
        where: dict[str, Value] = {"station": normalise(station), "evse_id": evse}
        rows = await store.select(KEYS, where, limit=KEYS_SHOWN_MAX)
        return [
            MeterKeyShown(evseId=evse, fingerprint=str(row["fingerprint"]), publicKey=str(row["public_key"]))
            for row in rows
        ]

    @made.get("/signed-values", summary="Verdicts on signed meter values", responses=documented(401, 403, 422))
    async def signed(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str, int, str)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        transaction: Annotated[str | None, Query(alias="transactionId", max_length=36)] = None,
        verdict: Literal["valid", "invalid", "unverified", "unsupported", "malformed"] | None = None,
    ) -> Page[SignedShown]:
        """Those judged last come first."""
        asked: dict[str, Value] = {
            "station": normalise(station) if station else None,
            "transaction_key": normalise(transaction) if transaction else None,
            "verdict": verdict,
        }
        rows = await store.select(
            SIGNED,
            {column: value for column, value in asked.items() if value is not None},
            after=cast(Any, page.after),
            order=("judged_at",),
            descending=True,
            limit=page.limit + 1,
            among=caller.among("station"),
        )
        found = page.page(
            rows, lambda row: cast(Any, tuple(row[of] for of in ("judged_at", "station", "taken_at", "digest")))
        )
        return Page(items=[_shown(row) for row in found.items], next=found.next)

    return made


def _shown(row: Row) -> SignedShown:
    return SignedShown.model_validate(
        {
            "stationId": row["station"],
            "evseId": row["evse_id"],
            "takenAt": to_rfc3339(int(row["taken_at"] or 0)),
            "transactionId": row["transaction_id"],
            "seqNo": row["seq_no"],
            "verdict": row["verdict"],
            "reason": row["reason"],
            "fingerprint": row["fingerprint"],
            "claimed": row["claimed"],
            "meter": row["meter"],
            "pagination": row["pagination"],
            "wh": row["wh"],
            "status": row["status"],
            "agrees": row["agrees"],
            "digest": row["digest"],
            "judgedAt": to_rfc3339(int(row["judged_at"] or 0)),
        }
    )
