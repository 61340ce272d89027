"""HTTP API of certificates: the inventory, renewal (A02), revocation, and the authority that signs. No rules."""

import uuid
from datetime import datetime
from itertools import takewhile
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Path, Query, Response

from ocppcore.clock import Clock, to_rfc3339
from ocppcore.contracts.auth import CertificateUse
from ocppcore.contracts.certificates import CertificateState, RenewCertificate, RevokeCertificate
from ocppcore.http.auth import Caller, check_reach, require
from ocppcore.http.commands import CommandDesk
from ocppcore.http.pages import Page, Wanted, wanted
from ocppcore.http.problems import Problem, documented
from ocppcore.http.progress import Progress, Row
from ocppcore.http.requests import RESPONSES, Write, writing
from ocppcore.store import Store, Value
from ocppcore.topics import normalise
from ocppcore.wire import DateTime
from services.auth.authority.local import LocalAuthority
from services.auth.certificate_bodies import (
    AuthorityShown,
    CertificateShown,
    CertificateWithChain,
    RenewalShown,
    RenewBody,
    RevokeBody,
)
from services.auth.domain.authority import AUTHORITIES
from services.auth.domain.certificate import CERTIFICATES, CHAINS
from services.auth.domain.certificate_renewal import MOVING, RENEWALS

AUTHORITIES_MAX: Final = 1000
REVOKED_PAGE: Final = 1000
REVOKED_MAX: Final = 100_000
"""Entries of a list; one more and the CA is to be replaced."""
PEM_TYPE: Final = "application/x-pem-file"
CRL_TYPE: Final = "application/pkix-crl"

