"""Whether an idToken may charge here: asked of the CSMS, of the Local Authorization List or of the cache
(C01-C16, F01, F02)."""

from typing import TYPE_CHECKING

from .authorization import KnownTokens, allows, group_of
from .evse import Evse
from .frames import Json
from .inputs import IdToken
from .outbox import OutCall, Purpose, Registration

if TYPE_CHECKING:
    from .station import Station


class AuthorizationDesk:
    """Open questions about idTokens, at most one per EVSE."""

    __slots__ = ("_open", "_station", "known")

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._open: dict[int, tuple[IdToken, int | None]] = {}
        self.known = KnownTokens()

    def present(self, evse: Evse, token: IdToken) -> None:
        """To start, or to stop what the same idToken (or one of its group) started (E07.FR.01)."""
        if not evse.authorized or evse.token is None:
            self.ask(evse, token, None)
        elif evse.token.key == token.key or self._same_group(token, evse.group):
            evse.stop("StopAuthorized", "Local", token)

    def ask(self, evse: Evse, token: IdToken, remote_start_id: int | None) -> None:
        """The EVSE hears of the outcome, now or when the CSMS has answered."""
        if evse.authorizing or not evse.available:
            return
        if not self.fits_reservation(evse, token):
            self._station.session_changed(evse, "refused")
            return
        evse.authorizing = True
        self._open[evse.id] = (token, remote_start_id)
        local = self._station.model.flag("AuthCtrlr", "LocalPreAuthorize")
        asked = not (local and self._known_good(evse, token)) and self._station.send(
            "Authorize", {"idToken": token.wire()}, purpose=Purpose("authorize", evse.id)
        )
        if not asked:
            self.decide_locally(evse.id)

    def fits_reservation(self, evse: Evse, token: IdToken, group: str | None = None) -> bool:
        """Is the EVSE free of a reservation for somebody else? (H03, F01.FR.21, F01.FR.22)"""
        reserved = evse.reservation
        if reserved is None or reserved.token.key == token.key:
            return True
        return reserved.group is not None and (reserved.group == group or self._same_group(token, reserved.group))

    def answered(self, evse_id: int, info: Json) -> None:
        """The CSMS answered the Authorize."""
        token, remote = self._open.pop(evse_id)
        self.known.learn(token, info)
        self._settle(evse_id, token, remote, info if allows(info, evse_id) else None)

    def event_answered(self, call: OutCall, info: Json | None) -> None:
        """The CSMS's word on an idToken in a transaction event counts, also after the fact (E05)."""
        wire = call.payload.get("idToken")
        if info is None or wire is None:
            return
        token = IdToken(wire["idToken"], wire["type"])
        self.known.learn(token, info)
        evse = self._station.evse(call.purpose.evse_id)
        ongoing = evse.transaction is not None and evse.transaction.id == call.transaction_id
        if not (ongoing and evse.authorized and evse.token == token) or allows(info, evse.id):
            return
        if self._station.model.flag("TxCtrlr", "StopTxOnInvalidId"):
            evse.stop("Deauthorized", "DeAuthorized")
        else:
            evse.suspend()

    def connection_lost(self) -> None:
        for evse_id in list(self._open):
            self.decide_locally(evse_id)

    def decide_locally(self, evse_id: int) -> None:
        """No answer can be had: the list and the cache decide (C13-C15)."""
        token, remote = self._open.pop(evse_id)
        station = self._station
        info = self._known_good(station.evse(evse_id), token)
        if info is None and station.registration is Registration.ACCEPTED and not station.link.up:
            allowed = station.model.flag("AuthCtrlr", "OfflineTxForUnknownIdEnabled")
            if allowed and self._look_up(token) is None:
                info = {"status": "Accepted"}
        self._settle(evse_id, token, remote, info)

    def _settle(self, evse_id: int, token: IdToken, remote: int | None, info: Json | None) -> None:
        evse = self._station.evse(evse_id)
        evse.authorizing = False
        if info is None:
            self._station.session_changed(evse, "refused")
        elif remote is None:
            evse.authorize(token, group_of(info))
        else:
            evse.authorize(token, group_of(info), "RemoteStart", remote)

    def _same_group(self, token: IdToken, group: str | None) -> bool:
        info = self._look_up(token)
        return group is not None and info is not None and group_of(info) == group

    def _look_up(self, token: IdToken) -> Json | None:
        model = self._station.model
        return self.known.lookup(
            token,
            self._station.now,
            use_list=model.flag("LocalAuthListCtrlr", "Enabled"),
            use_cache=model.flag("AuthCacheCtrlr", "Enabled"),
        )

    def _known_good(self, evse: Evse, token: IdToken) -> Json | None:
        station = self._station
        if station.registration is not Registration.ACCEPTED:
            return None  # no transactions before the CSMS has accepted the station (B02.FR.03)
        if not station.link.up and not station.model.flag("AuthCtrlr", "LocalAuthorizeOffline"):
            return None
        info = self._look_up(token)
        return info if info is not None and allows(info, evse.id) else None
