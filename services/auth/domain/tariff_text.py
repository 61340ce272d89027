"""The tariff in the answer to Authorize (I01): what charging will cost this driver here, in a language he reads."""

from typing import NamedTuple

import msgspec

from ocppcore.authorization import IdTokenInfo, Message
from ocppcore.contracts.device import StationState
from ocppcore.service import WHOLE, Context, Lookup, View
from ocppcore.tariff import CONTENT_MAX, Text, Whose, read_index, shows_tariff, text_for
from ocppcore.topics import STATIONS, TARIFFS, normalise


class Shown(NamedTuple):
    """The answer with the tariff's text, and the tariff (`version/id`), "" where none is shown."""

    info: IdTokenInfo
    tariff: str


def lookups(station: str) -> tuple[Lookup, ...]:
    return ((TARIFFS, WHOLE), (STATIONS, station))


def show(info: IdTokenInfo, pseudonym: str, view: View, context: Context) -> Shown:
    """With the text of the tariff that would apply, unless the token is refused or the station shows no tariffs
    (I01.FR.01, I01.FR.02). What was registered as the token's own message comes first.
    """
    if info.status != "Accepted":
        return Shown(info, "")
    whose = Whose(pseudonym, normalise(info.group.id_token) if info.group else "", context.station)
    tariff = view.whole(TARIFFS, read_index).choose(whose, context.now)
    if tariff is None:
        return Shown(info, "")
    station = view.copy(STATIONS, StationState, context.station)
    if not shows_tariff(station.supports if station else {}):
        return Shown(info, "")
    text = text_for(tariff, info.language1, info.language2)
    message = _together(info.personal_message, text)
    if message is info.personal_message:
        return Shown(info, "")
    return Shown(msgspec.structs.replace(info, personal_message=message), tariff.ref)


def _together(own: Message | None, text: Text) -> Message:
    """One message of both, or the own one where they do not go together: it was written for this driver."""
    if own is None:
        return Message(format="UTF8", content=text.text, language=text.language or None)
    content = f"{own.content}\n{text.text}"
    if own.format not in ("ASCII", "UTF8") or len(content) > CONTENT_MAX:
        return own
    return Message(format="UTF8", content=content, language=own.language)
