"""What a running system says of itself: structured logs, traces carried along with records, Prometheus metrics.

Logs name the trace that they belong to. Secrets and idTokens are taken out before a line is written, whoever wrote it.

A trace travels as a W3C `traceparent`: in HTTP, and in the headers of records. Most work starts none, and then costs a
comparison: code that handles many frames asks `span` only with the `traceparent` that came with the record.

    with telemetry.span("decide TransactionEvent", record.headers.get("traceparent", "")) as traceparent:
        ...  # hand `traceparent` to what follows: "" when nothing is traced
"""

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from random import random
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from ocppcore.url_secrets import hide_in_text

HIDDEN: Final = "[hidden]"
HEADER: Final = "traceparent"
TEXT_CHARACTERS_MAX: Final = 2000
DEPTH_MAX: Final = 6
ITEMS_MAX: Final = 50
SPANS_QUEUED_MAX: Final = 2048

Event = MutableMapping[str, Any]

# Logs


_SECRET = re.compile(
    r"(?i)^(.*(password|passwd|secret|credential|authorization|cookie|apikey|adminkey|privatekey|databaseurl|dsn|pin)"
    r"|.*(idtoken|tokenvalue|groupidtoken|parentid)|token|bearer|driverkey|pseudonymkey|passwordkey|sealed"
    r"|frame|payload|body|csr|exirequest|certificate)$"
)
"""Names, without `_` and `-`, of values that never appear: secrets, idTokens, and raw messages that may hold either."""

_NO_SECRET = frozenset({"token_type", "tokentype"})
_IN_TEXT: Final = (
    (re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s]+@"), rf"\1{HIDDEN}@"),
    # pydantic shows what it refused.
    (re.compile(r"input_value=.*?, input_type="), f"input_value={HIDDEN}, input_type="),
    # The same names, in JSON or in a repr.
    (
        re.compile(
            r"(?i)([\"']?\b\w*(?:idToken|id_token|password|secret|admin_?key|private_?key)[\"']?\s*[:=]\s*)"
            r"(\"(?:[^\"\\]|\\.)*(?:\"|$)|'(?:[^'\\]|\\.)*(?:'|$)|[^\s\"'{\[,;)}\]]+)"
        ),
        rf"\1{HIDDEN}",
    ),
)


def redact(value: Any, depth: int = 0) -> Any:
    """The value as it may be logged: secrets hidden by name and by form, bytes only counted, everything bounded."""
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return f"[{len(value)} bytes]"
    if depth >= DEPTH_MAX:
        return "[deep]"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:ITEMS_MAX]
        return {str(key): HIDDEN if is_secret(str(key)) else redact(item, depth + 1) for key, item in pairs}
    if isinstance(value, Sequence | set | frozenset):
        return [redact(item, depth + 1) for item in list(value)[:ITEMS_MAX]]
    return redact_text(str(value))


def redact_text(text: str) -> str:
    """Free text without the secrets that can be told by their form, cut to a length."""
    if len(text) > TEXT_CHARACTERS_MAX:
        text = f"{text[:TEXT_CHARACTERS_MAX]}… ({len(text)} characters)"
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return hide_in_text(text, HIDDEN)


def is_secret(name: str) -> bool:
    """Whether a value of this name is hidden in logs."""
    return name.lower() not in _NO_SECRET and _SECRET.match(name.replace("_", "").replace("-", "")) is not None


def _hide(_: object, __: str, event: Event) -> Event:
    for key, value in event.items():
        if key in ("exception", "stack"):
            event[key] = _redact_lines(value)
        elif key not in ("_record", "_from_structlog", "exc_info"):
            event[key] = HIDDEN if is_secret(key) else redact(value)
    return event


def _redact_lines(text: str) -> str:
    lines = text.splitlines()
    kept = lines if len(lines) <= 2 * ITEMS_MAX else [*lines[:ITEMS_MAX], "…", *lines[-ITEMS_MAX:]]
    return "\n".join(map(redact_text, kept))


def _name_trace(_: object, __: str, event: Event) -> Event:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
    return event


