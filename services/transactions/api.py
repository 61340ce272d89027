"""HTTP API of transactions: what stations reported is read here, remote starts and stops are asked for. No rules."""

import secrets
import uuid
from datetime import datetime
from itertools import chain, islice
from typing import Annotated, Any, Final, Literal, cast

import msgspec
import orjson
from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime

from ocppcore.authorization import CENTRAL, Group
from ocppcore.clock import to_rfc3339
from ocppcore.contracts.inquiries import Grade
from ocppcore.contracts.transactions import REMOTE_START, REMOTE_STOP, RemoteStart, RemoteStop
from ocppcore.http.auth import Caller, require
from ocppcore.http.commands import CommandDesk
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import FieldError, Problem, documented
from ocppcore.http.progress import Progress, Row
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.pseudonym import Pseudonyms
from ocppcore.store import StateKey, Store, Value
from ocppcore.topics import normalise
from services.transactions import charge_details_api
from services.transactions.bodies import (
    ChargeLineShown,
    CostShown,
    IdTokenBody,
    RemoteShown,
    RemoteStartBody,
    RemoteStopBody,
    TransactionShown,
)
from services.transactions.central_ids import Issue
from services.transactions.domain.cost import Agreement, bill_of
from services.transactions.domain.rating import Bill
from services.transactions.domain.remote import REMOTE, start_key, stop_key
from services.transactions.domain.transaction import TRANSACTIONS, Transaction, transaction_key

NUMBERS_SHOWN_MAX: Final = 10_000
NUMBERS_LISTED_MAX: Final = 100
"""Of each transaction in a list: a page of 500 stays small whatever stations number."""
REMOTE_START_ID_MAX: Final = 2**31 - 1
WAITING: Final = ("asked", "accepted")

StationPath = Annotated[str, Path(alias="stationId", max_length=48)]
TransactionPath = Annotated[str, Path(alias="transactionId", max_length=36)]


def router(store: Store, desk: CommandDesk, pseudonyms: Pseudonyms, issue: Issue | None = None) -> APIRouter:
    """The routes under `/transactions`; `issue`: who gives ids to remote starts that name none (None: nobody)."""
    made = APIRouter()
    made.include_router(_reading(store))
    made.include_router(_remote(store, desk, pseudonyms, issue))
    made.include_router(charge_details_api.router(store, pseudonyms))
    return made


def _reading(store: Store) -> APIRouter:
    made = APIRouter(tags=["transactions"])

    @made.get("/transactions", summary="All transactions", responses=documented(401, 403, 422))
    async def transactions(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str, str)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        state: Literal["open", "ended"] | None = None,
        evse: Annotated[int | None, Query(alias="evseId", ge=0, le=2**31 - 1)] = None,
        completeness: Grade | None = None,
        token: Annotated[str | None, Query(max_length=64, description="Pseudonym of the idToken")] = None,
        since: Annotated[AwareDatetime | None, Query(description="`heardAt` then or later")] = None,
        until: Annotated[AwareDatetime | None, Query(description="`heardAt` before then")] = None,
    ) -> Page[TransactionShown]:
        """Those that were first heard of last come first: in the order of `heardAt`, descending."""
        asked: dict[str, Value] = {
            "station": normalise(station) if station else None,
            "state": state,
            "evse_id": evse,
            "grade": completeness,
            "token": token,
        }
        where = {column: value for column, value in asked.items() if value is not None}
        rows = await store.select(
            TRANSACTIONS,
            where,
            after=cast(Any, page.after) or (None if until is None else (milliseconds(until), "", "")),
            order=("heard_at",),
            descending=True,
            limit=page.limit + 1,
            among=caller.among("station"),
        )
        rows = [row for row in rows if since is None or int(row["heard_at"] or 0) >= milliseconds(since)]
        found = page.page(rows, lambda row: cast(Any, (row["heard_at"], row["station"], row["key"])))
        return Page(items=[_shown(row, NUMBERS_LISTED_MAX) for row in found.items], next=found.next)

    @made.get(
        "/transactions/{stationId}/{transactionId:path}", summary="A transaction", dependencies=[require("viewer")],
        responses=documented(401, 403, 404, 422),
    )  # fmt: skip
    async def transaction(station: StationPath, transaction_id: TransactionPath) -> TransactionShown:
        where: dict[str, Value] = {"station": normalise(station), "key": normalise(transaction_id)}
        rows = await store.select(TRANSACTIONS, where, limit=1)
        if not rows:
            raise Problem(404, "This station has reported no such transaction.", title="Unknown transaction")
        shown = _shown(rows[0], NUMBERS_SHOWN_MAX)
        if shown.cost is not None:
            shown.cost = await _trace(store, station, transaction_id) or shown.cost
        return shown

    return made


