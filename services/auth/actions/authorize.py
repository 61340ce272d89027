"""Authorize (C01, C02, C04, C06, C09, C16, I01): whether this idToken may charge at this station now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import MISSING

from ocppcore import asking
from ocppcore.authorization import KEY_CODE, NO_AUTHORIZATION, NO_RULES, IdTokenInfo, Rules, Where, decide
from ocppcore.contracts.auth import AuthorizationDecided
from ocppcore.id_token_info import to_wire
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import ActionHandler, Context, Event, Lookup, Need, Outcome, View
from ocppcore.v201 import AuthorizeRequest, AuthorizeResponse
from services.auth.domain import key_codes, tariff_text
from services.auth.domain.key_codes import NO_GUESSING, Guessing, KeyCodes

UNVERIFIABLE = "CertChainError"
NOBODY = asking.Found(None, Where("", 0))


@dataclass(frozen=True)
class Authorize:
    """The action with what the installation sets: the key of pseudonyms and the rules about idTokens."""

    pseudonyms: Pseudonyms
    rules: Rules = NO_RULES
    guessing: Guessing = NO_GUESSING

    @property
    def asker(self) -> asking.Asker:
        """For what is looked up."""
        return asking.Asker(self.pseudonyms, self.rules)

    def handler(self) -> ActionHandler[AuthorizeRequest]:
        return ActionHandler(
            AuthorizeRequest, self.on_authorize, needs=self.needs, lookups=self.lookups, further=self.further
        )

    def needs(self, request: AuthorizeRequest, station: str) -> Sequence[Need]:
        """How many wrong key codes were entered there."""
        return ((KeyCodes, station),) if request.idToken.type == KEY_CODE else ()

    def lookups(self, request: AuthorizeRequest, station: str) -> Sequence[Lookup]:
        """The token, what it has open, the tariffs, the station and what of it is occupied."""
        pseudonym = self._pseudonym(request)
        where = tariff_text.lookups(station)
        return (*asking.lookups(pseudonym, station), *asking.held_lookups(station), *where) if pseudonym else where

    def further(self, request: AuthorizeRequest, station: str, view: View) -> Sequence[Lookup]:
        """What the token's group has open."""
        pseudonym = self._pseudonym(request)
        return asking.further(view, pseudonym, self.asker) if pseudonym else ()

    def on_authorize(self, request: AuthorizeRequest, view: View, context: Context) -> Outcome:
        """The answer, always with a status (C01.FR.07), and the event that says what it was decided on.

        A contract certificate cannot be verified here: CertChainError with Invalid (C07.FR.17).
        """
        kind, pseudonym = request.idToken.type, self._pseudonym(request)
        with_certificate = request.certificate is not MISSING or request.iso15118CertificateHashData is not MISSING
        where = Where(context.station, context.now)
        if kind == KEY_CODE:
            where = where._replace(locked=key_codes.is_locked(view.get(KeyCodes, context.station), context.now))
        found = asking.found(view, pseudonym, where, self.asker) if pseudonym else NOBODY
        info = IdTokenInfo(status="Invalid") if with_certificate else decide(kind, found.token, found.where, self.rules)
        positions = asking.positions(view, pseudonym, found, self.asker) if pseudonym else asking.NOWHERE
        info, tariff = tariff_text.show(info, pseudonym, view, context)
        decided = AuthorizationDecided(
            at=context.now,
            station=context.identity,
            token=pseudonym,
            token_type=kind,
            status=info.status,
            group=info.group,
            evses=info.evses,
            certificate_status=UNVERIFIABLE if with_certificate else "",
            tariff=tariff,
            token_position=positions.token,
            station_position=positions.station,
            open_position=positions.open,
            group_open_position=positions.group_open,
            held_position=positions.held,
        )
        events: list[Event] = [decided]
        if kind == KEY_CODE and info.status == "Invalid" and not where.locked:
            events.append(key_codes.wrong(view.get(KeyCodes, context.station), context, self.guessing))
        fields: dict[str, Any] = {"certificateStatus": UNVERIFIABLE} if with_certificate else {}
        return Outcome(events, reply=AuthorizeResponse(idTokenInfo=to_wire(info), **fields))

    def _pseudonym(self, request: AuthorizeRequest) -> str:
        token = request.idToken
        return "" if token.type == NO_AUTHORIZATION else self.pseudonyms.of(token.type, token.idToken)
