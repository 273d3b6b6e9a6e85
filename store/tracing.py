"""Traces, where they are wanted: a span for each request, attempt of a job and statement.

They are sent by OTLP over HTTP; `OTEL_EXPORTER_OTLP_ENDPOINT` and the other variables of OpenTelemetry say
where to and how. What a request says is in none of them: paths are templates, statements have no values. A
job carries the span that asked for it, so that its attempts, on whatever host, belong to the same trace.

Without `HARMONICDET_TRACES` OpenTelemetry is not loaded from here, and `work` and `note` do nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Engine, event

from store import context
from store.errors import SettingsInvalid
from store.monitoring import own_version
from store.settings import StoreSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Sort = Literal["server", "consumer", "client"]
_KEY = "_harmonicdet_span"
_tracer: "Tracer | None" = None


def configure(settings: StoreSettings, role: str) -> None:
    """Send traces from now on, if the settings want them; `role` is `api` or the queue of a worker.

    Raises `SettingsInvalid` where OpenTelemetry is not installed.
    """
    if not settings.traces:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsInvalid(
            "HARMONICDET_TRACES needs OpenTelemetry: pip install 'harmonicdet[tracing]'"
        ) from error
    named = {"service.name": f"harmonicdet-{role}", "service.version": own_version()}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use(provider)


def use(provider: "TracerProvider | None") -> None:
    """Give spans to this provider; None: to nobody."""
    global _tracer
    listening = _tracer is not None
    _tracer = None if provider is None else provider.get_tracer("harmonicdet", own_version())
    if (_tracer is not None) == listening:
        return
    change = event.remove if listening else event.listen
    change(Engine, "before_cursor_execute", _statement_begins)
    change(Engine, "after_cursor_execute", _statement_ends)
    change(Engine, "handle_error", _statement_fails)


def is_on() -> bool:
    """Whether anybody wants spans."""
    return _tracer is not None


def work(
    name: str, parent: str | None = None, *, sort: Sort = "consumer", attributes: Mapping[str, str | int]
) -> AbstractContextManager["Span | None"]:
    """Around a piece of work. `parent` is the span that it belongs to, as W3C's `traceparent`."""
    return nullcontext() if _tracer is None else _span(_tracer, name, parent, sort, attributes)


def note(name: str, **attributes: str | int) -> None:
    """Something that happens within the work at hand."""
    if _tracer is not None:
        from opentelemetry import trace

        trace.get_current_span().add_event(name, attributes)


@contextmanager
def _span(
    tracer: "Tracer", name: str, parent: str | None, sort: Sort, attributes: Mapping[str, str | int]
) -> Iterator["Span"]:
    from opentelemetry.trace import SpanKind, Status, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    belongs_to = propagator.extract({} if parent is None else {"traceparent": parent})
    with tracer.start_as_current_span(
        name,
        belongs_to,
        SpanKind[sort.upper()],
        attributes,
        # The message of an error may say what nobody else is to know.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        before = context.traceparent.set(carrier.get("traceparent"))
        try:
            yield span
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            context.traceparent.reset(before)


# Statements, of whatever is traced already


def _statement_begins(
    connection: Any, cursor: Any, statement: str, parameters: Any, execution: Any, many: bool
) -> None:
    from opentelemetry import trace

    if _tracer is None or execution is None or not trace.get_current_span().get_span_context().is_valid:
        return
    attributes = {"db.system.name": connection.dialect.name, "db.query.text": statement}
    name = statement.lstrip().partition(" ")[0].upper()
    setattr(execution, _KEY, _tracer.start_span(name, None, trace.SpanKind.CLIENT, attributes))


def _statement_ends(
    connection: Any, cursor: Any, statement: str, parameters: Any, execution: Any, many: bool
) -> None:
    span = getattr(execution, _KEY, None)
    if span is not None:
        span.end()


def _statement_fails(failure: Any) -> None:
    span = getattr(failure.execution_context, _KEY, None)
    if span is not None:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", type(failure.original_exception).__name__)
        span.set_status(Status(StatusCode.ERROR))
        span.end()
