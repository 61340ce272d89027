"""What a station said, kept as it came: the payload's own bytes, less what must not be in an event."""

from typing import Any, Final

import msgspec

from ocppcore.service import Context
from ocppcore.wire import dump_json, load_json

HIDDEN: Final = "(hidden)"
_WRITE_ONLY: Final = b'"WriteOnly"'


def payload(context: Context) -> msgspec.Raw:
    """The CALL's payload as received, of a signed CALL the object that was signed."""
    return msgspec.Raw(context.payload)


def events(context: Context) -> msgspec.Raw:
    """NotifyEvent's payload, without the idToken that a token reader reports (TokenReader, Token)."""
    if b"tokenreader" not in context.payload.lower():
        return payload(context)
    said: dict[str, Any] = load_json(context.payload)
    for data in said.get("eventData", ()):
        if _reads_token(data):
            data["actualValue"] = HIDDEN
    return msgspec.Raw(dump_json(said))


def _reads_token(data: dict[str, Any]) -> bool:
    names = (data["component"]["name"].casefold(), data["variable"]["name"].casefold())
    return names == ("tokenreader", "token")


def report(context: Context) -> msgspec.Raw:
    """NotifyReport's payload; a write-only variable (a password, a key) never shows its value."""
    if _WRITE_ONLY not in context.payload and b"tokenreader" not in context.payload.lower():
        return payload(context)
    said: dict[str, Any] = load_json(context.payload)
    for data in said.get("reportData", ()):
        for attribute in data["variableAttribute"]:
            if "value" in attribute and (attribute.get("mutability") == "WriteOnly" or _reads_token(data)):
                attribute["value"] = HIDDEN
    return msgspec.Raw(dump_json(said))