async def _trace(store: Store, station: str, transaction_id: str) -> CostShown | None:
    """The cost with its lines, rated again from what is kept."""
    key = transaction_key(normalise(station), transaction_id)
    held, agreed = StateKey(Transaction.KIND, key), StateKey(Agreement.KIND, key)
    found = await store.load([held, agreed])
    if held not in found or agreed not in found:
        return None
    agreement = msgspec.json.decode(found[agreed], type=Agreement)
    transaction = msgspec.json.decode(found[held], type=Transaction)
    bill = bill_of(transaction, agreement.tariffs, agreement.zone)
    return None if bill is None else _cost_shown(bill)


def _cost_shown(bill: Bill) -> CostShown:
    return CostShown(
        currency=bill.currency,
        exclVat=format(bill.excl_vat, "f"),
        inclVat=format(bill.incl_vat, "f"),
        limit=bill.limit or None,
        lines=list(map(ChargeLineShown.of, bill.lines)),
    )


def _remote(store: Store, desk: CommandDesk, pseudonyms: Pseudonyms, issue: Issue | None) -> APIRouter:
    made = APIRouter(tags=["remote control"])
    remotes = Progress(store, REMOTE, WAITING)

    @made.post(
        "/stations/{stationId}/remote-start", summary="Start a transaction from here", response_model=RemoteShown,
        responses=RESPONSES | documented(404, 409),
    )  # fmt: skip
    async def remote_start(
        body: RemoteStartBody, station: StationPath, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """Answers when the transaction that carries the remoteStartId was seen, or will not come."""
        found = await desk.station(station)
        remote_start_id, operation_id = secrets.randbelow(REMOTE_START_ID_MAX) + 1, str(uuid.uuid4())
        id_token = await id_token_of(body, found.key, write)
        payload: dict[str, Any] = {"remoteStartId": remote_start_id, "idToken": id_token.model_dump()}
        if body.groupIdToken:
            payload["groupIdToken"] = body.groupIdToken.model_dump()
        if body.evseId is not None:
            payload["evseId"] = body.evseId
        if body.chargingProfile is not None:
            payload["chargingProfile"] = _tx_profile(body.chargingProfile)
        ask = desk.ask(
            found,
            "RequestStartTransaction",
            orjson.dumps(payload),
            reply_service="transactions",
            reference=start_key(found.key, remote_start_id),
        )
        wanted_start = RemoteStart(
            operation_id=operation_id,
            remote_start_id=remote_start_id,
            ask=ask,
            token=pseudonyms.of(id_token.type, id_token.idToken),
            token_type=id_token.type,
            wait_ms=body.effectWithin * 1000,
            evse_id=body.evseId,
        )
        return await asked(write, REMOTE_START, found.key, wanted_start)

    @made.post(
        "/stations/{stationId}/remote-stop", summary="Stop a transaction from here", response_model=RemoteShown,
        responses=RESPONSES | documented(404, 409),
    )  # fmt: skip
    async def remote_stop(
        body: RemoteStopBody, station: StationPath, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """Answers when the transaction's end was seen, or will not come; a station that is away hears of it later."""
        found = await desk.station(station)
        ask = desk.ask(
            found,
            "RequestStopTransaction",
            orjson.dumps({"transactionId": body.transactionId}),
            reply_service="transactions",
            reference=stop_key(found.key, body.transactionId),
            queue_for_ms=body.queueFor * 1000,
        )
        wanted_stop = RemoteStop(
            operation_id=str(uuid.uuid4()),
            transaction_id=body.transactionId,
            ask=ask,
            wait_ms=body.effectWithin * 1000,
        )
        return await asked(write, REMOTE_STOP, found.key, wanted_stop)

    @made.get(
        "/remote/{operationId}", summary="What became of a remote start or stop", responses=documented(401, 403, 404)
    )
    async def remote(
        operation_id: Annotated[str, Path(alias="operationId", max_length=36)],
        caller: Annotated[Caller, require("viewer", within=True)],
    ) -> RemoteShown:
        row = await remotes.row(operation_id)
        if row is None or not caller.reaches(str(row["station"])):
            raise Problem(404, "No such remote start or stop.")
        return _remote_shown(row)

    async def id_token_of(body: RemoteStartBody, station: str, write: Write) -> IdTokenBody:
        """The one that was given, or one that is issued (F01.FR.04: a start has one)."""
        if body.idToken is not None and not body.issueIdToken:
            return body.idToken
        group = body.groupIdToken
        if issue is None or body.idToken is not None or not body.issueIdToken:
            fault = FieldError("body.idToken", "Field required, or issueIdToken, not both")
            raise Problem(422, f"{fault.field}: {fault.detail}", title="Invalid request", errors=[fault])
        named = Group(id_token=group.idToken, type=group.type) if group else None
        return IdTokenBody(idToken=await issue(station, named, write.caller.id), type=CENTRAL)

    async def asked(write: Write, type_: str, key: str, body: msgspec.Struct) -> Response:
        return await remotes.asked(write, type_, key, body, show=_remote_shown, place="/transactions/remote")

    return made


def _tx_profile(profile: dict[str, Any]) -> dict[str, Any]:
    """F01.FR.09, F01.FR.11 and their likes in F02: a TxProfile, and without a transactionId."""
    if profile.get("chargingProfilePurpose") != "TxProfile":
        raise Problem(422, "body.chargingProfile.chargingProfilePurpose must be TxProfile (F01.FR.09).")
    if "transactionId" in profile:
        raise Problem(422, "body.chargingProfile.transactionId must be absent: there is none yet (F01.FR.11).")
    return profile


def _shown(row: Row, numbers_max: int) -> TransactionShown:
    return TransactionShown.model_validate(
        {
            "stationId": row["identity"],
            "transactionId": row["transaction_id"],
            "state": row["state"],
            "evseId": row["evse_id"],
            "connectorId": row["connector_id"],
            "startedAt": _time(row["started_at"]),
            "endedAt": _time(row["ended_at"]),
            "chargingState": row["charging_state"],
            "stoppedReason": row["stopped_reason"],
            "remoteStartId": row["remote_start_id"],
            "token": row["token"],
            "tokenType": row["token_type"],
            "meterStartWh": row["meter_start_wh"],
            "meterStopWh": row["meter_stop_wh"],
            "energyWh": row["energy_wh"],
            "meterDrops": row["meter_drops"],
            "seqNos": _numbers(row["seen"], numbers_max),
            "gaps": _numbers(row["gaps"], numbers_max),
            "gapsExact": row["gaps_exact"],
            "missing": row["missing"],
            "conflicts": row["conflicts"],
            "offline": row["offline"],
            "timeSpentCharging": row["time_spent_charging_s"],
            "completeness": row["grade"],
            "closedAt": _time(row["closed_at"]),
            "closedCause": row["closed_cause"],
            "gapsFinal": row["gaps_final"],
            "clockOffset": int(row["clock_offset_ms"] or 0) / 1000,
            "clockSteady": row["clock_steady"],
            "correctedStartedAt": _corrected(row, "started_at"),
            "correctedEndedAt": _corrected(row, "ended_at"),
            "cost": _cost(row),
            "heardAt": _time(row["heard_at"]),
            "changedAt": _time(row["changed_at"]),
        }
    )


def _cost(row: Row) -> dict[str, Value] | None:
    if row["currency"] is None:
        return None
    return {"currency": row["currency"], "exclVat": row["cost_excl_vat"], "inclVat": row["cost_incl_vat"]}


def _remote_shown(row: Row) -> RemoteShown:
    return RemoteShown.model_validate(
        {
            "operationId": row["operation_id"],
            "kind": row["kind"],
            "stationId": row["identity"],
            "state": row["state"],
            "commandId": row["command_id"],
            "remoteStartId": row["remote_start_id"],
            "transactionId": row["transaction_id"],
            "evseId": row["evse_id"],
            "reason": row["reason"],
            "warnings": orjson.loads(str(row["warnings"])) if row["warnings"] else [],
            "askedAt": _time(row["asked_at"]),
            "changedAt": _time(row["changed_at"]),
        }
    )


def _numbers(ranges: Value, most: int) -> list[int]:
    """The numbers of closed ranges, the first `most` of them."""
    numbers = chain.from_iterable(range(low, high + 1) for low, high in orjson.loads(str(ranges)))
    return list(islice(numbers, most))


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _corrected(row: Row, column: str) -> str | None:
    at = row[column]
    return None if at is None else to_rfc3339(int(at) + int(row["clock_offset_ms"] or 0))


def _time(ms: Value) -> str | None:
    return None if ms is None else to_rfc3339(int(ms))
