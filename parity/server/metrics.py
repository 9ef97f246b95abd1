"""Metrics for Prometheus. Labels have few values, none from a client, so that a client cannot create new series."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from parity.server.queue import Queue


class Metrics:
    """The metrics of one server, in their own registry."""

    def __init__(self, queue: Queue) -> None:
        self._registry = CollectorRegistry()
        self.answers = Counter(
            "parity_http_requests", "HTTP requests answered", ["method", "route", "status"], registry=self._registry
        )
        self.answer_seconds = Histogram(
            "parity_http_request_seconds", "Time to answer an HTTP request", ["route"], registry=self._registry
        )
        self.finished = Counter("parity_requests", "Requests finished, by state", ["state"], registry=self._registry)
        self.generation_seconds = Histogram(
            "parity_draw_seconds",
            "Time to generate one video, loading included",
            ["model"],
            buckets=(1, 3, 10, 30, 60, 120, 300, 600, 1200, 3600),
            registry=self._registry,
        )
        self.steps = Counter("parity_denoising_steps", "Denoising steps done", registry=self._registry)
        self.deaths = Counter(
            "parity_process_deaths", "Times that the process that generates died", registry=self._registry
        )
        waiting = Gauge("parity_queue_waiting", "Requests waiting", registry=self._registry)
        waiting.set_function(lambda: queue.count("in_queue"))
        running = Gauge("parity_queue_running", "Requests running", registry=self._registry)
        running.set_function(lambda: queue.count("in_progress"))

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
