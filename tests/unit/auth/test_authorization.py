"""The decision about an idToken: a table of what is registered, where and when it is asked, and the answer.

Each row is a line to read. Behind the table each rule's neighbours are made: the moment before and at its edge, one
more and one less, every status beside every other rule; and what holds for any token at all.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocppcore.authorization import (
    COUNTS_FOR_MS,
    AuthorizationStatus,
    Credit,
    Group,
    Held,
    HeldState,
    IdTokenInfo,
    Message,
    OpenState,
    OpenTransaction,
    Rules,
    TokenState,
    TokenType,
    Where,
    decide,
    is_master_pass,
)
from ocppcore.weekly import Window

NOW = 1_700_000_000_000
"""Tuesday, 2023-11-14, 22:13:20 UTC; 23:13:20 in Berlin."""
HERE = Where("cs-1", NOW)
POLICE = Group(id_token="Police", type="Central")
FAMILY = Group(id_token="Family", type="Central")
RULES = Rules(master_pass_group="police")
STATUSES: tuple[AuthorizationStatus, ...] = get_args(AuthorizationStatus)
KINDS: tuple[TokenType, ...] = get_args(TokenType)
TYPES = {1: frozenset({"cCCS2"}), 2: frozenset({"sType2"}), 3: frozenset({"cCCS2", "sType2"})}
EVENING = Window((1,), 20 * 60, 24 * 60)
NIGHT = Window((0,), 22 * 60, 6 * 60)
MINE, THEIRS = "cs-1/t-1", "cs-2/t-2"


def token(**fields: Any) -> TokenState:
    return TokenState(**{"type": "ISO14443", "status": "Accepted", **fields})


def credit(balance: str, limit: str = "0") -> Credit:
    return Credit(balance=Decimal(balance), currency="EUR", limit=Decimal(limit))


def opened(*transactions: str, since: int = NOW - 1000, cost: str = "0") -> OpenState:
    return OpenState(open=tuple(OpenTransaction(one, since, Decimal(cost)) for one in transactions))


def held(*evses: int | None, by: str = "them") -> HeldState:
    return HeldState(held=tuple(Held(f"cs-1/h{n}", by, evse) for n, evse in enumerate(evses)))


class Row(NamedTuple):
    """`token` None: nobody registered it. `where` and `rules` change what `HERE` and `RULES` say."""

    why: str
    status: AuthorizationStatus
    token: TokenState | None
    where: Mapping[str, Any] = MappingProxyType({})
    evses: tuple[int, ...] = ()
    kind: str = "ISO14443"
    rules: Mapping[str, Any] = MappingProxyType({})


START: dict[str, Any] = {"purpose": "start", "transaction": MINE}
OTHER: dict[str, Any] = {"purpose": "other", "transaction": MINE}

# fmt: off
TABLE = [
    # ---- who it is
    Row("a registered token",                  "Accepted",           token()),
    Row("nobody registered it",                "Unknown",            None),
    Row("it was removed",                      "Unknown",            token(deleted=True)),
    Row("a start button",                      "Accepted",           None, kind="NoAuthorization"),
    Row("a start button starts",               "Accepted",           None, START, kind="NoAuthorization"),
    Row("an unknown key code",                 "Invalid",            None, kind="KeyCode"),
    Row("a key code",                          "Accepted",           token(type="KeyCode"), kind="KeyCode"),
    Row("a key code for elsewhere", "Invalid", token(type="KeyCode", stations=("cs-2",)), kind="KeyCode"),
    Row("a blocked key code", "Blocked", token(type="KeyCode", status="Blocked"), kind="KeyCode"),
    Row("a right key code while locked", "Invalid", token(type="KeyCode"), {"locked": True}, kind="KeyCode"),
    Row("a card while key codes are locked",   "Accepted",           token(), {"locked": True}),
    Row("a key code that goes on, locked", "Accepted",
        token(type="KeyCode"), {"locked": True, **OTHER}, kind="KeyCode"),
    # ---- what is forced: it comes before all else
    *(Row(f"forced {one}",                     one,                  token(status=one)) for one in STATUSES),
    *(Row(f"forced {one} and ended, elsewhere", one,
        token(status=one, valid_to=0, stations=())) for one in STATUSES if one != "Accepted"),
    # ---- the token's own time
    Row("its end has come",                    "Expired",            token(valid_to=NOW)),
    Row("its end is near",                     "Accepted",           token(valid_to=NOW + 1)),
    Row("its time has not come",               "NotAtThisTime",      token(valid_from=NOW + 1)),
    Row("its time is here",                    "Accepted",           token(valid_from=NOW)),
    Row("ended, and for elsewhere",            "Expired",            token(valid_to=NOW, stations=())),
    # ---- C16: master pass
    Row("a master pass asks",                  "Accepted",           token(group=POLICE)),
    Row("a master pass starts",                "Invalid",            token(group=POLICE), START),
    Row("a master pass stops",                 "Accepted",           token(group=POLICE), OTHER),
    Row("no group is a master pass", "Accepted", token(group=POLICE), START, rules={"master_pass_group": ""}),
    Row("another group starts",                "Accepted",           token(group=FAMILY), START),
    Row("a master pass, at night, no credit", "Accepted", token(group=POLICE, windows=(), credit=credit("-1"))),
    Row("a master pass where all is held",     "Accepted",           token(group=POLICE), {"held": held(1)}),
    # ---- place
    Row("for this station",                    "Accepted",           token(stations=("cs-1",))),
    Row("for another station",                 "NotAtThisLocation",  token(stations=("cs-2",))),
    Row("for no station",                      "NotAtThisLocation",  token(stations=())),
    Row("for some EVSEs",                      "Accepted",           token(evses=(3, 1)), evses=(1, 3)),
    Row("for no EVSE",                         "NotAtThisLocation",  token(evses=())),
    Row("for this EVSE",                       "Accepted",           token(evses=(1,)), {"evse": 1}, evses=(1,)),
    Row("for another EVSE",                    "NotAtThisLocation",  token(evses=(1,)), {"evse": 2}),
    Row("for such connectors", "Accepted", token(connector_types=("sType2",)), {"evse_types": TYPES}, evses=(2, 3)),
    Row("for all of its connectors", "Accepted", token(connector_types=("sType2",)), {"evse_types": {2: TYPES[2]}}),
    Row("for no such connector", "NotAllowedTypeEVSE", token(connector_types=("cG105",)), {"evse_types": TYPES}),
    Row("for connectors of another EVSE", "NotAllowedTypeEVSE",
        token(connector_types=("sType2",)), {"evse_types": TYPES, "evse": 1}),
    Row("connectors that nobody registered",   "Accepted",           token(connector_types=("cG105",))),
    Row("an EVSE of unknown connectors", "Accepted",
        token(connector_types=("cG105",)), {"evse_types": {1: frozenset()}}),
    Row("both limits to EVSEs", "Accepted",
        token(connector_types=("sType2",), evses=(1, 2)), {"evse_types": TYPES}, evses=(2,)),
    Row("both limits, nothing left", "NotAllowedTypeEVSE",
        token(connector_types=("sType2",), evses=(1,)), {"evse_types": TYPES}),
    # ---- weekly windows, in the station's zone
    Row("in its window",                       "Accepted",           token(windows=(EVENING,))),
    Row("in no window",                        "NotAtThisTime",      token(windows=(NIGHT,))),
    Row("never",                               "NotAtThisTime",      token(windows=())),
    Row("in one of two",                       "Accepted",           token(windows=(NIGHT, EVENING))),
    Row("over midnight, the second day", "Accepted", token(windows=(NIGHT,)), {"at": NOW - 18 * 3_600_000}),
    Row("it is Wednesday there",               "NotAtThisTime",      token(windows=(EVENING,)), {"zone": "Asia/Tokyo"}),
    Row("stations without a zone", "NotAtThisTime", token(windows=(EVENING,)), rules={"zone": "Asia/Tokyo"}),
    Row("it began in its window, told late", "Accepted",
        token(windows=(NIGHT,)), {**START, "began": NOW - 18 * 3_600_000}),
    Row("out of its window, it only stops",    "Accepted",           token(windows=(NIGHT,)), OTHER),
    Row("in its window, elsewhere",            "NotAtThisLocation",  token(windows=(EVENING,), stations=())),
    # ---- credit
    Row("credit",                              "Accepted",           token(credit=credit("0.01"))),
    Row("none left",                           "NoCredit",           token(credit=credit("0"))),
    Row("owing",                               "NoCredit",           token(credit=credit("-5"))),
    Row("owing less than the limit",           "Accepted",           token(credit=credit("-5", "5.01"))),
    Row("owing all of the limit",              "NoCredit",           token(credit=credit("-5", "5"))),
    Row("spent by what is open", "NoCredit", token(credit=credit("5")), {"open": opened(THEIRS, cost="5")}),
    Row("not yet spent by what is open", "Accepted", token(credit=credit("5")), {"open": opened(THEIRS, cost="4.99")}),
    Row("no credit at the start",              "NoCredit",           token(credit=credit("0")), START),
    Row("no credit, it only stops",            "Accepted",           token(credit=credit("0")), OTHER),
    Row("no credit, out of its window",        "NotAtThisTime",      token(credit=credit("0"), windows=())),
    # ---- transactions at a time
    Row("one open, no limit",                  "Accepted",           token(), {"open": opened(THEIRS)}),
    Row("one open of one",                     "ConcurrentTx",       token(concurrent=1), {"open": opened(THEIRS)}),
    Row("one open of two",                     "Accepted",           token(concurrent=2), {"open": opened(THEIRS)}),
    Row("one open of one, it starts another", "ConcurrentTx", token(concurrent=1), {**START, "open": opened(THEIRS)}),
    Row("its own start once more", "Accepted", token(concurrent=1), {**START, "open": opened(MINE)}),
    Row("the first stays, asked again", "Accepted", token(concurrent=1), {**START, "open": opened(MINE, THEIRS)}),
    Row("the second does not, asked again", "ConcurrentTx",
        token(concurrent=1), {**START, "open": opened(THEIRS, MINE)}),
    Row("one open of one, another stops", "Accepted", token(concurrent=1), {**OTHER, "open": opened(THEIRS)}),
    Row("it may have come to stop it",         "Accepted",           token(concurrent=1), {"open": opened(MINE)}),
    Row("an end that nobody heard, long ago", "Accepted",
        token(concurrent=1), {"open": opened(THEIRS, since=NOW - COUNTS_FOR_MS)}),
    Row("the installation's limit", "ConcurrentTx", token(), {"open": opened(THEIRS)}, rules={"concurrent": 1}),
    Row("freed from the installation's limit", "Accepted",
        token(concurrent=0), {"open": opened(THEIRS)}, rules={"concurrent": 1}),
    Row("the group's limit", "ConcurrentTx", token(group=FAMILY, group_concurrent=1), {"group_open": opened(THEIRS)}),
    Row("the group's, by the installation", "ConcurrentTx",
        token(group=FAMILY), {"group_open": opened(THEIRS)}, rules={"group_concurrent": 1}),
    Row("a limit of groups, none of its own", "Accepted", token(group_concurrent=1), {"open": opened(THEIRS)}),
    Row("too many, and no credit", "NoCredit", token(concurrent=1, credit=credit("0")), {"open": opened(THEIRS)}),
    # ---- C01.FR.24: what is still held by a driver who may not charge any more
    Row("the only EVSE is held",               "NotAtThisTime",      token(), {"held": held(1), "token": "me"}),
    Row("held, EVSE unknown",                  "NotAtThisTime",      token(), {"held": held(None), "token": "me"}),
    Row("held by itself", "Accepted", token(), {"held": held(1, by="me"), "token": "me"}),
    Row("one of three is held", "Accepted", token(), {"held": held(1), "evse_types": TYPES, "token": "me"}),
    Row("all three are held", "NotAtThisTime", token(), {"held": held(1, 2, 3), "evse_types": TYPES, "token": "me"}),
    Row("held, but it is no Authorize", "Accepted", token(), {**START, "held": held(1), "token": "me"}),
    Row("held, and blocked", "Blocked", token(status="Blocked"), {"held": held(1), "token": "me"}),
]
# fmt: on


def answer(row: Row) -> IdTokenInfo:
    return decide(row.kind, row.token, HERE._replace(**row.where), RULES._replace(**row.rules))


@pytest.mark.requirement(
    "C01.FR.07", "C01.FR.18", "C01.FR.19", "C01.FR.20", "C01.FR.22", "C01.FR.24", "C02.FR.02", "C04.FR.01", "C04.FR.02",
    "C09.FR.10",
)  # fmt: skip
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.why)
def test_the_table(row: Row) -> None:
    info = answer(row)
    assert (info.status, info.evses) == (row.status, row.evses)


def test_the_table_has_every_status_every_type_and_every_field_that_decides() -> None:
    assert {row.status for row in TABLE} == set(STATUSES)
    reached = {row.status for row in TABLE if row.token is None or row.token.status == "Accepted"}
    assert reached == set(STATUSES) - {"Blocked"}, "a status that only an operator gives"
    silent = {"group", "language1", "language2", "personal_message", "messages", "cache_expiry", "charging_priority"}
    told = {"type", "sealed", "issued", "tags"}  # the key of the record, and what nobody reads here
    tokens = [row.token for row in TABLE if row.token]
    for name, default in fields(TokenState):
        if name not in silent | told:
            assert any(getattr(one, name) != default for one in tokens), name
    assert {name for row in TABLE for name in row.where} | {"station"} == set(Where._fields)
    assert {name for row in TABLE for name in row.rules} == set(Rules._fields)


def fields(kind: type[msgspec.Struct]) -> list[tuple[str, object]]:
    return [(one.name, one.default) for one in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.token and row.kind != "NoAuthorization"], ids=lambda r: r.why
)
@pytest.mark.parametrize("forced", [one for one in STATUSES if one != "Accepted"])
def test_neighbours_of_every_row_a_forced_status_wins(row: Row, forced: AuthorizationStatus) -> None:
    assert row.token is not None
    if row.token.deleted or (row.kind == "KeyCode" and row.where.get("locked") and not row.where.get("purpose")):
        return  # nothing is registered, or it is not looked at
    info = answer(row._replace(token=msgspec.structs.replace(row.token, status=forced)))
    assert (info.status, info.evses) == (forced, ())


@pytest.mark.parametrize("kind", [one for one in KINDS if one not in ("NoAuthorization", "KeyCode")])
def test_all_other_types_are_decided_alike(kind: str) -> None:
    for row in TABLE:
        if row.kind == "ISO14443":
            assert answer(row._replace(kind=kind)).status == row.status, row.why


@pytest.mark.parametrize("row", [row for row in TABLE if row.token and row.token.windows], ids=lambda r: r.why)
def test_neighbours_in_time_minute_by_minute(row: Row) -> None:
    """Over a week, by the definition of a window: days and minutes of the local week, in UTC."""
    assert row.token is not None
    windows = row.token.windows or ()
    plain = token(windows=windows)
    for minute in range(0, 7 * 1440, 7):
        at = NOW - NOW % 60_000 + minute * 60_000
        of_week = ((at // 60_000) + 3 * 1440) % (7 * 1440)  # 1970-01-01 was a Thursday
        inside = any(
            start <= day * 1440 + of_week % 1440 < start + length
            for one in windows
            for day in (of_week // 1440, of_week // 1440 + 7)
            for wday in one.days
            for start in (wday * 1440 + one.start,)
            for length in (((one.end - one.start) % 1440) or 1440,)
        )
        assert decide("ISO14443", plain, Where("cs-1", at)).status == ("Accepted" if inside else "NotAtThisTime")


@given(st.integers(1, 4), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_neighbours_of_a_limit(limit: int, before: int, after: int, counted: bool) -> None:
    """What came before decides, never what came after: no start that was let in is refused when it is asked again."""
    others = [f"cs-9/{n}" for n in range(before)]
    later = [f"cs-8/{n}" for n in range(after)]
    all_open = opened(*others, *([MINE, *later] if counted else []))
    cases: list[tuple[TokenState, dict[str, Any]]] = [
        (token(concurrent=limit), {"open": all_open}),
        (token(group=FAMILY, group_concurrent=limit), {"group_open": all_open}),
    ]
    for state, where in cases:
        status = decide("ISO14443", state, HERE._replace(**START, **where), RULES).status
        assert status == ("ConcurrentTx" if before >= limit else "Accepted")


# What else is in the answer


@pytest.mark.requirement("C01.FR.06", "C09.FR.02", "C09.FR.09")
@pytest.mark.parametrize("forced", STATUSES)
def test_the_group_languages_and_message_are_in_every_answer(forced: AuthorizationStatus) -> None:
    said = Message(format="UTF8", content="Hello", language="en")
    state = token(
        status=forced, group=FAMILY, language1="de", language2="en", personal_message=said, charging_priority=3
    )
    info = decide("ISO14443", state, HERE)
    assert (info.group, info.language1, info.language2, info.personal_message) == (FAMILY, "de", "en", said)
    assert info.charging_priority == 3


def message(language: str | None) -> Message:
    return Message(format="UTF8", content=f"in {language}", language=language)


@pytest.mark.requirement("C01.FR.12")
@pytest.mark.parametrize(
    ("first", "second", "there", "chosen"),
    [
        ("de", "fr", ["en", "fr", "de"], "de"),
        ("de", "fr", ["en", "fr"], "fr"),
        ("de", "fr", ["nl", "en"], "en"),
        ("de", "fr", ["nl", "en-GB"], "en-GB"),
        ("de", "fr", ["nl", "es"], "nl"),
        ("de-AT", None, ["en", "de"], "de"),
        ("DE", None, ["en", "de-CH", "de"], "de"),
        (None, None, ["nl", "en"], "en"),
        (None, None, ["nl"], "nl"),
    ],
)
def test_one_message_is_chosen_by_language_with_english_to_fall_back_on(
    first: str | None, second: str | None, there: list[str], chosen: str
) -> None:
    state = token(language1=first, language2=second, messages=tuple(map(message, there)))
    assert decide("ISO14443", state, HERE).personal_message == message(chosen)


def test_a_message_for_all_comes_before_one_in_a_language_that_fits_nobody() -> None:
    state = token(language1="de", personal_message=message(None), messages=(message("nl"),))
    assert decide("ISO14443", state, HERE).personal_message == message(None)
    assert decide("ISO14443", token(personal_message=message(None)), HERE).personal_message == message(None)


@pytest.mark.requirement("C10.FR.13")
def test_the_end_of_what_stations_keep_is_not_the_end_of_the_token() -> None:
    """A time that has passed is sent all the same: with it a station keeps nothing, without it would."""
    info = decide("ISO14443", token(cache_expiry=NOW - 5), HERE)
    assert (info.status, info.cache_expiry) == ("Accepted", NOW - 5)
    assert decide("ISO14443", token(cache_expiry=NOW - 5, valid_to=NOW + 5), HERE).cache_expiry == NOW - 5


def test_a_station_may_keep_the_answer_until_the_token_or_its_window_ends() -> None:
    def expiry(**fields: Any) -> int | None:
        return decide("ISO14443", token(**fields), HERE).cache_expiry

    midnight = NOW - NOW % 86_400_000 + 86_400_000
    assert expiry() is None
    assert expiry(cache_expiry=NOW + 9, valid_to=NOW + 5) == NOW + 5
    assert expiry(cache_expiry=NOW + 3, valid_to=NOW + 5) == NOW + 3
    assert expiry(valid_to=NOW - 5) is None
    assert expiry(windows=(EVENING,)) == midnight
    assert expiry(windows=(EVENING, Window((2,), 0, 90))) == midnight + 90 * 60_000, "one follows the other"
    assert expiry(windows=(Window(tuple(range(7)), 0, 1440),)) is None, "always"
    assert expiry(windows=(EVENING,), cache_expiry=NOW + 3) == NOW + 3
    assert expiry(windows=(NIGHT,)) is None, "a refusal"


@pytest.mark.requirement("C10.FR.13")
def test_no_station_keeps_the_answer_about_an_account() -> None:
    assert decide("ISO14443", token(credit=credit("5")), HERE).cache_expiry == NOW
    assert decide("ISO14443", token(credit=credit("0")), HERE).cache_expiry is None


def test_a_window_ends_by_the_wall_clock_also_when_clocks_change() -> None:
    """2023-10-29, 02:30 summer time in Berlin; at 03:00 it was 02:00 again."""
    at = 1_698_539_400_000
    where = Where("cs-1", at, zone="Europe/Berlin")
    info = decide("ISO14443", token(windows=(Window((6,), 0, 6 * 60),)), where)
    assert (info.status, info.cache_expiry) == ("Accepted", at + 4 * 3_600_000 + 30 * 60_000)


def test_who_is_a_master_pass() -> None:
    assert is_master_pass(token(group=POLICE), "POLICE")
    assert not is_master_pass(token(group=FAMILY), "POLICE")
    assert not is_master_pass(token(), "POLICE")
    assert not is_master_pass(token(group=POLICE), "")
    assert not is_master_pass(None, "POLICE")


# What holds for any token


windows = st.builds(
    Window, st.lists(st.integers(0, 6), max_size=3, unique=True).map(tuple), st.integers(0, 1439), st.integers(1, 1440)
)
any_token = st.builds(
    TokenState,
    type=st.sampled_from(KINDS),
    status=st.sampled_from(["Accepted", "Accepted", *STATUSES]),
    group=st.none() | st.sampled_from([POLICE, FAMILY]),
    stations=st.none() | st.lists(st.sampled_from(["cs-1", "cs-2"])).map(tuple),
    evses=st.none() | st.lists(st.integers(1, 4)).map(tuple),
    connector_types=st.none() | st.lists(st.sampled_from(["cCCS2", "sType2", "x"])).map(tuple),
    valid_from=st.none() | st.integers(NOW - 2, NOW + 2),
    valid_to=st.none() | st.integers(NOW - 2, NOW + 2),
    cache_expiry=st.none() | st.integers(NOW - 2, NOW + 2),
    windows=st.none() | st.lists(windows, max_size=3).map(tuple),
    concurrent=st.none() | st.integers(0, 2),
    group_concurrent=st.none() | st.integers(0, 2),
    credit=st.none() | st.builds(credit, st.sampled_from(["-1", "0", "1"])),
)
any_where = st.builds(
    Where,
    station=st.just("cs-1"),
    at=st.integers(NOW, NOW + 7 * 86_400_000),
    evse=st.none() | st.integers(1, 4),
    evse_types=st.sampled_from([{}, TYPES]),
    purpose=st.sampled_from(["authorize", "start", "other"]),
    zone=st.sampled_from(["", "Europe/Berlin", "Asia/Kathmandu"]),
    token=st.sampled_from(["me", "them"]),
    transaction=st.just(MINE),
    open=st.lists(st.sampled_from([MINE, THEIRS, "cs-3/x"]), unique=True).map(lambda many: opened(*many)),
    group_open=st.lists(st.sampled_from([MINE, THEIRS]), unique=True).map(lambda many: opened(*many)),
    held=st.lists(st.none() | st.integers(1, 3), max_size=3).map(lambda many: held(*many)),
    locked=st.booleans(),
)


@given(st.sampled_from(KINDS), st.none() | any_token, any_where)
def test_whatever_is_registered_the_answer_keeps_to_the_standard(
    kind: str, state: TokenState | None, where: Where
) -> None:
    info = decide(kind, state, where, RULES)
    assert info == decide(kind, state, where, RULES)
    assert info.status in STATUSES
    if info.evses:
        assert info.status == "Accepted"
        assert where.evse is None or where.evse in info.evses
        assert state is not None
        assert state.evses is None or set(info.evses) <= set(state.evses)
    if state is not None and state.status != "Accepted" and kind not in ("NoAuthorization", "KeyCode"):
        assert info.status == state.status
    if where.purpose == "other":
        assert info.status not in ("ConcurrentTx", "NoCredit") or (state and state.status == info.status)


@given(any_token, any_where)
def test_what_may_start_may_be_asked_about_and_may_stop(state: TokenState, where: Where) -> None:
    """No token starts a transaction that it could not have been authorized for, or would be refused to stop."""
    if decide("ISO14443", state, where._replace(purpose="start", began=None), RULES).status != "Accepted":
        return
    assert decide("ISO14443", state, where._replace(purpose="other"), RULES).status == "Accepted"
    asked = decide("ISO14443", state, where._replace(purpose="authorize", held=HeldState()), RULES).status
    assert asked == "Accepted" or (asked == "ConcurrentTx" and MINE in [one.transaction for one in where.open.open])
