"""Authorize, from the payload to the answer and the event."""

import json
from typing import Any

import msgspec
import pytest

from ocppcore import topics
from ocppcore.authorization import Group, Message, TokenState
from ocppcore.contracts.auth import AuthorizationDecided
from ocppcore.contracts.device import ConnectorSpec, EvseSpec, StationState
from ocppcore.pseudonym import Pseudonyms
from ocppcore.service import Outcome
from ocppcore.tariff import Assignments, TariffState
from services.auth.service import parts
from tests.support.given import World
from tests.support.tariffs import tariff

PSEUDONYMS = Pseudonyms(b"key")
CARD = {"idToken": "ABCD1234", "type": "ISO14443"}


def world(state: TokenState | None = None, kind: str = "ISO14443", value: str = "ABCD1234", group: str = "") -> World:
    made = World("auth", parts(PSEUDONYMS, group))
    if state is not None:
        made.given_copy(topics.TOKENS, PSEUDONYMS.of(kind, value), state, position=17)
    return made


def answer(outcome: Outcome) -> dict[str, Any]:
    assert outcome.reply is not None
    return json.loads(outcome.reply.model_dump_json())  # type: ignore[no-any-return, union-attr]


def accepted(**fields: object) -> TokenState:
    return TokenState(**{"type": "ISO14443", "status": "Accepted", **fields})  # type: ignore[arg-type]


@pytest.mark.requirement("C01.FR.07")
def test_a_registered_token_is_accepted_and_the_event_names_no_value() -> None:
    outcome = world(accepted()).call("Authorize", {"idToken": CARD})
    assert answer(outcome) == {"idTokenInfo": {"status": "Accepted"}}
    (event,) = outcome.events
    assert isinstance(event, AuthorizationDecided)
    assert (event.token, event.token_type, event.status) == (
        PSEUDONYMS.of("ISO14443", "ABCD1234"),
        "ISO14443",
        "Accepted",
    )
    assert (event.token_position, event.station_position) == (17, -1)
    assert b"ABCD1234" not in msgspec.json.encode(event)


def test_tokens_compare_by_type_and_value_whatever_the_case_and_additional_info() -> None:
    """C01.FR.25"""
    made = world(accepted())
    info = [{"additionalIdToken": "x", "type": "y"}]
    same = made.call("Authorize", {"idToken": {"idToken": "abcd1234", "type": "ISO14443", "additionalInfo": info}})
    other = made.call("Authorize", {"idToken": {"idToken": "ABCD1234", "type": "Central"}})
    assert answer(same) == {"idTokenInfo": {"status": "Accepted"}}
    assert answer(other) == {"idTokenInfo": {"status": "Unknown"}}


@pytest.mark.requirement("C06.FR.04")
@pytest.mark.parametrize("kind", ["Central", "eMAID", "ISO15693", "KeyCode", "Local", "MacAddress"])
def test_every_type_is_decided(kind: str) -> None:
    made = world(accepted(type=kind), kind)
    outcome = made.call("Authorize", {"idToken": {"idToken": "ABCD1234", "type": kind}})
    assert answer(outcome) == {"idTokenInfo": {"status": "Accepted"}}


def test_no_authorization_is_accepted() -> None:
    outcome = world().call("Authorize", {"idToken": {"idToken": "", "type": "NoAuthorization"}})
    assert answer(outcome) == {"idTokenInfo": {"status": "Accepted"}}
    assert outcome.events[0].token == ""  # type: ignore[attr-defined]


@pytest.mark.requirement("C01.FR.06", "C09.FR.02", "C09.FR.09", "C09.FR.10")
def test_two_tokens_of_a_group_are_answered_with_the_same_group() -> None:
    group = Group(id_token="Family", type="Central")
    made = world(accepted(group=group))
    made.given_copy(topics.TOKENS, PSEUDONYMS.of("ISO14443", "EEEE"), accepted(group=group, status="Blocked"))
    first = made.call("Authorize", {"idToken": CARD})
    second = made.call("Authorize", {"idToken": {"idToken": "EEEE", "type": "ISO14443"}})
    wanted = {"idToken": "Family", "type": "Central"}
    assert answer(first) == {"idTokenInfo": {"status": "Accepted", "groupIdToken": wanted}}
    assert answer(second) == {"idTokenInfo": {"status": "Blocked", "groupIdToken": wanted}}


def test_a_master_pass_is_accepted_with_its_group() -> None:
    """C16: the station compares the group with MasterPassGroupId."""
    made = world(accepted(group=Group(id_token="Police", type="Central")), group="Police")
    assert answer(made.call("Authorize", {"idToken": CARD})) == {
        "idTokenInfo": {"status": "Accepted", "groupIdToken": {"idToken": "Police", "type": "Central"}}
    }


