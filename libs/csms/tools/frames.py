"""`csms frames`: frames of all stations or one, both directions, as they pass the log, redacted."""

import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from csms.tools.access import Access
from ocppcore import topics
from ocppcore.clock import to_rfc3339
from ocppcore.log import Record, TopicPartition
from ocppcore.topics import normalise
from services.gateway.frames import item_of

ARROWS = {"from": ("-->", "cyan"), "to": ("<--", "green"), "receipt": (" * ", "yellow")}
FETCH_MAX = 500
FRAME_CHARACTERS_MAX = 2000


class _Named(msgspec.Struct):
    """Of a station's state record: its id as registered."""

    id: str


async def frames(access: Access, console: Console, *, station: str | None, follow: bool, last: int, slots: int) -> None:
    """Print the newest frames of each partition, then, with `follow`, what comes until Ctrl-C."""
    key = normalise(station) if station else None
    partitions = [
        TopicPartition(topics.frames(service), cell) for service in topics.SERVICES for cell in range(access.partitions)
    ]
    partitions += [TopicPartition(topics.OUTBOUND, slot) for slot in range(slots)]
    starts, ends = await access.log.starts(partitions), await access.log.ends(partitions)
    names = await _names(access)
    reader = access.log.reader()
    reader.assign({tp: max(starts[tp], ends[tp] - last) for tp in partitions})
    at = {tp: max(starts[tp], ends[tp] - last) for tp in partitions}
    try:
        while follow or any(at[tp] < ends[tp] for tp in partitions):
            records = await reader.fetch(FETCH_MAX, 1.0)
            if not records and not follow:
                break
            for record in sorted(records, key=lambda record: record.appended_at):
                at[TopicPartition(record.topic, record.partition)] = record.position + 1
                if key is None or record.key == key:
                    _print(console, record, names)
    finally:
        await reader.close()


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


def _print(console: Console, record: Record, names: dict[str, str]) -> None:
    item = item_of(record)
    if item is None:
        return
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
