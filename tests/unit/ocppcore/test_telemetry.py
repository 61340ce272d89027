import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, ValidationError

from ocppcore import telemetry

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    access = logging.getLogger("uvicorn.access").disabled
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = access
    structlog.reset_defaults()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.configure_tracing("test", 1.0, exporter=exporter)
    yield exporter
    telemetry.shutdown_tracing()


def logged(form: str = "json", level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    telemetry.configure_logging(level, form, stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_time_level_and_logger() -> None:
    stream = logged()
    structlog.get_logger("services.auth").info("token refused", station="CS-1", frames=3)
    (line,) = lines(stream)
    assert line.pop("timestamp", "").endswith("Z")  # type: ignore[attr-defined]
    assert line == {
        "event": "token refused",
        "station": "CS-1",
        "frames": 3,
        "level": "info",
        "logger": "services.auth",
    }


def test_loggers_made_before_the_configuration_follow_it() -> None:
    early = structlog.get_logger("early")
    stream = logged()
    early.info("late")
    assert lines(stream)[0]["event"] == "late"


def test_the_libraries_logs_take_the_same_form() -> None:
    stream = logged()
    logging.getLogger("asyncpg").warning("slow %s", "query")
    logging.getLogger("uvicorn.access").info("GET /auth/tokens/ISO14443/ABCDEF")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("slow query", "warning", "asyncpg")


def test_what_is_below_the_level_is_not_written() -> None:
    stream = logged(level="warning")
    structlog.get_logger("a").info("no")
    structlog.get_logger("a").warning("yes")
    assert [line["event"] for line in lines(stream)] == ["yes"]


def test_console_form_is_readable_and_plain_off_a_terminal() -> None:
    stream = logged(form="console")
    structlog.get_logger("a").info("ready", port=9000)
    assert "ready" in stream.getvalue()
    assert "port=9000" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


SECRET = "gEhEiM-4711"


@pytest.mark.parametrize(
    "values",
    [
        {"password": SECRET},
        {"basicAuthPassword": SECRET},
        {"id_token": SECRET},
        {"idToken": {"idToken": SECRET, "type": "ISO14443"}},
        {"request": {"idToken": {"idToken": SECRET}, "groupIdToken": SECRET}},
        {"api_key": SECRET},
        {"Authorization": SECRET},
        {"frame": SECRET.encode()},
        {"anything": SECRET.encode()},
        {"payload": SECRET},
        {"url": f"postgresql://csms:{SECRET}@localhost/db"},
        {"said": f"GET https://b.s3.example/log?X-Amz-Credential={SECRET}&X-Amz-Signature={SECRET} failed"},
        {"said": f"<https://b.example/log?sv=1&sig={SECRET}>"},
        {"url": f"postgresql://csms:p@{SECRET}@localhost/db"},
        {"header": f"Bearer {SECRET}"},
        {"text": f'[2,"1","Authorize",{{"idToken":{{"idToken":"{SECRET}","type":"Central"}}}}]'},
        {"text": f'{{"idToken": {{"idToken": "{SECRET}'},
        {"text": f"IdToken(idToken='{SECRET}', type='Central')"},
        {"text": f"CSMS_ADMIN_KEY={SECRET}"},
        {"deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": SECRET}}}}}}}},
        {"many": [{"password": SECRET}] * 3},
        {"error": ValueError(f'{{"password": "{SECRET}"}}')},
    ],
    ids=str,
)
def test_secrets_and_id_tokens_are_never_written(values: dict[str, object]) -> None:
    for form in ("json", "console"):
        stream = logged(form)
        structlog.get_logger("a").warning("look", **values)
        assert "look" in stream.getvalue()
        assert SECRET not in stream.getvalue()


def test_a_message_and_its_arguments_are_searched_too() -> None:
    stream = logged()
    logging.getLogger("library").error("cannot connect to %s", f"postgresql://u:{SECRET}@h/d")
    structlog.get_logger("a").info("%s", f"Bearer {SECRET}")
    assert SECRET not in stream.getvalue()
    assert "postgresql://u:[hidden]@h/d" in stream.getvalue()