@pytest.mark.requirement("C01.FR.18")
def test_the_stations_registered_connectors_decide_about_types() -> None:
    made = world(accepted(connector_types=("cCCS2",)))
    evses = (EvseSpec(id=1, connectors=(ConnectorSpec(id=1, type="sType2"),)),)
    state = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted", evses=evses)
    made.given_copy(topics.STATIONS, "cs-1", state, position=4)
    outcome = made.call("Authorize", {"idToken": CARD})
    assert answer(outcome) == {"idTokenInfo": {"status": "NotAllowedTypeEVSE"}}
    assert outcome.events[0].station_position == 4  # type: ignore[attr-defined]


@pytest.mark.requirement("C07.FR.04", "C07.FR.17")
@pytest.mark.parametrize(
    "proof",
    [
        {"certificate": "-----BEGIN CERTIFICATE-----"},
        {
            "iso15118CertificateHashData": [
                {
                    "hashAlgorithm": "SHA256",
                    "issuerNameHash": "a",
                    "issuerKeyHash": "b",
                    "serialNumber": "c",
                    "responderURL": "http://x",
                }
            ]
        },
    ],
)
def test_a_contract_certificate_cannot_be_verified(proof: dict[str, object]) -> None:
    made = world(accepted(type="eMAID"), "eMAID", "DEABC")
    outcome = made.call("Authorize", {"idToken": {"idToken": "DEABC", "type": "eMAID"}, **proof})
    assert answer(outcome) == {"certificateStatus": "CertChainError", "idTokenInfo": {"status": "Invalid"}}
    assert outcome.events[0].certificate_status == "CertChainError"  # type: ignore[attr-defined]


def priced(made: World, **more: Any) -> World:
    """With a tariff for everybody, in two languages, at a station that is registered so."""
    texts = [{"language": "en", "text": "30 cents a kWh"}, {"language": "de", "text": "30 Cent je kWh"}]
    state = TariffState(
        id="t", versions=(tariff({"ENERGY": "0.30"}, texts=texts),), assignments=Assignments(default=True)
    )
    made.given_copy(topics.TARIFFS, "t", state)
    station = StationState(id="CS-1", security_profile=1, credential=None, registration="Accepted", **more)
    made.given_copy(topics.STATIONS, "cs-1", station)
    return made


@pytest.mark.requirement("I01.FR.01")
@pytest.mark.parametrize(
    ("languages", "shown"),
    [
        ({}, ("en", "30 cents a kWh")),
        ({"language1": "fr", "language2": "de-CH"}, ("de", "30 Cent je kWh")),
        ({"language1": "EN-us"}, ("en", "30 cents a kWh")),
    ],
)
def test_the_tariff_is_told_in_a_language_of_the_drivers(languages: dict[str, str], shown: tuple[str, str]) -> None:
    outcome = priced(world(accepted(**languages))).call("Authorize", {"idToken": CARD})
    message = answer(outcome)["idTokenInfo"]["personalMessage"]
    assert message == {"format": "UTF8", "language": shown[0], "content": shown[1]}
    assert outcome.events[0].tariff == "1/t"  # type: ignore[attr-defined]


@pytest.mark.requirement("I01.FR.02")
@pytest.mark.parametrize(
    ("supports", "told"),
    [({}, True), ({"tariffText": False}, False), ({"tariffText": False, "displayMessage": True}, True)],
)
def test_the_tariff_is_told_only_to_stations_that_show_it(supports: dict[str, bool], told: bool) -> None:
    outcome = priced(world(accepted()), supports=supports).call("Authorize", {"idToken": CARD})
    assert ("personalMessage" in answer(outcome)["idTokenInfo"]) is told


def test_a_refused_token_is_told_no_tariff_and_its_own_message_comes_first() -> None:
    refused = priced(world(accepted(status="Blocked"))).call("Authorize", {"idToken": CARD})
    assert answer(refused) == {"idTokenInfo": {"status": "Blocked"}}
    own = Message(format="UTF8", content="Welcome back", language="en")
    both = priced(world(accepted(personal_message=own))).call("Authorize", {"idToken": CARD})
    content = answer(both)["idTokenInfo"]["personalMessage"]["content"]
    assert content == "Welcome back\n30 cents a kWh"
    link = Message(format="URI", content="https://example.com")
    kept = priced(world(accepted(personal_message=link))).call("Authorize", {"idToken": CARD})
    assert answer(kept)["idTokenInfo"]["personalMessage"]["content"] == "https://example.com"
