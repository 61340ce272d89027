"""What a handler of a CSMS-initiated action returns."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..frames import Json

if TYPE_CHECKING:
    from ..station import Station

ITEMS_PER_MESSAGE = 20


class Answer(NamedTuple):
    """The CALLRESULT's payload, and what the station does once it is sent (F06.FR.04 and the like)."""

    payload: Json
    then: Callable[[], object] | None = None


class TooMany(Exception):
    """More items than the station takes in one message (B05.FR.11, B06.FR.16)."""


def status(word: str, reason: str | None = None, then: Callable[[], object] | None = None) -> Answer:
    """An answer that is a status, perhaps with a reason code."""
    payload: Json = {"status": word}
    if reason is not None:
        payload["statusInfo"] = {"reasonCode": reason}
    return Answer(payload, then)


def book(station: "Station", name: str) -> dict[Any, Any]:
    """The notes that the handlers keep under `name`."""
    found: dict[Any, Any] = station.books.setdefault(name, {})
    return found


def parts(items: list[Json], size: int = ITEMS_PER_MESSAGE) -> Iterator[tuple[int, bool, list[Json]]]:
    """Cuts a report: (seqNo, to be continued, items). An empty report has no part."""
    for seq_no, start in enumerate(range(0, len(items), size)):
        yield seq_no, start + size < len(items), items[start : start + size]
