"""What events may show of a command's payload, and what is sealed."""

import orjson
import pytest

from ocppcore.command_payload import show
from ocppcore.pseudonym import Pseudonyms
from ocppcore.seal import Seal

PSEUDONYMS = Pseudonyms(b"a key of tests")
SEAL = Seal(b"k" * 32, "outbound frames")


def shown(action: str, payload: object) -> tuple[object, bytes]:
    raw = orjson.dumps(payload)
    found = show("c1", action, raw, PSEUDONYMS, SEAL)
    frame = SEAL.open(found.sealed, b"c1") if found.sealed else b""
    return orjson.loads(found.payload), frame


def test_what_hides_nothing_is_kept_as_it_is() -> None:
    assert shown("Reset", {"type": "Immediate"}) == ({"type": "Immediate"}, b"")


def test_id_tokens_become_pseudonyms_and_the_frame_is_sealed() -> None:
    payload = {"remoteStartId": 1, "idToken": {"idToken": "ABC", "type": "Central"}}
    visible, frame = shown("RequestStartTransaction", payload)
    assert visible == {"remoteStartId": 1, "idToken": {"idToken": PSEUDONYMS.of("Central", "abc"), "type": "Central"}}
    assert orjson.loads(frame) == [2, "c1", "RequestStartTransaction", payload]


def test_a_password_that_is_set_is_hidden() -> None:
    data = {
        "component": {"name": "SecurityCtrlr"},
        "variable": {"name": "BasicAuthPassword"},
        "attributeValue": "hunter2hunter2hu",
    }
    visible, frame = shown("SetVariables", {"setVariableData": [data]})
    assert "hunter2" not in str(visible) and b"hunter2" in frame


def test_a_password_in_a_url_may_hold_an_at_sign() -> None:
    visible, frame = shown("GetLog", {"log": {"remoteLocation": "ftp://me:hunter2@hunter3@files.example/a@b"}})
    assert visible == {"log": {"remoteLocation": "ftp://***@files.example/a@b"}}
    assert b"hunter2@hunter3" in frame


@pytest.mark.parametrize("action", ["GetLog", "UpdateFirmware", "PublishFirmware"])
def test_passwords_in_urls_are_hidden(action: str) -> None:
    visible, frame = shown(action, {"location": "ftp://me:hunter2@files.example/fw.bin?a=b@c"})
    assert visible == {"location": "ftp://***@files.example/fw.bin?a=b@c"}
    assert b"hunter2" in frame


def test_a_customer_is_named_by_a_pseudonym() -> None:
    visible, frame = shown("CustomerInformation", {"requestId": 1, "customerIdentifier": "Ada"})
    assert "Ada" not in str(visible) and b"Ada" in frame


SIGNED = (
    "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAHUNTER2%2Feu&X-Amz-Security-Token=hunter2&X-Amz-Signature=hunter2",
    "?sv=2024-11-04&se=2027-01-01&sr=b&sp=w&sig=hunter2%2Fhunter2%3D",
    "?x%2Damz%2Dsignature=hunter2",
    "?GoogleAccessId=hunter2@x&Expires=1&Signature=hunter2",
    "?a=1;access_token=hunter2",
    "?token=hunter2 hunter2",
)


@pytest.mark.parametrize("query", SIGNED)
@pytest.mark.parametrize("action", ["GetLog", "UpdateFirmware", "PublishFirmware"])
def test_what_signs_a_url_is_hidden_and_the_station_gets_it_whole(action: str, query: str) -> None:
    url = f"https://files.example/fw.bin{query}"
    payload = {"GetLog": {"log": {"remoteLocation": url}}, "UpdateFirmware": {"firmware": {"location": url}}}.get(
        action, {"location": url}
    )
    visible, frame = shown(action, payload)
    assert "hunter2" not in str(visible).casefold() and "https://files.example/fw.bin?" in str(visible)
    assert orjson.loads(frame)[3] == payload


def test_a_query_without_secrets_is_kept() -> None:
    payload = {"location": "https://files.example/fw.bin?version=1.2&signed=yes&x-amz-date=1&author=me#sig=no"}
    assert shown("PublishFirmware", payload) == (payload, b"")
