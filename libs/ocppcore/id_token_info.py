"""The decision about an idToken as it goes over the wire (IdTokenInfoType): for Authorize and TransactionEvent."""

from datetime import UTC, datetime
from typing import Any

from ocppcore.authorization import IdTokenInfo
from ocppcore.v201 import IdTokenInfoType, IdTokenType, MessageContentType


def to_wire(info: IdTokenInfo) -> IdTokenInfoType:
    """Only what is known is sent: optional fields are left out, never null (Part 4, 4.1.5)."""
    fields: dict[str, Any] = {"status": info.status}
    if info.group:
        fields["groupIdToken"] = IdTokenType(idToken=info.group.id_token, type=info.group.type)  # type: ignore[arg-type]
    if info.language1:
        fields["language1"] = info.language1
    if info.language2:
        fields["language2"] = info.language2
    if info.personal_message:
        message = info.personal_message
        said: dict[str, Any] = {"format": message.format, "content": message.content}
        if message.language:
            said["language"] = message.language
        fields["personalMessage"] = MessageContentType(**said)
    if info.cache_expiry is not None:
        fields["cacheExpiryDateTime"] = datetime.fromtimestamp(info.cache_expiry / 1000, UTC)
    if info.charging_priority is not None:
        fields["chargingPriority"] = info.charging_priority
    if info.evses:
        fields["evseId"] = list(info.evses)
    return IdTokenInfoType(**fields)
