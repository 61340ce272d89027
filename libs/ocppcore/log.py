"""The log port: append records durably; read partitions in batches from positions that the caller keeps.

Design section 3. Three adapters hold the same contract (`tests/integration/log_contract.py`): `kafka.KafkaLog`,
`postgres.PostgresLog` and the twin `memory.MemoryLog`. The port knows nothing of OCPP or of services.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ocppcore.errors import CsmsError, OperatorError, Unavailable

Headers = Mapping[str, str]


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class NewRecord(NamedTuple):
    """A record to append. `partition` is chosen by the caller (`topics.partition_of`); headers are text."""

    topic: str
    partition: int
    key: str
    value: bytes
    headers: Headers


class StreamRecord(NamedTuple):
    """A row of a service's own stream (its events), numbered densely per partition by the service's cell."""

    topic: str
    partition: int
    number: int
    key: str
    value: bytes
    headers: Headers


class Record(NamedTuple):
    """A record as read. `position` rises within (topic, partition), maybe with gaps; `appended_at` is ms since 1970."""

    topic: str
    partition: int
    position: int
    key: str
    value: bytes
    headers: Headers
    appended_at: int


class LogError(CsmsError):
    """Base of what a log may raise."""


class LogUnavailable(LogError, Unavailable):
    """The log did not answer within its bounded retries: the caller should stop and be started again."""


class RecordTooLarge(LogError):
    """A record is over the log's limit; nothing of the call was appended."""


class PositionLost(LogError, OperatorError):
    """A position that was asked for is beyond the log's end or before its start (`csms recover` tells what to do)."""


class LogReplaced(LogError, OperatorError):
    """The database was written from another log than this one (`csms recover` tells what to do)."""


class PartitionsChanged(LogError, OperatorError):
    """A declared topic exists with another number of partitions than asked for."""


class RightsMissing(LogError, OperatorError):
    """The log knows this process's user and does not let it do what the process does; the text says what is missing."""


class Reader(Protocol):
    """Reads its assigned partitions from positions the caller gives; it stores nothing."""

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Replace the assignment: read each partition next at the position given. Takes effect at the next fetch."""

    async def fetch(self, max_records: int, wait_s: float) -> list[Record]:
        """Up to `max_records` records in position order per partition, fairly over the partitions.

        Returns at once with what is there; waits at most `wait_s` for the first record, then returns [].
        Never returns a record while one with a lower position of its partition may still become visible.
        Cancelling a fetch loses nothing: its records come again. Raises PositionLost, LogUnavailable.
        """

    async def close(self) -> None: ...


class Membership(Protocol):
    """This process's share of a group's cells (partition numbers 0..n-1 of the topic it was made for).

    At most one live member believes to own a cell most of the time; a member cut off may believe so for longer
    (a zombie): the service's cell row fences it. Cells are spread evenly over members; a member that leaves or
    dies hands its cells to the others.
    """

    @property
    def cells(self) -> frozenset[int]: ...

    async def changed(self) -> frozenset[int]:
        """Wait until the owned set differs from what this method last returned (first call: from empty).

        Raises LogUnavailable, RightsMissing when there will be no more cells.
        """

    async def leave(self) -> None:
        """Give all cells up at once; idempotent."""


class Log(Protocol):
    async def declare(self, partitions: Mapping[str, int], *, compacted: frozenset[str] = frozenset()) -> None:
        """Make sure these topics exist with these partition counts. Raises PartitionsChanged. Idempotent."""

    async def identity(self) -> str:
        """An id made when the log was created: another log has another id."""

    async def append(self, records: Sequence[NewRecord]) -> Sequence[int]:
        """Append; durable (survives kill -9 and a restart of the log) once this returns the positions.

        Records of one call keep their order per partition, and so do successive calls of one task, whether or not
        it awaits in between. If it raises, each record was appended or not. Many tasks may call at once: their
        records share a batch. Bounded: waits while too many bytes are in flight. Raises RecordTooLarge
        (nothing appended), LogUnavailable.
        """

    async def publish(self, records: Sequence[StreamRecord]) -> None:
        """Make numbered stream rows, already committed by the service's store, readable on their topic; durable.

        A repeat publishes the same bytes again: readers drop numbers they have seen (Kafka, memory), or the log
        holds each once (PostgreSQL: the committed rows are the log's rows, only readers are woken).
        The number travels in the header `number`.
        """

    def resume(self, stream: TopicPartition, number: int) -> None:
        """This process owns the stream's cell from here on and publishes from this number: what it published before it
        lost the cell, or failed to publish, counts no more."""

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Per partition the position after its last visible record (0 when empty)."""

    async def starts(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Per partition the first position that may still be read."""

    def reader(self) -> Reader: ...

    def membership(self, group: str, topic: str) -> Membership:
        """Join `group` for the cells of `topic`. The same group name always with the same topic."""

    async def close(self) -> None: ...
