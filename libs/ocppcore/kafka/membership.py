"""Ownership of cells: a member of a consumer group that fetches nothing. Cell n = partition n of the group's topic.

Kafka's rebalance takes everybody's partitions away and deals them anew. The cells are kept over it, because most come
back; they end when the new deal arrives, or when it does not within a session. Meanwhile two members may believe to
own the same cell: the service's cell row decides (`ocppcore.log.Membership`).
"""

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]

from ocppcore.kafka.cluster import NOT_ALLOWED, RETRY_S, Cluster, stop
from ocppcore.log import LogUnavailable, Membership, RightsMissing

HEARTBEATS_PER_SESSION = 4
POLL_MS = 1000

logger = logging.getLogger(__name__)


class KafkaMembership(Membership):
    """A dead member's cells are dealt to the others within about one and a half sessions."""

    def __init__(self, cluster: Cluster, group: str, topic: str, session_timeout_s: float) -> None:
        self._cluster = cluster
        self._group = group
        self._topic = topic
        self._session_timeout_s = session_timeout_s
        self._cells: frozenset[int] = frozenset()
        self._told: frozenset[int] = frozenset()
        self._moved = asyncio.Event()
        self._failure: LogUnavailable | RightsMissing | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._left = False
        self._consumer: AIOKafkaConsumer | None = None
        self._task = asyncio.get_running_loop().create_task(self._belong(), name=f"kafka-membership {group}")

    @property
    def cells(self) -> frozenset[int]:
        return self._cells

    async def changed(self) -> frozenset[int]:
        """See the port."""
        while self._cells == self._told:
            if self._failure is not None:
                raise type(self._failure)(*self._failure.args)
            await self._moved.wait()
            self._moved.clear()
        self._told = self._cells
        return self._told

    async def leave(self) -> None:
        if self._left:
            return
        self._left = True
        self._own(frozenset())
        if self._failure is None:  # else it is stopping its client already
            self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _belong(self) -> None:
        loop = asyncio.get_running_loop()
        well_at = loop.time()
        try:
            while loop.time() - well_at < self._cluster.patience_s:
                self._consumer = await self._cluster.connect(self._make_consumer)
                self._consumer.subscribe([self._topic], listener=_Listener(self))
                try:
                    while True:
                        # Nothing comes, the partitions are paused: so aiokafka reports a coordination that failed.
                        await self._consumer.getmany(timeout_ms=POLL_MS)
                        well_at = loop.time()
                except NOT_ALLOWED as error:
                    raise RightsMissing(*self._cluster.unavailable(error).args) from error
                except KafkaError as error:
                    # aiokafka gives up on errors that pass, such as a coordinator that is loading: join anew.
                    logger.warning("group %s: %r", self._group, error)
                    self.revoked()
                await stop(self._consumer)
                await asyncio.sleep(RETRY_S)
            self._fail(self._cluster.unavailable(f"group {self._group} cannot be joined"))
        except (LogUnavailable, RightsMissing) as error:
            self._fail(error)
        finally:
            if self._consumer is not None:
                await stop(self._consumer)

    def _fail(self, error: LogUnavailable | RightsMissing) -> None:
        self._failure = error
        self._own(frozenset())
        self._moved.set()

    def revoked(self) -> None:
        """A rebalance began: what we own may become another's."""
        if self._grace is None:
            loop = asyncio.get_running_loop()
            self._grace = loop.call_later(self._session_timeout_s, self._own, frozenset())

    def assigned(self, partitions: set[Any]) -> None:
        """The rebalance ended: this is ours now."""
        if self._left or self._consumer is None:
            return
        self._consumer.pause(*partitions)
        self._own(frozenset(partition.partition for partition in partitions))

    def _own(self, cells: frozenset[int]) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        if cells != self._cells:
            logger.info("group %s: cells %s", self._group, sorted(cells))
            self._cells = cells
            self._moved.set()

    def _make_consumer(self) -> AIOKafkaConsumer:
        session_ms = round(self._session_timeout_s * 1000)
        return AIOKafkaConsumer(
            **self._cluster.options(),
            group_id=self._group,
            partition_assignment_strategy=[RangePartitionAssignor],
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // HEARTBEATS_PER_SESSION,
            rebalance_timeout_ms=session_ms,
            auto_offset_reset="latest",
            enable_auto_commit=False,
            consumer_timeout_ms=POLL_MS,
        )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: KafkaMembership) -> None:
        self._member = member

    def on_partitions_revoked(self, revoked: set[Any]) -> None:
        self._member.revoked()

    def on_partitions_assigned(self, assigned: set[Any]) -> None:
        self._member.assigned(assigned)
