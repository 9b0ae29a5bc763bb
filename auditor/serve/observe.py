"""What the service tells of itself: metrics for Prometheus, and logs of one JSON object a line."""

from __future__ import annotations

import datetime
import json
import logging
import sys
import time
from contextvars import ContextVar
from typing import Any

from auditor.errors import show_text

JOB: ContextVar[str] = ContextVar("job", default="")
"""Id of the job that what is logged belongs to."""

LOG = logging.getLogger("auditor.serve")

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 300.0)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON; what strangers sent cannot act on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": show_text(record.getMessage()),
        }
        if job := getattr(record, "job", "") or JOB.get():
            line["job"] = job
        line |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def log(event: str, *, level: int = logging.INFO, job: str = "", **facts: Any) -> None:
    """Log an event with the facts that belong to it."""
    LOG.log(level, event, extra={"job": job, "facts": facts})


def configure_logs() -> None:
    """Write the logs of the service, and of the server below it, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("auditor.serve", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "auditor.serve" else logging.WARNING)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        self.requests = Counter(
            "audit_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.request_s = Histogram(
            "audit_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.queue = Gauge("audit_jobs", "Jobs by state.", ("state",), registry=self.registry)
        self.workers = Gauge(
            "audit_workers_ready", "Workers that are warm.", registry=self.registry
        )
        self.worker_deaths = Counter(
            "audit_worker_deaths", "Workers that died or were ended.", registry=self.registry
        )
        self.step_s = Histogram(
            "audit_step_seconds",
            "Seconds that a worker took for a step of a job.",
            ("step",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.verdict_s = Histogram(
            "audit_verdict_seconds",
            "Seconds from the acceptance of a job to its verdict.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.verdicts = Counter(
            "audit_verdicts",
            "Checks that ended, by severity.",
            ("severity",),
            registry=self.registry,
        )
        self.failures = Counter(
            "audit_failures", "Checks that failed, by code.", ("code",), registry=self.registry
        )
        self.webhooks = Counter(
            "audit_webhook_attempts",
            "Attempts to send a webhook.",
            ("outcome",),
            registry=self.registry,
        )
        self.pending_webhooks = Gauge(
            "audit_webhooks", "Webhooks by state.", ("state",), registry=self.registry
        )
        self.started = Gauge(
            "audit_start_time_seconds", "When the service started.", registry=self.registry
        )
        self.started.set(time.time())

    def text(self) -> bytes:
        """Return all of them in Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