def test_an_exception_shows_where_but_not_what_was_refused() -> None:
    class IdTokenType(BaseModel):
        idToken: int

    stream = logged()
    try:
        IdTokenType.model_validate({"idToken": SECRET})
    except ValidationError:
        structlog.get_logger("a").exception("refused")
    assert SECRET not in stream.getvalue()
    assert "int_parsing" in stream.getvalue()
    assert "test_telemetry.py" in stream.getvalue()


def test_ordinary_values_stay_and_long_ones_are_cut() -> None:
    plain = {"token_type": "Central", "key": "cs-1", "station": "CS-1", "tokens": 3, "monkey": "x", "seqNo": 4}
    assert telemetry.redact(plain) == plain
    assert len(telemetry.redact("x" * 10_000)) < 2_100
    assert len(telemetry.redact(list(range(1000)))) == 50


def test_log_lines_name_the_trace_that_they_belong_to(spans: InMemorySpanExporter) -> None:
    stream = logged()
    with telemetry.span("work", PARENT):
        structlog.get_logger("a").info("inside")
        logging.getLogger("library").warning("inside too")
    structlog.get_logger("a").info("outside")
    assert [line.get("trace_id") for line in lines(stream)] == [PARENT[3:35], PARENT[3:35], None]


def test_a_span_belongs_to_the_trace_of_its_parent(spans: InMemorySpanExporter) -> None:
    with telemetry.span("outer", PARENT, station="CS-1") as outer, telemetry.span("inner", outer) as inner:
        headers: dict[str, str] = {}
        telemetry.inject(headers)
    assert headers == {"traceparent": inner}
    assert telemetry._tracing.provider is not None
    telemetry._tracing.provider.force_flush()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert found["outer"].parent is not None
    assert found["inner"].parent is not None
    assert f"{found['outer'].context.trace_id:032x}" == PARENT[3:35]
    assert f"{found['outer'].parent.span_id:016x}" == PARENT[36:52]
    assert found["inner"].parent.span_id == found["outer"].context.span_id
    assert dict(found["outer"].attributes or {}) == {"station": "CS-1"}


def test_a_failed_span_tells_the_type_of_the_error_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="geheim"), telemetry.span("work", root=True):
        raise ValueError("geheim")
    assert telemetry._tracing.provider is not None
    telemetry._tracing.provider.force_flush()
    (span,) = spans.get_finished_spans()
    assert span.status.description == "ValueError"
    assert list(span.events) == []


def test_what_is_not_sampled_is_handed_on_and_not_recorded(spans: InMemorySpanExporter) -> None:
    with telemetry.span("work", UNSAMPLED) as handed_on:
        assert handed_on == UNSAMPLED
    with telemetry.span("work") as nothing:
        assert nothing == ""
    assert telemetry._tracing.provider is not None
    telemetry._tracing.provider.force_flush()
    assert spans.get_finished_spans() == ()


def test_work_that_starts_no_trace_costs_no_object() -> None:
    assert telemetry.span("a", station="CS-1") is telemetry.span("b", root=True)


def test_without_tracing_a_sampled_parent_is_still_handed_on() -> None:
    with telemetry.span("work", PARENT) as handed_on:
        assert handed_on == PARENT


def test_about_the_asked_share_of_roots_is_traced() -> None:
    exporter = InMemorySpanExporter()
    telemetry.configure_tracing("test", 0.25, exporter=exporter)
    traced = 0
    for _ in range(2000):
        with telemetry.span("root", root=True) as found:
            traced += found != ""
    telemetry.shutdown_tracing()
    assert 350 < traced < 650


def test_an_api_call_is_always_named_in_logs() -> None:
    stream = logged()
    with telemetry.followed("") as made:
        structlog.get_logger("a").info("inside")
        assert telemetry.current() == made
    with telemetry.followed(PARENT) as same:
        assert same == PARENT
    assert lines(stream)[0]["trace_id"] == made[3:35]
    assert telemetry.extract({"traceparent": made}) == made
    assert telemetry.current() == ""


@pytest.mark.parametrize(
    "found",
    ["", "x", "00-" + "0" * 32 + "-b7ad6b7169203331-01", PARENT.upper(), PARENT + "-x", PARENT[:-1], f"{PARENT}\n"],
)
def test_what_is_no_traceparent_is_ignored(found: str) -> None:
    assert telemetry.extract({"traceparent": found}) == ""
    assert telemetry.extract({}) == ""
    assert telemetry.extract({"traceparent": PARENT}) == PARENT
