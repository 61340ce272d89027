"""What a station said, kept as it came: the payload's own bytes, less what must not be in an event."""

from typing import Any, Final

import msgspec

from ocppcore.service import Context

HIDDEN: Final = "(hidden)"
_WRITE_ONLY: Final = b'"WriteOnly"'


def payload(context: Context) -> msgspec.Raw:
    """The CALL's payload as received, of a signed CALL the object that was signed."""
    return msgspec.Raw(context.payload)


def report(context: Context) -> msgspec.Raw:
    """NotifyReport's payload; a write-only variable (a password, a key) never shows its value."""
    if _WRITE_ONLY not in context.payload:
        return payload(context)
    said: dict[str, Any] = msgspec.json.decode(context.payload)
    for data in said.get("reportData", ()):
        for attribute in data["variableAttribute"]:
            if attribute.get("mutability") == "WriteOnly" and "value" in attribute:
                attribute["value"] = HIDDEN
    return msgspec.Raw(msgspec.json.encode(said))
