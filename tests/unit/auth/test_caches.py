"""Authorization Caches: where a token may be, and clearing them when it is withdrawn (C10, C11)."""

from typing import Any

import msgspec

from ocppcore import topics
from ocppcore.authorization import TokenState
from ocppcore.commands import Ask, commands, part
from ocppcore.contracts.auth import (
    CacheClearAsked,
    Cached,
    CachesFound,
    CachesStale,
    ClearCache,
    PatchToken,
    PutToken,
    RemoveToken,
    TokenWithdrawn,
)
from ocppcore.contracts.device import Automatic, StationState
from ocppcore.envelope import parse_request
from ocppcore.log import Record
from ocppcore.pseudonym import Pseudonyms
from services.auth.domain.caches import CACHED
from services.auth.service import parts
from tests.support.given import NOW, World

PSEUDONYMS = Pseudonyms(b"key")
CARD = PSEUDONYMS.of("ISO14443", "ABC")
ACCEPTED = TokenState(type="ISO14443", status="Accepted")


def world(*, automatic: bool = True) -> World:
    made = World("auth", [*parts(PSEUDONYMS), part(commands("auth"))])
    made.ask(PutToken.NAME, PutToken(state=ACCEPTED, driver_key="k"), key=CARD)
    made.given_copy(topics.TOKENS, CARD, ACCEPTED, position=3)
    for station in ("CS-1", "CS-2"):
        state = StationState(
            id=station, security_profile=1, credential=None, registration="Accepted",
            automatic=Automatic(local_list=automatic),
        )  # fmt: skip
        made.given_copy(topics.STATIONS, station.casefold(), state)
        made.connect(station)
    made.records.clear()
    return made


def authorize(made: World, value: str = "ABC", station: str = "CS-1") -> None:
    made.call("Authorize", {"idToken": {"idToken": value, "type": "ISO14443"}}, station=station)


def happened(made: World, kind: type[Any]) -> list[Any]:
    return [one for one in made.events if type(one) is kind]


def found(made: World, *stations: tuple[str, int]) -> None:
    """The effect found these, and what follows arrives."""
    made.ask(CachesFound.NAME, CachesFound(caches=tuple(Cached(*one) for one in stations)), key=CARD)
    for record in made.records:
        if record.topic == topics.requests("auth"):
            copy = Record(record.topic, record.partition, 0, record.key, record.value, record.headers, NOW)
            request = parse_request(copy)
            body = msgspec.json.decode(request.body, type=made.service.requests[request.type].body)
            made.ask(request.type, body, key=request.key, actor="")
    made.records.clear()


def test_it_is_known_where_a_token_was_told_accepted_last() -> None:
    made = world()
    authorize(made)
    made.wait(5)
    authorize(made, station="CS-2")
    authorize(made, "NOBODY'S")
    assert [(row["token"], row["station"], row["at"]) for row in made.rows(CACHED)] == [
        (CARD, "cs-1", NOW), (CARD, "cs-2", NOW + 5)
    ]  # fmt: skip
    made.given_copy(topics.TOKENS, CARD, msgspec.structs.replace(ACCEPTED, status="Blocked"))
    authorize(made)
    assert [row["station"] for row in made.rows(CACHED)] == ["cs-2"], "it keeps the refusal now"


def test_a_token_that_is_blocked_or_removed_is_withdrawn_once() -> None:
    made = world()
    blocked = PatchToken(state=TokenState(type="", status="Blocked"), fields=("status",))
    made.ask(PatchToken.NAME, blocked, key=CARD)
    made.ask(PatchToken.NAME, blocked, key=CARD)
    made.ask(PutToken.NAME, PutToken(state=ACCEPTED, driver_key="k"), key=CARD)
    assert len(happened(made, TokenWithdrawn)) == 1
    made.ask(RemoveToken.NAME, RemoveToken(), key=CARD)
    assert len(happened(made, TokenWithdrawn)) == 2


def test_the_stations_that_may_hold_it_are_asked_to_clear_their_caches() -> None:
    made = world()
    made.wait(10)
    found(made, ("cs-1", NOW), ("cs-2", NOW))
    assert [one.station for one in happened(made, CacheClearAsked)] == ["cs-1", "cs-2"]
    asked = [one for one in made.events if type(one).TYPE == "auth.CommandAsked.v1"]
    assert [(one.station, one.action) for one in asked] == [("cs-1", "ClearCache"), ("cs-2", "ClearCache")]  # type: ignore[attr-defined]


def test_one_that_was_asked_since_is_not_asked_again_and_one_that_was_asked_before_is() -> None:
    made = world()
    made.wait(10)
    found(made, ("cs-1", NOW))
    found(made, ("cs-1", NOW + 5))
    assert len(happened(made, CacheClearAsked)) == 1
    made.wait(10)
    found(made, ("cs-1", NOW + 15))
    assert len(happened(made, CacheClearAsked)) == 2


def test_a_station_that_takes_nothing_unasked_is_left_alone_unless_somebody_asks() -> None:
    made = world(automatic=False)
    made.wait(10)
    found(made, ("cs-1", NOW), ("unknown", NOW))
    assert len(happened(made, CachesStale)) == 1
    assert happened(made, CacheClearAsked) == []
    ask = Ask(command_id="c", action="ClearCache", payload=msgspec.Raw(b"{}"))
    outcome = made.ask(ClearCache.NAME, ClearCache(ask=ask), key="cs-1")
    assert outcome.result is not None
    assert outcome.result.body == {"commandId": "c"}
    assert [call.action for call in outcome.calls] == ["ClearCache"]


def test_nothing_follows_where_it_is_nowhere() -> None:
    made = world()
    found(made)
    assert happened(made, CachesStale) == []
