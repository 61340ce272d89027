"""The decision about an idToken, field by field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocppcore.authorization import Group, Message, TokenState, Where, decide, is_master_pass

NOW = 1_700_000_000_000
HERE = Where("cs-1", NOW)
GROUP = Group(id_token="Group-1", type="Central")


def token(**fields: object) -> TokenState:
    return TokenState(**{"type": "ISO14443", "status": "Accepted", **fields})  # type: ignore[arg-type]


def status(state: TokenState | None, where: Where = HERE, kind: str = "ISO14443", **settings: str) -> str:
    return decide(kind, state, where, **settings).status


@pytest.mark.requirement("C01.FR.07", "C09.FR.10")
@pytest.mark.parametrize(
    "forced",
    [
        "Accepted",
        "Blocked",
        "ConcurrentTx",
        "Expired",
        "Invalid",
        "NoCredit",
        "NotAllowedTypeEVSE",
        "NotAtThisLocation",
        "NotAtThisTime",
        "Unknown",
    ],
)
def test_a_forced_status_is_the_answer(forced: str) -> None:
    assert status(token(status=forced)) == forced
    if forced != "Accepted":
        assert status(token(status=forced, valid_to=NOW - 1, stations=())) == forced


def test_an_unregistered_token_is_unknown() -> None:
    assert status(None) == "Unknown"
    assert status(token(deleted=True)) == "Unknown"


@pytest.mark.requirement("C04.FR.01")
def test_an_unknown_key_code_is_invalid_and_so_is_one_for_elsewhere() -> None:
    assert status(None, kind="KeyCode") == "Invalid"
    assert status(token(type="KeyCode", stations=("cs-2",)), kind="KeyCode") == "Invalid"


@pytest.mark.requirement("C04.FR.02")
def test_a_key_code_that_is_valid_here_is_accepted() -> None:
    assert status(token(type="KeyCode", stations=("cs-1",)), kind="KeyCode") == "Accepted"


def test_a_key_code_with_a_forced_status_keeps_it() -> None:
    assert status(token(type="KeyCode", status="NotAtThisLocation"), kind="KeyCode") == "NotAtThisLocation"


@pytest.mark.requirement("C02.FR.02")
def test_no_authorization_is_accepted() -> None:
    assert status(None, kind="NoAuthorization") == "Accepted"


def test_a_token_whose_end_has_come_is_expired() -> None:
    assert status(token(valid_to=NOW)) == "Expired"
    assert status(token(valid_to=NOW + 1)) == "Accepted"


@pytest.mark.requirement("C10.FR.13")
def test_the_end_of_what_stations_keep_is_not_the_end_of_the_token() -> None:
    """A time that has passed is sent all the same: with it a station keeps nothing, without it would."""
    info = decide("ISO14443", token(cache_expiry=NOW - 5), HERE)
    assert (info.status, info.cache_expiry) == ("Accepted", NOW - 5)
    assert decide("ISO14443", token(cache_expiry=NOW - 5, valid_to=NOW + 5), HERE).cache_expiry == NOW - 5


def test_a_token_whose_time_has_not_come_is_not_at_this_time() -> None:
    assert status(token(valid_from=NOW + 1)) == "NotAtThisTime"
    assert status(token(valid_from=NOW)) == "Accepted"


@pytest.mark.requirement("C01.FR.19")
def test_allowed_everywhere_there_is_no_list_of_evses() -> None:
    info = decide("ISO14443", token(), HERE)
    assert (info.status, info.evses) == ("Accepted", ())


@pytest.mark.requirement("C01.FR.20")
def test_allowed_on_some_evses_they_are_listed() -> None:
    info = decide("ISO14443", token(stations=("cs-1",), evses=(3, 1)), HERE)
    assert (info.status, info.evses) == ("Accepted", (1, 3))
    assert status(token(evses=(1,)), HERE._replace(evse=1)) == "Accepted"


@pytest.mark.requirement("C01.FR.22")
def test_allowed_on_none_it_is_not_at_this_location_without_a_list() -> None:
    for state, where in (
        (token(stations=("cs-2",)), HERE),
        (token(stations=()), HERE),
        (token(evses=()), HERE),
        (token(evses=(1,)), HERE._replace(evse=2)),
    ):
        info = decide("ISO14443", state, where)
        assert (info.status, info.evses) == ("NotAtThisLocation", ())


TYPES = {1: frozenset({"cCCS2"}), 2: frozenset({"sType2"}), 3: frozenset({"cCCS2", "sType2"})}


@pytest.mark.requirement("C01.FR.18")
def test_a_token_for_other_connectors_is_not_allowed_on_this_type_of_evse() -> None:
    state = token(connector_types=("cG105",))
    assert status(state, HERE._replace(evse_types=TYPES)) == "NotAllowedTypeEVSE"
    fits = token(connector_types=("sType2",))
    assert decide("ISO14443", fits, HERE._replace(evse_types=TYPES)).evses == (2, 3)
    assert status(fits, HERE._replace(evse_types=TYPES, evse=1)) == "NotAllowedTypeEVSE"
    assert decide("ISO14443", fits, HERE._replace(evse_types={2: TYPES[2]})).evses == ()


def test_connector_types_that_nobody_registered_cannot_be_judged() -> None:
    state = token(connector_types=("cG105",))
    assert status(state) == "Accepted"
    assert status(state, HERE._replace(evse_types={1: frozenset()})) == "Accepted"


def test_both_limits_to_evses_count() -> None:
    state = token(connector_types=("sType2",), evses=(1, 2))
    assert decide("ISO14443", state, HERE._replace(evse_types=TYPES)).evses == (2,)
    none_left = token(connector_types=("sType2",), evses=(1,))
    assert status(none_left, HERE._replace(evse_types=TYPES)) == "NotAllowedTypeEVSE"


@pytest.mark.requirement("C01.FR.06", "C09.FR.02", "C09.FR.09")
@pytest.mark.parametrize("forced", ["Accepted", "Blocked"])
def test_the_group_languages_and_message_are_in_every_answer(forced: str) -> None:
    said = Message(format="UTF8", content="Hello", language="en")
    state = token(
        status=forced, group=GROUP, language1="de", language2="en", personal_message=said, charging_priority=3
    )
    info = decide("ISO14443", state, HERE)
    assert (info.group, info.language1, info.language2, info.personal_message) == (GROUP, "de", "en", said)
    assert info.charging_priority == 3


def test_a_station_may_keep_the_answer_until_the_token_ends() -> None:
    assert decide("ISO14443", token(cache_expiry=NOW + 9, valid_to=NOW + 5), HERE).cache_expiry == NOW + 5
    assert decide("ISO14443", token(cache_expiry=NOW + 3, valid_to=NOW + 5), HERE).cache_expiry == NOW + 3
    assert decide("ISO14443", token(valid_to=NOW - 5), HERE).cache_expiry is None


def test_a_master_pass_is_accepted_but_starts_nothing() -> None:
    """C16.FR.03; the group in the answer is what makes the station stop transactions."""
    state = token(group=GROUP)
    assert is_master_pass(state, "GROUP-1")
    info = decide("ISO14443", state, HERE, master_pass_group="group-1")
    assert (info.status, info.group) == ("Accepted", GROUP)
    assert status(state, HERE._replace(starting=True), master_pass_group="group-1") == "Invalid"
    assert status(state, HERE._replace(starting=True), master_pass_group="other") == "Accepted"
    assert status(state, HERE._replace(starting=True)) == "Accepted"


@given(
    st.builds(
        TokenState,
        type=st.just("Central"),
        status=st.sampled_from(["Accepted", "Blocked"]),
        stations=st.none() | st.lists(st.sampled_from(["cs-1", "cs-2"])).map(tuple),
        evses=st.none() | st.lists(st.integers(1, 4)).map(tuple),
        connector_types=st.none() | st.lists(st.sampled_from(["cCCS2", "sType2", "x"])).map(tuple),
        valid_from=st.none() | st.integers(NOW - 2, NOW + 2),
        valid_to=st.none() | st.integers(NOW - 2, NOW + 2),
    ),
    st.none() | st.integers(1, 4),
    st.sampled_from([{}, TYPES]),
)
def test_a_list_of_evses_comes_only_with_accepted_and_fits_the_evse_asked_about(
    state: TokenState, evse: int | None, types: dict[int, frozenset[str]]
) -> None:
    info = decide("Central", state, Where("cs-1", NOW, evse, types))
    if info.evses:
        assert info.status == "Accepted"
        assert evse is None or evse in info.evses
        assert state.evses is None or set(info.evses) <= set(state.evses)
