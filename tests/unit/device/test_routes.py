"""The table of actions and what device handles agree."""

from ocppcore.actions import FROM_STATION, owned_by, request_type
from services.device.actions import ROUTES


def test_every_action_that_device_owns_has_its_handler() -> None:
    owned = {action.name for action in owned_by("device")} & FROM_STATION
    assert set(ROUTES) == owned
    for name, handler in ROUTES.items():
        assert handler.request is request_type(name)
