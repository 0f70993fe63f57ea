"""Figures for Prometheus: requests as they are answered, and the worker as it stands when it is asked."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model.serving.engine import Engine

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The figures of one server, in a registry of their own."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Worker(engine))
        labels = ("route", "status")
        self.requests = Counter("millrace_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "millrace_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts a request. Only routes that there are may be named: each makes figures of its own."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)


class _Worker(Collector):
    """The worker's own counts, read when somebody asks."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def collect(self) -> Iterator[Metric]:
        engine = self.engine
        yield GaugeMetricFamily("millrace_rows_running", "Answers being made.", value=engine.running)
        yield GaugeMetricFamily("millrace_rows_waiting", "Answers waiting for a place.", value=engine.waiting)
        yield CounterMetricFamily("millrace_tokens", "Tokens made.", value=engine.tokens)
        yield CounterMetricFamily("millrace_steps", "Steps of the batch.", value=engine.steps)
        yield CounterMetricFamily("millrace_switches", "Changes of checkpoint.", value=engine.switches)
        yield GaugeMetricFamily("millrace_up", "Whether the worker is alive.", value=float(engine.alive))
        served = GaugeMetricFamily("millrace_checkpoint", "The one that answers.", labels=("checkpoint",))
        served.add_metric((engine.who.id,), 1)
        yield served
