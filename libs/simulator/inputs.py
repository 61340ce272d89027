"""What can happen to a station: the events of `Station.step`. Times are ms since 1970 UTC."""

from typing import NamedTuple


class IdToken(NamedTuple):
    """What a driver presents. Compared without regard to case, as identifierStrings are."""

    id_token: str
    type: str = "ISO14443"

    @classmethod
    def parse(cls, text: str) -> "IdToken":
        """`TYPE:VALUE` or `VALUE` (then ISO14443)."""
        kind, colon, value = text.partition(":")
        return cls(value, kind) if colon else cls(text)

    def wire(self) -> dict[str, str]:
        return {"idToken": self.id_token, "type": self.type}

    @property
    def key(self) -> str:
        return f"{self.type}/{self.id_token}".casefold()


class Connected(NamedTuple):
    """The WebSocket is open with subprotocol ocpp2.0.1."""


class ConnectFailed(NamedTuple):
    """The station dialled and got no WebSocket; `status` is the HTTP status if there was one."""

    status: int | None = None


class Disconnected(NamedTuple):
    """The WebSocket is gone."""


class Received(NamedTuple):
    """A text frame came in."""

    data: bytes | str


class Wake(NamedTuple):
    """Nothing but time has passed."""


class PlugIn(NamedTuple):
    """A driver plugs the cable in. The battery is drawn from the station's seed."""

    evse_id: int
    connector_id: int = 1


class Unplug(NamedTuple):
    """The cable is taken out (or torn out, while energy flows)."""

    evse_id: int


class PresentToken(NamedTuple):
    """A driver presents an idToken at an EVSE: to start, or to stop what the same idToken started."""

    evse_id: int
    token: IdToken


class GoOffline(NamedTuple):
    """A fault: the network is gone for `for_ms`; the station lives on and queues (E04, E08, E11)."""

    for_ms: int


class Finish(NamedTuple):
    """The run ends: no new driver comes, those who are there leave, faults cease."""


Event = Connected | ConnectFailed | Disconnected | Received | Wake | PlugIn | Unplug | PresentToken | GoOffline | Finish