StationPath = Annotated[str, Path(alias="stationId", max_length=48)]
Fingerprint = Annotated[str, Path(alias="fingerprint", pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the DER")]
OperationPath = Annotated[str, Path(alias="operationId", max_length=36)]


def router(store: Store, desk: CommandDesk, local: LocalAuthority | None, clock: Clock) -> APIRouter:
    """The routes under `/auth`; `local`: our own CA, if it signs."""
    made = APIRouter(tags=["certificates"])
    _inventory(made, store)
    _renewal(made, store, desk)
    _authority(made, store, local, clock)
    return made


def _inventory(made: APIRouter, store: Store) -> None:
    @made.get("/certificates", summary="Certificates of stations", responses=documented(401, 403, 422))
    async def certificates(
        caller: Annotated[Caller, require("viewer", within=True)],
        page: Annotated[Wanted, wanted(int, str)],
        station: Annotated[str | None, Query(alias="stationId", max_length=48)] = None,
        kind: Annotated[CertificateUse | None, Query(alias="certificateType")] = None,
        state: CertificateState | None = None,
        expires_before: Annotated[DateTime | None, Query(alias="expiresBefore")] = None,
    ) -> Page[CertificateShown]:
        """Those that expire first come first."""
        asked: dict[str, Value] = {"station": normalise(station) if station else None, "type": kind, "state": state}
        where = {column: value for column, value in asked.items() if value is not None}
        rows = await store.select(
            CERTIFICATES,
            where,
            after=cast(Any, page.after),
            order=("not_after",),
            limit=page.limit + 1,
            among=caller.among("station"),
        )
        until = _ms(expires_before)
        before = list(takewhile(lambda row: until is None or cast(int, row["not_after"]) < until, rows))
        found = page.page(before, lambda row: cast(Any, (row["not_after"], row["fingerprint"])))
        return Page(items=[CertificateShown(**_certificate(row)) for row in found.items], next=found.next)

    @made.get("/certificates/{fingerprint}", summary="A certificate", responses=documented(401, 403, 404, 422))
    async def certificate(
        fingerprint: Fingerprint, caller: Annotated[Caller, require("viewer", within=True)]
    ) -> CertificateWithChain:
        rows = await store.select(CERTIFICATES, {"fingerprint": fingerprint}, limit=1)
        chains = await store.select(CHAINS, {"fingerprint": fingerprint}, limit=1)
        if not rows or not chains:
            raise Problem(404, "No certificate with this fingerprint was issued.", title="Unknown certificate")
        check_reach(caller, str(rows[0]["station"]))
        return CertificateWithChain(**_certificate(rows[0]), certificateChain=str(chains[0]["chain"]))

    @made.post(
        "/stations/{stationId}/certificates/{fingerprint}:revoke", status_code=204, summary="Revoke a certificate",
        responses=RESPONSES | documented(404),
    )  # fmt: skip
    async def revoke(
        station: StationPath, fingerprint: Fingerprint, body: RevokeBody, write: Annotated[Write, writing("operator")]
    ) -> Response:
        """Gateways admit nobody with it any more. An external authority is asked to revoke it too, where it can be."""
        wanted_revocation = RevokeCertificate(fingerprint=fingerprint, reason=body.reason, crl_reason=body.crlReason)
        return await write(RevokeCertificate.NAME, normalise(station), wanted_revocation)


def _renewal(made: APIRouter, store: Store, desk: CommandDesk) -> None:
    renewals = Progress(store, RENEWALS, MOVING)

    @made.post(
        "/stations/{stationId}/certificate:renew", summary="Renew a station's certificate (A02)",
        response_model=RenewalShown, responses=RESPONSES | documented(404, 409),
    )  # fmt: skip
    async def renew(station: StationPath, body: RenewBody, write: Annotated[Write, writing("operator")]) -> Response:
        """Answers when the station has accepted its new certificate, or will not."""
        found = await desk.station(station)
        wanted_renewal = RenewCertificate(
            operation_id=str(uuid.uuid4()),
            command_id=str(uuid.uuid4()),
            certificate_type=body.certificateType,
            wait_ms=body.effectWithin * 1000,
            evse_id=body.evseId,
            identity=found.id,
        )
        return await renewals.asked(
            write, RenewCertificate.NAME, found.key, wanted_renewal,
            show=_renewal_shown, place=f"/auth/stations/{found.id}/certificate-renewals",
        )  # fmt: skip

    @made.get(
        "/stations/{stationId}/certificate-renewals/{operationId}", summary="What became of a renewal",
        dependencies=[require("viewer")], responses=documented(401, 403, 404),
    )  # fmt: skip
    async def renewal(station: StationPath, operation_id: OperationPath) -> RenewalShown:
        row = await renewals.row(operation_id)
        if row is None or row["station"] != normalise(station):
            raise Problem(404, "No such renewal at this station.")
        return _renewal_shown(row)


def _authority(made: APIRouter, store: Store, local: LocalAuthority | None, clock: Clock) -> None:
    @made.get(
        "/authority", summary="The CAs that sign for stations", dependencies=[require("viewer")],
        responses=documented(401, 403),
    )  # fmt: skip
    async def authority() -> list[AuthorityShown]:
        return [_authority_shown(row) for row in await store.select(AUTHORITIES, limit=AUTHORITIES_MAX)]

    @made.get(
        "/authority/certificates", summary="The same as a file", dependencies=[require("viewer")],
        response_class=Response, responses=documented(401, 403, 422) | _file(PEM_TYPE),
    )  # fmt: skip
    async def bundle(
        kind: Annotated[CertificateUse, Query(alias="certificateType")] = "ChargingStationCertificate",
    ) -> Response:
        """PEM: what a server must trust to know stations by their certificates."""
        rows = await store.select(AUTHORITIES, {"use": kind, "trusted": True}, limit=AUTHORITIES_MAX)
        return Response("".join(str(row["certificate"]) for row in rows), media_type=PEM_TYPE)

    @made.get(
        "/authority/crl", summary="Revoked certificates", dependencies=[require("viewer")],
        response_class=Response, responses=documented(401, 403, 404) | _file(CRL_TYPE),
    )  # fmt: skip
    async def crl() -> Response:
        """The CRL (DER) of the local authority's CA for stations, made now; another authority publishes its own."""
        issuer = await local.issuing_fingerprint() if local else ""
        if local is None or not issuer:
            raise Problem(404, "There is no local authority.", title="No local authority")
        made_now = await local.crl(await _revoked(store, issuer, clock()))
        assert made_now is not None, "it was there a moment ago"
        return Response(made_now, media_type=CRL_TYPE)


async def _revoked(store: Store, issuer: str, now: int) -> dict[int, int]:
    """Serial number -> when, of those that have not expired."""
    found: dict[int, int] = {}
    after: Any = None
    where: dict[str, Value] = {"issuer_fingerprint": issuer, "state": "revoked"}
    while len(found) <= REVOKED_MAX:
        rows = await store.select(CERTIFICATES, where, after=after, order=("not_after",), limit=REVOKED_PAGE)
        live = [row for row in rows if cast(int, row["not_after"]) > now]
        found |= {int(str(row["serial_number"]), 16): cast(int, row["changed_at"]) for row in live}
        if len(rows) < REVOKED_PAGE:
            return found
        after = (rows[-1]["not_after"], rows[-1]["fingerprint"])
    raise Problem(503, f"More than {REVOKED_MAX} certificates are revoked.", title="List too long")


def _certificate(row: Row) -> dict[str, Any]:
    return {
        "fingerprint": row["fingerprint"],
        "stationId": row["identity"],
        "certificateType": row["type"] or None,
        "serialNumber": row["serial_number"],
        "subject": row["subject"],
        "issuer": row["issuer"],
        "issuerFingerprint": row["issuer_fingerprint"],
        "state": row["state"],
        "reason": row["reason"],
        "authority": row["told"],
        "notBefore": _time(row["not_before"]),
        "notAfter": _time(row["not_after"]),
        "issuedAt": _time(row["issued_at"]),
        "changedAt": _time(row["changed_at"]),
    }


def _renewal_shown(row: Row) -> RenewalShown:
    return RenewalShown.model_validate(
        {
            "operationId": row["operation_id"],
            "stationId": row["identity"],
            "certificateType": row["type"],
            "state": row["state"],
            "commandId": row["command_id"],
            "evseId": row["evse_id"],
            "fingerprint": row["fingerprint"],
            "reason": row["reason"],
            "askedAt": _time(row["asked_at"]),
            "changedAt": _time(row["changed_at"]),
        }
    )


def _authority_shown(row: Row) -> AuthorityShown:
    return AuthorityShown.model_validate(
        {
            "fingerprint": row["fingerprint"],
            "kind": row["kind"],
            "certificateType": row["use"],
            "subject": row["subject"],
            "notAfter": _time(row["not_after"]),
            "trusted": row["trusted"],
            "since": _time(row["since"]),
            "certificate": row["certificate"],
        }
    )


def _file(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "The file", "content": {media_type: {"schema": {"type": "string"}}}}}


def _time(ms: Value) -> str:
    return to_rfc3339(cast(int, ms))


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
