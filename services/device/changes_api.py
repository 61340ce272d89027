"""HTTP API of what stations connect with: passwords and security profiles change as whole operations. No rules."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from fastapi import APIRouter, Body, Path, Query, Request, Response

from ocppcore.clock import to_rfc3339
from ocppcore.contracts.device import RotatePassword, UpgradeProfile
from ocppcore.http.auth import Caller, require
from ocppcore.http.commands import CommandDesk
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import FieldError, Problem, documented
from ocppcore.http.progress import Progress, Row
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.store import Store
from ocppcore.topics import normalise
from services.device.bodies import StationId
from services.device.changes_bodies import ChangeShown, RotateBody, UpgradeBody
from services.device.domain.changes import CHANGES, ROTATION_OPEN, UPGRADE_OPEN
from services.device.domain.rotation import PASSWORD_CHARACTERS
from services.device.passwords import Passwords
from services.device.projections import STATIONS
from services.device.settings import Settings

TLS_PORT: Final = 9443

InForce = Callable[[float], Awaitable[bool]]
"""Waits, at most so many seconds, until what was decided is in force at the gateways; False: it is not yet."""
Identity = Annotated[StationId, Path(alias="stationId", description="The station's identity, in any case")]


def router(store: Store, desk: CommandDesk, passwords: Passwords, settings: Settings, in_force: InForce) -> APIRouter:
    """The routes under `/device`."""
    made = APIRouter(tags=["credentials"])
    changes = Progress(store, CHANGES, (*ROTATION_OPEN, *UPGRADE_OPEN))

    @made.post(
        "/stations/{stationId}/password:rotate", summary="Give a station another password",
        response_model=ChangeShown, responses=RESPONSES | documented(404, 409),
    )  # fmt: skip
    async def rotate(
        identity: Identity,
        write: Annotated[Write, writing("operator")],
        body: Annotated[RotateBody | None, Body()] = None,
    ) -> Response:
        """Answers when the new password is in force, or the old one is confirmed. Nobody is shown the password."""
        station = await desk.station(identity)
        length = (body.length if body else None) or min(PASSWORD_CHARACTERS, await longest(station.key))
        return await begin(write, RotatePassword.NAME, station.key, passwords.rotation(station.id, length))

    @made.post(
        "/stations/{stationId}/security-profile:upgrade", summary="Have a station connect with a higher profile",
        response_model=ChangeShown, responses=RESPONSES | documented(404, 409),
    )  # fmt: skip
    async def upgrade(
        identity: Identity, body: UpgradeBody, request: Request, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """Answers when the station came with the new profile, or will not; until it came, both are admitted."""
        station = await desk.station(identity)
        url = body.ocppCsmsUrl or settings.ocpp_url or f"wss://{request.url.hostname}:{TLS_PORT}/ocpp"
        if not url.startswith("wss://"):
            fault = FieldError("body.ocppCsmsUrl", "security profiles 2 and 3 need wss://")
            raise Problem(422, f"{fault.field}: {fault.detail}", errors=[fault])
        asked = UpgradeProfile(
            operation_id=uuid.uuid4().hex,
            security_profile=body.securityProfile,
            url=url,
            interface=body.ocppInterface,
            message_timeout_s=body.messageTimeout,
            slot=body.configurationSlot,
            prepared=body.prepared,
            assured=body.assured,
            reset=body.reset,
            downgrade=settings.allow_security_profile_downgrade,
            wait_ms=body.effectWithin * 1000,
        )
        return await begin(write, UpgradeProfile.NAME, station.key, asked)

    @made.get("/credential-changes", summary="Changes of passwords and profiles", responses=documented(401, 403, 422))
    async def listed(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        kind: Literal["password", "securityProfile"] | None = None,
        state: Annotated[str | None, Query(max_length=20)] = None,
    ) -> Page[ChangeShown]:
        """The newest first."""
        asked = {"station": normalise(station) if station else None, "kind": kind, "state": state}
        rows = await store.select(
            CHANGES,
            {column: value for column, value in asked.items() if value is not None},
            after=cast(Any, page.after),
            order=("asked_at",),
            descending=True,
            limit=page.limit + 1,
            among=caller.among("station"),
        )
        found = page.page(rows, lambda row: cast(Any, (row["asked_at"], row["operation_id"])))
        return Page(items=[_shown(row) for row in found.items], next=found.next)

    @made.get(
        "/credential-changes/{operationId}", summary="What became of a change", responses=documented(401, 403, 404)
    )
    async def one(
        operation_id: Annotated[str, Path(alias="operationId", max_length=36)],
        caller: Annotated[Caller, require("viewer", within=True)],
    ) -> ChangeShown:
        row = await changes.row(operation_id)
        if row is None or not caller.reaches(str(row["station"])):
            raise Problem(404, "No such change of a password or profile.")
        return _shown(row)

    async def longest(key: str) -> int:
        """How many characters the station said that a password may have."""
        rows = await store.select(STATIONS, {"station": key}, limit=1)
        return int(cast(int, rows[0]["password_max"] or PASSWORD_CHARACTERS)) if rows else PASSWORD_CHARACTERS

    async def begin(write: Write, type_: str, key: str, body: msgspec.Struct) -> Response:
        place = "/device/credential-changes"
        return await changes.asked(write, type_, key, body, show=_shown, place=place, in_force=in_force)

    return made


def _shown(row: Row) -> ChangeShown:
    return ChangeShown.model_validate(
        {
            "operationId": row["operation_id"],
            "stationId": row["identity"],
            "kind": row["kind"],
            "state": row["state"],
            "reason": row["reason"],
            "commandId": row["command_id"],
            "fromProfile": row["from_profile"],
            "toProfile": row["to_profile"],
            "askedAt": to_rfc3339(cast(int, row["asked_at"])),
            "changedAt": to_rfc3339(cast(int, row["changed_at"])),
            "actor": row["actor"],
        }
    )
