"""Drives the stations of a load run: connects them, starts the load, measures the window, and reports."""

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from time import perf_counter_ns
from typing import IO
from urllib.parse import urlsplit

from ..fleet import source_addresses
from ..histogram import Histogram
from ..inputs import IdToken
from ..rng import Rng
from .report import Latency, LoadConfig, LoadResult
from .script import Stamp, Step
from .station import LoadStation

SAMPLES_MAX = 8
REDIAL_FIRST_S, REDIAL_MOST_S = 0.1, 5.0
TICK_S = 0.001


class Driver:
    """One run in one event loop. The stations call back into it; it holds the figures."""

    def __init__(self, config: LoadConfig) -> None:
        parts = urlsplit(config.url)
        if parts.scheme != "ws" or parts.hostname is None or config.stations < 1 or config.rate <= 0:
            raise ValueError("a load needs a ws:// URL, stations and a rate")
        if config.passwords and len(config.passwords) != config.stations:
            raise ValueError(f"{len(config.passwords)} passwords for {config.stations} stations")
        self.config = config
        self.host = parts.netloc
        self.path = parts.path.rstrip("/")
        self._address = (parts.hostname, parts.port or 80)
        self._sources = source_addresses(config.url)
        self.closed_loop = config.mode == "closed"
        self.idle = config.mode == "idle"
        self.priced = config.priced
        self.running = False
        self.journal: IO[bytes] | None = None
        self.transactions = self.csms_calls = self.resent = 0
        self._run = Rng(time.time_ns(), config.prefix, config.first).bits()
        self._rng = Rng(config.seed, config.prefix)
        self._stamp = Stamp()
        self._stations: list[LoadStation] = []
        self._wall_offset_ns = time.time_ns() - perf_counter_ns()
        self._window = (0, 0)
        self._period_ns = 0.0
        self._schedule_start = 0
        self._all, self._lag = Histogram(), Histogram()
        self._by_step: dict[str, Histogram] = {}
        self._window_calls = 0
        self._errors: Counter[str] = Counter()
        self._samples: list[str] = []
        self._ready = self._disconnects = self._reconnects = 0
        self._all_ready = asyncio.Event()
        self._redials: dict[LoadStation, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def run(self) -> LoadResult:
        """The whole run. Raises ValueError if no station became ready."""
        config = self.config
        if config.journal is not None:
            self.journal = Path(config.journal).open("wb")  # noqa: ASYNC230, SIM115 (opened once, written in blocks)
        started = perf_counter_ns()
        try:
            await self._connect_all()
            connect_s = (perf_counter_ns() - started) / 1e9
            if not self._ready:
                raise ValueError(f"no station became ready: {dict(self._errors)} {self._samples}")
            return await self._load(connect_s)
        finally:
            self._closing = True
            for station in self._stations:
                station.close()
            for task in self._tasks:
                task.cancel()
            if self.journal is not None:
                self.journal.close()

    # -- phases

    async def _connect_all(self) -> None:
        config = self.config
        tokens = [IdToken.parse(text) for text in config.tokens]
        for number, station_id in enumerate(config.station_ids):
            updates = self._rng.between(0, config.updates)  # the first transaction is shorter: out of step with others
            station = LoadStation(self, number, station_id, tokens[number % len(tokens)], updates)
            station.id_prefix = b"%016x-%x-" % (self._run, number + config.first)
            self._stations.append(station)
            self._spawn(self._dial(station, 0.0))
            if number % 10 == 9:
                await asyncio.sleep(10 / config.connect_per_s)
        try:
            async with asyncio.timeout(config.connect_timeout_s):
                await self._all_ready.wait()
        except TimeoutError:
            self.error("not ready", f"{self._ready} of {config.stations} stations became ready")

    async def _load(self, connect_s: float) -> LoadResult:
        config = self.config
        watch = asyncio.create_task(self._watch())
        self.running = True
        begin = perf_counter_ns()
        window = (begin + int(config.warmup_s * 1e9), begin + int((config.warmup_s + config.duration_s) * 1e9))
        self._window = window
        schedule = None
        if self.closed_loop:
            for station in self._stations:
                station.go()
        else:
            schedule = asyncio.create_task(self._schedule(begin))
        await asyncio.sleep(config.warmup_s)
        cpu, calls, transactions = time.process_time_ns(), self._window_calls, self.transactions
        opened_s = time.monotonic()
        await asyncio.sleep(config.duration_s)
        cpu, calls = time.process_time_ns() - cpu, self._window_calls - calls
        transactions = self.transactions - transactions
        self.running = False
        if schedule is not None:
            await schedule
        connected = sum(station.up for station in self._stations)
        await self._drain()
        watch.cancel()
        unsent, unanswered = self._left_over()
        return LoadResult(
            stations=config.stations,
            ready=self._ready,
            connected=connected,
            seconds=config.duration_s,
            window=(opened_s, opened_s + config.duration_s),
            calls=self._window_calls,
            calls_per_s=round(self._window_calls / config.duration_s, 1),
            transactions=transactions,
            latency=latency(self._all),
            lag=latency(self._lag),
            by_step={name: latency(h) for name, h in sorted(self._by_step.items())},
            unsent=unsent,
            unanswered=unanswered,
            connect_s=round(connect_s, 3),
            disconnects=self._disconnects,
            reconnects=self._reconnects,
            resent=self.resent,
            csms_calls=self.csms_calls,
            errors=dict(self._errors),
            samples=self._samples,
            driver_cpu_us_per_call=round(cpu / 1000 / max(1, calls), 2),
            driver_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )

    async def _drain(self) -> None:
        for _ in range(int(self.config.drain_s * 20)):
            if not any(station.open or station.backlog for station in self._stations):
                return
            await asyncio.sleep(0.05)

    def _left_over(self) -> tuple[int, int]:
        """Open and idle mode: what was due in the window and never sent or answered counts with its age."""
        unsent = unanswered = 0
        now = perf_counter_ns()
        if self.closed_loop:
            return 0, sum(station.open for station in self._stations)
        for station in self._stations:
            due = [station.due] if station.open and station.setup else []
            unanswered += len(due)
            unsent += station.backlog
            due += [self.due_at(station, station.served + k) for k in range(station.backlog)]
            for at in due:
                if self._window[0] <= at < self._window[1]:
                    self._all.add(now - at)
        return unsent, unanswered

    # -- the schedule of the open and idle modes

    async def _schedule(self, begin: int) -> None:
        """Makes CALLs due at begin + n / rate, station n modulo N. Wakes at most once a millisecond."""
        count = len(self._stations)
        rate = count / self.config.heartbeat_s if self.idle else self.config.rate
        self._period_ns = 1e9 / rate
        self._schedule_start = begin
        number = 0
        while self.running:
            now = perf_counter_ns()
            until = min(now, self._window[1] - 1)
            while (due := begin + int(number * self._period_ns)) <= until:
                station = self._stations[number % count]
                number += 1
                station.backlog += 1
                if station.backlog == 1 and not station.open:
                    self._lag.add(max(0, perf_counter_ns() - due))
                    station.send_due()
            wait_ns = begin + int(number * self._period_ns) - perf_counter_ns()
            await asyncio.sleep(max(TICK_S, min(wait_ns / 1e9, 0.05)))

    def due_at(self, station: LoadStation, nth: int) -> int:
        """When the station's nth CALL is due (perf_counter_ns)."""
        number = station.number + nth * len(self._stations)
        return self._schedule_start + int(number * self._period_ns)

    # -- connections

    async def _dial(self, station: LoadStation, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        source = (self._sources[station.number % len(self._sources)], 0) if self._sources else None
        try:
            await asyncio.get_running_loop().create_connection(lambda: station, *self._address, local_addr=source)
        except OSError as error:
            self.error("connect", str(error))
            self._redial(station)

    def connected(self, station: LoadStation) -> None:
        if self._redials.pop(station, None) is not None:
            self._reconnects += 1

    def lost(self, station: LoadStation, was_up: bool) -> None:
        self._disconnects += was_up
        if self._closing:
            return
        if not was_up:
            self.error("handshake failed", f"{station.id.decode()}: closed before the WebSocket was open")
        self._redial(station)

    def _redial(self, station: LoadStation) -> None:
        delay_s = min(self._redials.get(station, REDIAL_FIRST_S / 2) * 2, REDIAL_MOST_S)
        self._redials[station] = delay_s
        self._spawn(self._dial(station, delay_s * self._rng.between(50, 100) / 100))

    def _spawn(self, job: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, act)

    async def _watch(self) -> None:
        """Once a second: CALLs that are open for too long are errors, and their connections are given up."""
        limit_ns = int(self.config.call_timeout_s * 1e9)
        while True:
            await asyncio.sleep(1)
            now = perf_counter_ns()
            for station in self._stations:
                if station.open and station.up and now - station.sent_at > limit_ns:
                    self.error("timeout", f"{station.id.decode()} {station.step.name}")
                    station.abort()
            if self.journal is not None:
                self.journal.flush()

    # -- what the stations report

    def became_ready(self) -> None:
        self._ready += 1
        if self._ready == self.config.stations:
            self._all_ready.set()

    def count(self, step: Step, due: int, now: int) -> None:
        """A CALL was answered. The closed loop counts what is answered within the window, the others what was
        due in it."""
        begin, end = self._window
        by_step = self._by_step.get(step.name)
        if by_step is None:
            by_step = self._by_step[step.name] = Histogram()
        if begin <= now < end and begin:
            self._window_calls += 1
        elif self.closed_loop and begin:
            return
        if self.closed_loop or begin <= due < end or not begin:
            by_step.add(now - due)
            if begin:
                self._all.add(now - due)

    def error(self, kind: str, what: str) -> None:
        self._errors[kind] += 1
        if len(self._samples) < SAMPLES_MAX:
            self._samples.append(f"{kind}: {what}")

    def write_journal(self, station: LoadStation) -> None:
        """The acknowledged transaction event as a JSON line."""
        assert self.journal is not None
        self.journal.write(
            b'{"station":"%b","transactionId":"%b","seqNo":%d,"eventType":"%b","messageId":"%b","acknowledgedAt":"%b"}\n'
            % (
                station.id,
                station.transaction,
                station.seq_no,
                station.step.event.encode(),
                station.message_id,
                self.stamp(),
            )
        )

    def stamp(self) -> bytes:
        return self._stamp.at((perf_counter_ns() + self._wall_offset_ns) // 1_000_000)


def latency(histogram: Histogram) -> Latency:
    """The figures of a histogram of ns, in ms."""

    def ms(value: float) -> float:
        return round(value / 1e6, 3)

    return Latency(
        count=histogram.count,
        mean=ms(histogram.mean),
        p50=ms(histogram.percentile(50)),
        p90=ms(histogram.percentile(90)),
        p99=ms(histogram.percentile(99)),
        p999=ms(histogram.percentile(99.9)),
        largest=ms(histogram.largest),
    )
