"""A station's frames in both directions, read back from the log for people: in order of time, redacted.

The log has no index by station: a scan looks at a bounded number of records of the partitions in which the station's
frames lie, and a cursor says where the next one goes on. The place where a time begins is found by halving.
"""

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, NamedTuple

import msgspec
import orjson

from ocppcore import topics
from ocppcore.envelope import BadRecord, Receipt, Refusal, parse_frame, parse_outbound
from ocppcore.log import Log, PositionLost, Reader, Record, TopicPartition
from ocppcore.telemetry import HIDDEN, redact_text
from ocppcore.url_secrets import hide_in_url

_Position = Annotated[int, msgspec.Meta(ge=0, le=2**62)]

FETCH_MAX: Final = 1000
FETCH_WAIT_S: Final = 0.2
SCANS_MAX: Final = 4
READ_THROUGH: Final = FETCH_MAX
"""So few records are read through to find a time."""

_PRIVATE: Final = frozenset({"idToken", "additionalIdToken", "certificate", "certificateChain", "csr", "exiRequest"})


class Item(NamedTuple):
    """One frame or receipt. `direction`: from the station, to it, or a gateway's receipt of a command. `at`: ms.

    `identity`: the station's id as it connected, "" where the record does not say.
    """

    at: int
    direction: str
    kind: str
    message_id: str
    action: str
    epoch: int
    refused: str
    frame: object
    identity: str = ""


class Page(NamedTuple):
    """`positions` (partition -> next position) go on after the items; `complete`: nothing more was there to read."""

    items: Sequence[Item]
    positions: Mapping[TopicPartition, int]
    complete: bool


class Frames:
    """Scans at most `records_max` records a request, and few requests at a time."""

    def __init__(self, log: Log, cells: int, slots: int, records_max: int) -> None:
        self._log = log
        self._cells = cells
        self._slots = slots
        self._records_max = records_max
        self._free = asyncio.Semaphore(SCANS_MAX)

    def partitions(self, station: str) -> list[TopicPartition]:
        """Where a station's frames lie: its cell on four topics, and every slot."""
        cell = topics.partition_of(station, self._cells)
        received = [TopicPartition(topics.frames(service), cell) for service in topics.SERVICES]
        return received + [TopicPartition(topics.OUTBOUND, slot) for slot in range(self._slots)]

    async def since(self, station: str, at: int) -> Mapping[TopicPartition, int]:
        """The position in each partition of the first record appended at or after `at` (ms)."""
        partitions = self.partitions(station)
        starts, ends = await self._log.starts(partitions), await self._log.ends(partitions)
        found = {}
        async with self._free:
            reader = self._log.reader()
            try:
                for partition in partitions:
                    found[partition] = await _halve(reader, partition, starts[partition], ends[partition], at)
            finally:
                await reader.close()
        return found

    async def read(self, station: str, positions: Mapping[TopicPartition, int], limit: int) -> Page:
        """Up to about `limit` items from these positions on, in order of time. Raises PositionLost."""
        ends = await self._log.ends(list(positions))
        at = dict(positions)
        items: list[Item] = []
        looked = 0
        async with self._free:
            reader = self._log.reader()
            try:
                reader.assign({p: position for p, position in at.items() if position < ends[p]})
                while looked < self._records_max and len(items) < limit:
                    if all(position >= ends[partition] for partition, position in at.items()):
                        break
                    records = await reader.fetch(min(FETCH_MAX, self._records_max - looked), FETCH_WAIT_S)
                    if not records:
                        break  # what is left are gaps
                    looked += len(records)
                    for record in records:
                        at[TopicPartition(record.topic, record.partition)] = record.position + 1
                        if record.key == station and (item := item_of(record)):
                            items.append(item)
            finally:
                await reader.close()
        complete = all(position >= ends[partition] for partition, position in at.items())
        return Page(sorted(items, key=_order), at, complete)


