"""Incremental fetches (KIP-227): the broker remembers which partitions we read and from where.

A service reads a hundred and more partitions, and most fetches find records in a few. aiokafka's consumer names all of
them in every fetch and gets all of them in every answer; this names what changed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.protocol.api import Request  # type: ignore[import-untyped]
from aiokafka.protocol.fetch import (  # type: ignore[import-untyped]
    FetchRequest_v7,
    FetchRequest_v8,
    FetchRequest_v9,
    FetchRequest_v10,
    FetchRequest_v11,
)
from aiokafka.structs import TopicPartition as KafkaPartition  # type: ignore[import-untyped]

SESSION_ERRORS = frozenset({70, 71})
"""FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH: the broker has forgotten; begin anew."""

CONSUMER = -1
UNKNOWN = -1
READ_UNCOMMITTED = 0
EPOCH_MAX = 2**31 - 1

Versions = FetchRequest_v7 | FetchRequest_v8 | FetchRequest_v9 | FetchRequest_v10 | FetchRequest_v11


class SessionFetch(Request[Versions]):  # type: ignore[misc]
    """A fetch within a session: `changed` partitions with their positions, `forgotten` ones no longer read."""

    API_KEY = 1

    def __init__(
        self,
        session: tuple[int, int],
        changed: Mapping[KafkaPartition, int],
        forgotten: Iterable[KafkaPartition],
        *,
        wait_ms: int,
        bytes_max: int,
        partition_bytes_max: int,
    ) -> None:
        self.session = session
        self.changed = dict(changed)
        self.forgotten = tuple(forgotten)
        self._limits = (wait_ms, bytes_max, partition_bytes_max)

    def build(self, request_struct_class: Any) -> Any:
        wait_ms, bytes_max, partition_bytes_max = self._limits
        version = request_struct_class.API_VERSION
        topics = defaultdict(list)
        for tp, position in self.changed.items():
            epoch = (UNKNOWN,) if version >= 9 else ()
            topics[tp.topic].append((tp.partition, *epoch, position, UNKNOWN, partition_bytes_max))
        forgotten = defaultdict(list)
        for tp in self.forgotten:
            forgotten[tp.topic].append(tp.partition)
        head = (CONSUMER, wait_ms, 1, bytes_max, READ_UNCOMMITTED, *self.session)
        rack = ("",) if version >= 11 else ()
        return request_struct_class(*head, list(topics.items()), list(forgotten.items()), *rack)


class FetchSession:
    """Our half of a session with one broker."""

    def __init__(self) -> None:
        self._id = 0
        self._epoch = 0
        self._told: dict[KafkaPartition, int] = {}

    def request(
        self, wanted: Mapping[KafkaPartition, int], *, wait_ms: int, bytes_max: int, partition_bytes_max: int
    ) -> SessionFetch:
        """The next fetch: read exactly `wanted`, each partition from its position."""
        told = self._told
        changed = {tp: position for tp, position in wanted.items() if told.get(tp) != position}
        forgotten = [tp for tp in told if tp not in wanted] if len(told) + len(changed) > len(wanted) else []
        session = (self._id, self._epoch)
        told.update(changed)
        for tp in forgotten:
            del told[tp]
        return SessionFetch(
            session,
            changed,
            forgotten,
            wait_ms=wait_ms,
            bytes_max=bytes_max,
            partition_bytes_max=partition_bytes_max,
        )

    def answered(self, session_id: int) -> None:
        """The broker answered without an error. 0: it keeps no session for us, so the next fetch names all again."""
        if not session_id:
            self.forget()
            return
        self._id = session_id
        self._epoch = 1 if self._epoch == EPOCH_MAX else self._epoch + 1

    def forget(self) -> None:
        """After any failure: nobody knows what the broker remembers."""
        self._id = 0
        self._epoch = 0
        self._told.clear()
