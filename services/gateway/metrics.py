"""What a gateway counts. Plain integers on the hot path; a collector hands them to Prometheus when it asks."""

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

LATENCY_BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000)


class Stats:
    """Counted since the process began.

    `handshakes` by HTTP status, `refusals` (of handshakes) by cause, `refused` (frames) by RPC error code.
    """

    __slots__ = (
        "_latency_ms",
        "bytes_in",
        "bytes_out",
        "closed",
        "frames_in",
        "frames_out",
        "gauges",
        "handshakes",
        "latency_count",
        "latency_sum_ms",
        "ocsp",
        "outbound_dropped",
        "receipts",
        "records",
        "refusals",
        "refusals_unrecorded",
        "refused",
    )

    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_out = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.records = 0
        self.outbound_dropped = 0
        self.latency_count = 0
        self.latency_sum_ms = 0
        self._latency_ms = [0] * (len(LATENCY_BUCKETS_MS) + 1)
        self.handshakes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.refusals_unrecorded = 0
        self.refused: Counter[str] = Counter()
        self.receipts: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.ocsp: Counter[str] = Counter()
        self.gauges: dict[str, Callable[[], float]] = {}

    def latency(self, ms: int) -> None:
        """A CALL of a station was answered `ms` after it was received."""
        self.latency_count += 1
        self.latency_sum_ms += ms
        place = 0
        for bound in LATENCY_BUCKETS_MS:
            if ms <= bound:
                break
            place += 1
        self._latency_ms[place] += 1

    def latency_buckets(self) -> list[tuple[str, float]]:
        """Cumulative, upper bounds in seconds, as Prometheus wants them."""
        total, buckets = 0, []
        for bound, count in zip((*LATENCY_BUCKETS_MS, None), self._latency_ms, strict=True):
            total += count
            buckets.append(("+Inf" if bound is None else str(bound / 1000), float(total)))
        return buckets


class StatsCollector(Collector):
    """Exports `Stats` under `csms_gateway_*`."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        for name, text, value in (
            ("frames_in", "Frames received from stations", stats.frames_in),
            ("frames_out", "Frames written to stations", stats.frames_out),
            ("bytes_in", "Bytes of frames received, after inflation", stats.bytes_in),
            ("bytes_out", "Bytes of frames written, before deflation", stats.bytes_out),
            ("records", "Records appended to the log", stats.records),
            (
                "refusals_unrecorded",
                "Refused handshakes of registered stations that became no security event of their own",
                stats.refusals_unrecorded,
            ),
            (
                "outbound_dropped",
                "Outbound frames for no connection or no CALL in flight",
                stats.outbound_dropped,
            ),
        ):
            yield CounterMetricFamily(f"csms_gateway_{name}", text, value=value)
        for name, text, label, counts in (
            ("handshakes", "Handshakes by HTTP status", "status", stats.handshakes),
            ("refusals", "Handshakes that were refused or failed, by cause", "cause", stats.refusals),
            ("refused", "Frames that the gateway refused, by RPC error code", "code", stats.refused),
            ("receipts", "Receipts of commands", "what", stats.receipts),
            ("closed", "Connections ended, by close code", "code", stats.closed),
            ("ocsp", "Questions to OCSP responders, by what came of them", "answer", stats.ocsp),
        ):
            family = CounterMetricFamily(f"csms_gateway_{name}", text, labels=[label])
            for value_of_label, count in counts.items():
                family.add_metric([value_of_label], count)
            yield family
        for name, gauge in stats.gauges.items():
            yield GaugeMetricFamily(f"csms_gateway_{name}", name.replace("_", " "), value=gauge())
        yield HistogramMetricFamily(
            "csms_gateway_call_latency_seconds",
            "From a station's CALL to its answer",
            buckets=stats.latency_buckets(),
            sum_value=stats.latency_sum_ms / 1000,
        )
