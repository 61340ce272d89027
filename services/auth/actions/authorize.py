"""Authorize (C01, C02, C04, C06, C09, C16, I01): whether this idToken may charge at this station now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import MISSING

from ocppcore import topics
from ocppcore.authorization import NO_AUTHORIZATION, IdTokenInfo, TokenState, Where, decide
from ocppcore.contracts.auth import AuthorizationDecided
from ocppcore.contracts.device import StationState
from ocppcore.id_token_info import to_wire
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import ActionHandler, Context, Lookup, Outcome, View
from ocppcore.v201 import AuthorizeRequest, AuthorizeResponse
from services.auth.domain import tariff_text

UNVERIFIABLE = "CertChainError"


@dataclass(frozen=True)
class Authorize:
    """The action with what the installation sets: the key of pseudonyms and the master-pass group (C16)."""

    pseudonyms: Pseudonyms
    master_pass_group: str = ""

    def handler(self) -> ActionHandler[AuthorizeRequest]:
        return ActionHandler(AuthorizeRequest, self.on_authorize, lookups=self.lookups)

    def lookups(self, request: AuthorizeRequest, station: str) -> Sequence[Lookup]:
        """The token, the tariffs, and the station for the types of its connectors and what it shows."""
        pseudonym = self._pseudonym(request)
        where = tariff_text.lookups(station)
        return ((topics.TOKENS, pseudonym), *where) if pseudonym else where

    def on_authorize(self, request: AuthorizeRequest, view: View, context: Context) -> Outcome:
        """The answer, always with a status (C01.FR.07), and the event that says what it was decided on.

        A contract certificate cannot be verified here: CertChainError with Invalid (C07.FR.17).
        """
        pseudonym = self._pseudonym(request)
        with_certificate = request.certificate is not MISSING or request.iso15118CertificateHashData is not MISSING
        info = IdTokenInfo(status="Invalid") if with_certificate else self._decide(request, pseudonym, view, context)
        info, tariff = tariff_text.show(info, pseudonym, view, context)
        decided = AuthorizationDecided(
            at=context.now,
            station=context.identity,
            token=pseudonym,
            token_type=request.idToken.type,
            status=info.status,
            group=info.group,
            evses=info.evses,
            certificate_status=UNVERIFIABLE if with_certificate else "",
            tariff=tariff,
            token_position=view.copy_position(topics.TOKENS, pseudonym) if pseudonym else -1,
            station_position=view.copy_position(topics.STATIONS, context.station) if pseudonym else -1,
        )
        fields: dict[str, Any] = {"certificateStatus": UNVERIFIABLE} if with_certificate else {}
        return Outcome((decided,), reply=AuthorizeResponse(idTokenInfo=to_wire(info), **fields))

    def _decide(self, request: AuthorizeRequest, pseudonym: str, view: View, context: Context) -> IdTokenInfo:
        if not pseudonym:
            return decide(request.idToken.type, None, Where(context.station, context.now))
        token = view.copy(topics.TOKENS, TokenState, pseudonym)
        station = view.copy(topics.STATIONS, StationState, context.station)
        where = Where(context.station, context.now, evse_types=station.evse_types if station else {})
        return decide(request.idToken.type, token, where, master_pass_group=self.master_pass_group)

    def _pseudonym(self, request: AuthorizeRequest) -> str:
        token = request.idToken
        return "" if token.type == NO_AUTHORIZATION else self.pseudonyms.of(token.type, token.idToken)
