"""The table of actions against the standard's schemas and the owners' shares."""

from collections import Counter
from importlib.resources import files

import msgspec
import pytest

from ocppcore import actions
from ocppcore.actions import ACTIONS, Direction


def schema_names() -> set[str]:
    return {entry.name.removesuffix(".json") for entry in files("ocpp.v201").joinpath("schemas").iterdir()}


def test_table_has_exactly_the_actions_of_the_standard() -> None:
    assert len(ACTIONS) == 64
    named = {name for action in ACTIONS.values() for name in (action.request, action.response)}
    assert named == schema_names()


@pytest.mark.requirement("P4.4.1.6.1")
def test_every_action_is_one_row_with_its_own_name() -> None:
    assert all(name == action.name for name, action in ACTIONS.items())
    assert all(action.request == f"{action.name}Request" for action in ACTIONS.values())
    assert all(action.response == f"{action.name}Response" for action in ACTIONS.values())
    assert all(action.blocks and set(action.blocks) <= set("ABCDEFGHIJKLMNOP") for action in ACTIONS.values())


def test_owners_have_their_shares() -> None:
    shares = Counter(actions.OWNER.values())
    assert shares == {"device": 35, "auth": 11, "transactions": 9, "smartcharging": 9}
    assert [a.name for a in actions.owned_by("auth")] == [n for n, owner in actions.OWNER.items() if owner == "auth"]


def test_directions_cover_the_table_and_meet_only_in_data_transfer() -> None:
    assert (len(actions.FROM_STATION), len(actions.TO_STATION)) == (25, 40)
    assert {"DataTransfer"} == actions.FROM_STATION & actions.TO_STATION
    assert ACTIONS["DataTransfer"].direction is Direction.BOTH


def test_only_actions_to_stations_say_whether_they_may_be_repeated() -> None:
    for action in ACTIONS.values():
        assert (action.idempotent is None) == (action.direction is Direction.STATION_TO_CSMS), action.name
    assert actions.IDEMPOTENT < actions.TO_STATION


@pytest.mark.parametrize(
    "name",
    [
        "Reset",
        "UnlockConnector",
        "RequestStartTransaction",
        "TriggerMessage",
        "UpdateFirmware",
        "PublishFirmware",
        "GetLog",
        "CustomerInformation",
        "CertificateSigned",
        "DataTransfer",
    ],
)
def test_what_acts_twice_is_never_repeated_unasked(name: str) -> None:
    assert name not in actions.IDEMPOTENT


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        actions.ACTIONS["X"] = ACTIONS["Reset"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        ACTIONS["Reset"].owner = "auth"  # type: ignore[misc]
    assert msgspec.structs.asdict(ACTIONS["Reset"])["owner"] == "device"


def test_types_are_found_by_action() -> None:
    for action in ACTIONS.values():
        assert actions.request_type(action.name).__name__ == action.request
        assert actions.response_type(action.name).__name__ == action.response
    with pytest.raises(KeyError):
        actions.request_type("Nonsense")