async def _halve(reader: Reader, partition: TopicPartition, start: int, end: int, at: int) -> int:
    """Append times rise with positions: the first position whose record is not older than `at`."""
    low, high = start, end
    while low < high:
        if high - low <= READ_THROUGH and (records := await _few(reader, partition, low, high - low)):
            # One look at the log where halving takes ten.
            for record in records:
                if record.appended_at >= at:
                    return record.position
            low = records[-1].position + 1
            continue
        middle = (low + high) // 2
        reader.assign({partition: middle})
        try:
            records = await reader.fetch(1, FETCH_WAIT_S)
        except PositionLost:
            low = middle + 1
            continue
        if records and records[0].appended_at < at:
            low = records[0].position + 1
        else:
            high = middle
    return low


async def _few(reader: Reader, partition: TopicPartition, start: int, most: int) -> list[Record]:
    """What is to be had there at once; nothing where it is gaps, or lost."""
    reader.assign({partition: start})
    try:
        return await reader.fetch(most, FETCH_WAIT_S)
    except PositionLost:
        return []


def _order(item: Item) -> tuple[int, int]:
    """By time; within a millisecond a command comes before what came of it, a reply after its CALL."""
    return item.at, 0 if item.kind == "command" else 2 if item.kind == "reply" else 1


def item_of(record: Record) -> Item | None:
    """A record of a frames topic or of `ocpp.outbound`, as people may see it; None for what is no frame."""
    try:
        if record.topic == topics.OUTBOUND:
            out = parse_outbound(record)
            frame = HIDDEN if out.sealed else shown(out.frame)
            return Item(record.appended_at, "to", out.kind, out.message_id, out.action, out.epoch, "", frame)
        entry = parse_frame(record)
    except BadRecord:
        return None
    if isinstance(entry, Refusal):
        return None  # no frame: one of the device service's security events
    if isinstance(entry, Receipt):
        return Item(
            entry.received_at, "receipt", entry.what, entry.command_id, entry.action, entry.epoch, "", entry.reason
        )
    return Item(
        entry.received_at,
        "from",
        entry.kind,
        entry.message_id,
        entry.action,
        entry.epoch,
        entry.refused,
        HIDDEN if entry.sealed else shown(entry.frame),
        entry.identity,
    )


def shown(frame: bytes) -> object:
    """A frame as people may see it: its JSON without idTokens, passwords and certificates, or the text that it is."""
    try:
        return _hide(orjson.loads(frame))
    except (orjson.JSONDecodeError, RecursionError):
        return redact_text(frame[:2000].decode(errors="replace"))


def _hide(value: object, name: str = "") -> object:
    if isinstance(value, dict):
        secret = "Password" in str(value.get("variable", ""))
        return {
            key: HIDDEN
            if isinstance(item, str) and (key in _PRIVATE or (secret and key == "attributeValue"))
            else _hide(item, key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_hide(item) for item in value]
    if isinstance(value, str):
        return hide_in_url(value, HIDDEN)
    return value


def encode_cursor(positions: Mapping[TopicPartition, int]) -> str:
    """Positions as text that fits into a URL."""
    frames = [positions.get(p, 0) for p in positions if p.topic != topics.OUTBOUND]
    slots = {p.partition: position for p, position in positions.items() if p.topic == topics.OUTBOUND and position}
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((frames, slots))).rstrip(b"=").decode()


def decode_cursor(cursor: str, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """The positions of these partitions, in the order in which they were encoded. Raises ValueError."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        frames, slots = msgspec.msgpack.decode(packed, type=tuple[list[_Position], dict[int, _Position]])
    except (binascii.Error, msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ValueError("not a cursor") from error
    received = [partition for partition in partitions if partition.topic != topics.OUTBOUND]
    if len(frames) != len(received):
        raise ValueError("not a cursor")
    found = dict(zip(received, frames, strict=True))
    return found | {p: slots.get(p.partition, 0) for p in partitions if p.topic == topics.OUTBOUND}
