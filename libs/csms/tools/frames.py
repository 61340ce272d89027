"""`csms frames`: frames of all stations or one, both directions, as they pass the log, redacted."""

from collections.abc import Mapping, Sequence

import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from csms.tools.access import Access
from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.errors import OperatorError
from ocppcore.log import Record, TopicPartition
from ocppcore.topics import normalise
from services.gateway.frames import Item, item_of

ARROWS = {"from": ("-->", "cyan"), "to": ("<--", "green"), "receipt": (" * ", "yellow")}
FETCH_MAX = 500
FRAME_CHARACTERS_MAX = 2000
STEP_MIN = 200
SCAN_MAX = 100_000
"""Records of a partition that are looked through for the newest ones of a station."""

Read = tuple[Record, Item]


class _Named(msgspec.Struct):
    """Of a station's state record: its id as registered."""

    id: str


async def frames(access: Access, console: Console, *, station: str | None, follow: bool, last: int, slots: int) -> None:
    """Print the `last` newest frames, oldest first, then, with `follow`, what comes until Ctrl-C.

    Raises OperatorError for a station that nobody registered and that the log holds no frame of.
    """
    key = normalise(station) if station else None
    cells = range(access.partitions) if key is None else (topics.partition_of(key, access.partitions),)
    partitions = [TopicPartition(topics.frames(service), cell) for service in topics.SERVICES for cell in cells]
    partitions += [TopicPartition(topics.OUTBOUND, slot) for slot in range(slots)]
    starts, ends = await access.log.starts(partitions), await access.log.ends(partitions)
    names = await _names(access)
    found = await _newest(access, {tp: (starts[tp], ends[tp]) for tp in partitions}, key, last)
    if station and key not in names and not found:
        if not follow:
            raise OperatorError(f"no station {station} is registered, and the log holds no frame of one")
        console.print(Text(f"No station {station} is registered; waiting for its frames all the same.", style="yellow"))
    for record, item in found:
        _print(console, record, item, names)
    if follow:
        await _follow(access, console, ends, key, names)


async def _follow(
    access: Access, console: Console, ends: Mapping[TopicPartition, int], key: str | None, names: dict[str, str]
) -> None:
    reader = access.log.reader()
    reader.assign(ends)
    try:
        while True:
            for record, item in _readable(await reader.fetch(FETCH_MAX, 1.0), key):
                _print(console, record, item, names)
    finally:
        await reader.close()


async def _newest(
    access: Access, bounds: Mapping[TopicPartition, tuple[int, int]], key: str | None, last: int
) -> list[Read]:
    """The newest `last` of all, oldest first. Goes back step by step in each partition until it has given so many, or
    SCAN_MAX records were looked at: what is older than that is not found."""
    found: dict[TopicPartition, list[Read]] = {tp: [] for tp in bounds}
    tops = {tp: end for tp, (_, end) in bounds.items()}
    step = max(last, STEP_MIN)
    while last and (parts := _further(bounds, tops, found, last, step)):
        for tp, items in (await _between(access, parts, key)).items():
            found[tp] = items + found[tp]
        tops |= {tp: low for tp, (low, _) in parts.items()}
        step *= 4
    return sorted((one for items in found.values() for one in items), key=_order)[-last:] if last else []


def _further(
    bounds: Mapping[TopicPartition, tuple[int, int]],
    tops: Mapping[TopicPartition, int],
    found: Mapping[TopicPartition, list[Read]],
    last: int,
    step: int,
) -> dict[TopicPartition, tuple[int, int]]:
    """Where to look next: below what was looked at, in the partitions that may hold more."""
    parts = {}
    for tp, (start, end) in bounds.items():
        low = max(start, tops[tp] - step, end - SCAN_MAX)
        if len(found[tp]) < last and low < tops[tp]:
            parts[tp] = (low, tops[tp])
    return parts


async def _between(
    access: Access, parts: Mapping[TopicPartition, tuple[int, int]], key: str | None
) -> dict[TopicPartition, list[Read]]:
    found: dict[TopicPartition, list[Read]] = {tp: [] for tp in parts}
    at = {tp: low for tp, (low, _) in parts.items()}
    reader = access.log.reader()
    reader.assign(at)
    try:
        while any(at[tp] < high for tp, (_, high) in parts.items()):
            records = await reader.fetch(FETCH_MAX, 1.0)
            if not records:
                break  # what is left are gaps
            for record in records:
                at[TopicPartition(record.topic, record.partition)] = record.position + 1
            for record, item in _readable(records, key):
                tp = TopicPartition(record.topic, record.partition)
                if record.position < parts[tp][1]:
                    found[tp].append((record, item))
    finally:
        await reader.close()
    return found


def _readable(records: Sequence[Record], key: str | None) -> list[Read]:
    read = ((record, item_of(record)) for record in records if key is None or record.key == key)
    return sorted(((record, item) for record, item in read if item is not None), key=_order)


def _order(read: Read) -> tuple[int, int]:
    """By time; within a millisecond a command comes before what came of it, a reply after its CALL."""
    item = read[1]
    return item.at, 0 if item.kind == "command" else 2 if item.kind == "reply" else 1


async def _names(access: Access) -> dict[str, str]:
    """Of the registered stations, by normalised id: how they are spelled."""
    partitions = [TopicPartition(topics.STATIONS, cell) for cell in range(access.partitions)]
    at, ends = dict(await access.log.starts(partitions)), await access.log.ends(partitions)
    names: dict[str, str] = {}
    reader = access.log.reader()
    reader.assign(at)
    try:
        while any(at[tp] < ends[tp] for tp in partitions):
            records = await reader.fetch(FETCH_MAX, 1.0)
            if not records:
                break  # what is left are gaps
            for record in records:
                at[TopicPartition(record.topic, record.partition)] = record.position + 1
                if record.value:
                    names[record.key] = msgspec.json.decode(record.value, type=_Named).id
    finally:
        await reader.close()
    return names


def _print(console: Console, record: Record, item: Item, names: dict[str, str]) -> None:
    if item.identity:
        names[record.key] = item.identity
    arrow, style = ARROWS.get(item.direction, ("---", "white"))
    frame = item.frame if isinstance(item.frame, str) else orjson.dumps(item.frame).decode()
    line = Text(f"{to_rfc3339(item.at)} ", style="dim")
    line.append(f"{names.get(record.key, record.key):<20} ", style="bold")
    line.append(f"{arrow} ", style=style)
    line.append(f"{item.action or item.kind:<24} ", style=style)
    if item.refused:
        line.append(f"refused {item.refused} ", style="red")
    line.append(frame[:FRAME_CHARACTERS_MAX])
    console.print(line, soft_wrap=True)
