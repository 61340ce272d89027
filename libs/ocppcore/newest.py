"""For who keeps a state topic in memory: records that an earlier event left behind a later one's are told apart.

A process that was held to be dead may publish a state late, after its successor published a newer one. Stores keep the
event's number with each row of a copy (`store.is_newer`); this is the same for what is folded into a dict.
"""

from sys import intern

from ocppcore.envelope import origin
from ocppcore.log import Record


class Newest:
    """Feed it every record of one topic, in order per partition. It remembers an event for each key, also for those
    that were deleted: as many as the topic has, and had since the process began."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[str, int]] = {}

    def takes(self, record: Record) -> bool:
        """Whether the record counts; False: it follows from an earlier event than what was read before it."""
        source, number = origin(record.headers.get("ce_id", ""))
        known = self._made.get(record.key)
        if known is not None and known[0] == source and number < known[1]:
            return False
        self._made[record.key] = intern(source), number
        return True