def configure_logging(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Log to `stream` (stderr), one event a line; the libraries' own logs too. Safe to call again.

    `form`: `json`, `console` (coloured on a terminal), or `auto`: console on a terminal, else json.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    readable = form == "console" or (form == "auto" and terminal)
    shared: list[Callable[[Any, str, Event], Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
        _name_trace,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    written: list[Callable[[Any, str, Event], Any]] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _hide,
        structlog.dev.ConsoleRenderer(colors=terminal) if readable else structlog.processors.JSONRenderer(default=str),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=written))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("aiokafka", "asyncio", "httpx", "httpcore", "websockets", "opentelemetry", "urllib3"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    # Paths hold idTokens: requests are logged by the HTTP kit, by their route.
    logging.getLogger("uvicorn.access").disabled = True


# Traces


class _Tracing:
    """What `configure_tracing` set: off until then."""

    def __init__(self) -> None:
        self.ratio = 0.0
        self.provider: TracerProvider | None = None
        self.tracer: trace.Tracer = trace.NoOpTracer()


_tracing = _Tracing()
_ids = RandomIdGenerator()
_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_ODD: Final = "13579bdf"
"""Last digits of a `traceparent` whose flag "sampled" is set."""
_NOT_TRACED: Final = nullcontext("")


def configure_tracing(process: str, ratio: float, endpoint: str = "", exporter: SpanExporter | None = None) -> None:
    """Start traces for this share of roots, and send spans to an OTLP collector at `endpoint`, or to `exporter`.

    Without either no span is recorded, whatever came along is still handed on.
    """
    shutdown_tracing()
    if exporter is None and endpoint:
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    if exporter is None:
        return
    provider = TracerProvider(resource=Resource.create({"service.name": process}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=SPANS_QUEUED_MAX))
    _tracing.ratio, _tracing.provider, _tracing.tracer = ratio, provider, provider.get_tracer("csms")


def shutdown_tracing() -> None:
    """Send what is queued, and record nothing more."""
    if _tracing.provider is not None:
        _tracing.provider.shutdown()
    _tracing.ratio, _tracing.provider, _tracing.tracer = 0.0, None, trace.NoOpTracer()


def span(name: str, parent: str = "", *, root: bool = False, **attributes: str | int) -> AbstractContextManager[str]:
    """A span around a block, whose value is the `traceparent` for what follows from it ("" when nothing is traced).

    It belongs to the trace of `parent` if that is sampled; with `root` and no parent it may begin one. Attributes
    hold no secrets: station ids, actions, message ids, numbers.
    """
    if parent:
        return (
            _recorded(name, parent, attributes) if parent.endswith("01") and _tracing.provider else nullcontext(parent)
        )
    if root and _tracing.ratio and random() < _tracing.ratio:
        return _recorded(name, "", attributes)
    return _NOT_TRACED


@contextmanager
def _recorded(name: str, parent: str, attributes: Mapping[str, str | int]) -> Iterator[str]:
    context = trace.set_span_in_context(NonRecordingSpan(_context(parent)) if parent else trace.INVALID_SPAN)
    with _tracing.tracer.start_as_current_span(
        name, context, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield traceparent(current.get_span_context())
        except BaseException as error:
            # The type only: a message may quote what a station or a client sent.
            current.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


@contextmanager
def followed(parent: str) -> Iterator[str]:
    """A block whose logs name a trace in any case: that of `parent`, or a new one that is not recorded.

    For the few things that a person asks for (an API call); yields its `traceparent`.
    """
    known = parent or f"00-{_ids.generate_trace_id():032x}-{_ids.generate_span_id():016x}-00"
    with trace.use_span(NonRecordingSpan(_context(known)), record_exception=False, set_status_on_exception=False):
        yield known


def current() -> str:
    """The `traceparent` of the block that this task is in, "" outside of any."""
    context = trace.get_current_span().get_span_context()
    return traceparent(context) if context.is_valid else ""


def traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def extract(headers: Mapping[str, str]) -> str:
    """The `traceparent` in these headers; "" where there is none, or one that is none."""
    found = headers.get(HEADER, "")
    return found if found and _TRACEPARENT.fullmatch(found) else ""


def inject(headers: MutableMapping[str, str]) -> None:
    """Add the current `traceparent`, if there is one."""
    if found := current():
        headers[HEADER] = found


def _context(parent: str) -> SpanContext:
    match = _TRACEPARENT.fullmatch(parent)
    if match is None:
        return trace.INVALID_SPAN_CONTEXT
    return SpanContext(int(match[1], 16), int(match[2], 16), True, TraceFlags(int(match[3], 16)))


# Metrics


def new_registry() -> CollectorRegistry:
    """A registry for one process, with what Prometheus clients tell of every process. Names begin with `csms_`, then
    the house, then the thing, with its unit last: `csms_gateway_call_latency_seconds`."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
