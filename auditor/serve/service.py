"""The service as a whole: its parts, what holds them together, and what it does by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from auditor.catalogue.catalogue import Catalogue
from auditor.decisions.apply import pair_id, standing
from auditor.errors import AuditError
from auditor.serve.access import RateLimiter
from auditor.serve.feed import Feed
from auditor.serve.map_maker import MapMaker
from auditor.serve.models import links_of
from auditor.serve.observe import Metrics, log
from auditor.serve.pool import Pool, StartWorker, start_process
from auditor.serve.settings import Settings
from auditor.serve.store import WAITING, Job, open_store
from auditor.serve.uploads import DiskQuota
from auditor.serve.webhooks import Sender, signing_secret

HOUSEKEEPING_S = 5.0
DECISIONS_S = 2.0
"""So old what the inbox knows of decisions may be, which are also made by ``audit decide``."""


class Service:
    """One running service.

    Parameters
    ----------
    settings : Settings
    start_worker : callable
        See ``pool.Pool``.

    Attributes
    ----------
    settings : Settings
    store : Store
    metrics : Metrics
    pool : Pool
    limiter : RateLimiter
    quota : DiskQuota
    feed : Feed
    map : MapMaker

    Raises
    ------
    UsageError
        If what it stores cannot be opened.
    """

    def __init__(self, settings: Settings, *, start_worker: StartWorker = start_process) -> None:
        self.settings = settings
        self.store = open_store(settings.directory / "service.sqlite3")
        self.metrics = Metrics()
        self.limiter = RateLimiter(settings.rate_per_minute)
        self.quota = DiskQuota(settings)
        self.pool = Pool(
            settings,
            self.store,
            self.metrics,
            start_worker=start_worker,
            webhook_of=self.webhook_of,
        )
        self.sender = Sender(settings, self.store, self.metrics, signing_secret(settings.directory))
        self._tasks: list[asyncio.Task[None]] = []
        self._decisions_s = float("-inf")
        self._deciding = threading.Lock()
        self._queue_line: tuple[int, str] = (-1, "")
        self._start_id = secrets.token_hex(4)
        self.map = MapMaker(settings, start_worker)
        self.feed = Feed(lambda: {"cases": self.cases_version(), "queue": self.queue_line()})
        self.draining = False

    def is_open(self) -> bool:
        """Say whether this machine needs no key: until the first one is made."""
        return self.settings.is_local and not self.store.has_had_keys()

    async def start(self) -> None:
        """Take up what was left, and start the workers."""
        settings = self.settings
        for folder in (settings.uploads, settings.library, settings.media):
            folder.mkdir(parents=True, exist_ok=True)
        with Catalogue.open(settings.workspace / "catalogue.sqlite3"):
            pass  # it is made where there is none: workers only read it
        n_resumed = await asyncio.to_thread(self.store.recover)
        await asyncio.to_thread(self._remove_orphans)
        log("started", resumed=n_resumed, workers=settings.n_workers)
        self.pool.start()
        self.map.start()
        self._tasks = [
            asyncio.create_task(self._for_ever(self.sender.run)),
            asyncio.create_task(self._for_ever(self._keep_house)),
        ]

    async def stop(self) -> None:
        """End: what workers are at is finished, if that takes no longer than it may."""
        self.draining = True
        await self.map.close()
        await self.pool.drain(self.settings.drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.store.close()
        log("stopped")

    async def _for_ever(self, what: Any) -> None:
        while True:
            try:
                await what()
            except (OSError, sqlite3.Error, AuditError):
                logging.getLogger("auditor.serve").exception("housekeeping failed")
                await asyncio.sleep(2.0)

    async def _keep_house(self) -> None:
        while True:
            await asyncio.to_thread(self.remove_old)
            await asyncio.to_thread(self.measure)
            await asyncio.sleep(HOUSEKEEPING_S)

    def measure(self) -> None:
        """Bring the gauges up to date."""
        for state, n in self.store.counts().items():
            self.metrics.queue.labels(state).set(n)
        for state, n in self.store.delivery_counts().items():
            self.metrics.pending_webhooks.labels(state).set(n)

    def remove_old(self) -> None:
        """Remove the uploads and results that the policy of the operator keeps no longer."""
        now, settings = time.time(), self.settings
        uploads, results = self.store.disposable(
            uploads_before=now - settings.keep_uploads_s,
            results_before=now - settings.keep_results_s,
        )
        for job in uploads:
            self.remove_upload(job)
            self.store.upload_removed(job.id)
        for job in results:
            self.purge(job.id)

    def remove_upload(self, job: Job) -> None:
        """Remove the upload of a job; what has become a track stays where tracks lie."""
        folder = os.path.dirname(job.path)
        if job.source == "upload" and os.path.basename(folder) == os.fsencode(job.id):
            shutil.rmtree(folder, ignore_errors=True)

    def purge(self, job_id: str) -> None:
        """Remove a job with its file, result, clips and cases."""
        job = self.store.delete(job_id)
        self.remove_upload(job)
        shutil.rmtree(self.settings.media / job.id, ignore_errors=True)

    def _remove_orphans(self) -> None:
        """Remove uploads and media of jobs that there are not: of requests that were cut short."""
        for folder in (self.settings.uploads, self.settings.media):
            names = os.listdir(folder)
            known = self.store.known_jobs(names)
            for name in names:
                if name not in known:
                    shutil.rmtree(folder / name, ignore_errors=True)

    # The catalogue.

    @contextlib.contextmanager
    def catalogue(self, *, write: bool = False) -> Iterator[Catalogue]:
        """Open the catalogue; a decision is one short transaction and takes no lock."""
        file = self.settings.workspace / "catalogue.sqlite3"
        with Catalogue.open(file, read_only=not write) as catalogue:
            yield catalogue

    def bring_decisions(self, *, now: bool = False) -> None:
        """Bring the cases up to date with what was decided of their pairs, here or elsewhere."""
        with self._deciding:
            if not now and time.monotonic() - self._decisions_s < DECISIONS_S:
                return
            with self.catalogue() as catalogue:
                counts = standing(catalogue.decisions())
            self.store.set_decisions({pair_id(*h): made.kind for h, made in counts.items()})
            self._decisions_s = time.monotonic()

    # What the inbox shows.

    def cases_version(self) -> str:
        """Return a text that changes whenever what the inbox lists does."""
        self.bring_decisions()
        return f"{self._start_id}-{self.store.n_case_changes}"

    def queue_line(self) -> str:
        """Say how many files wait, and how many could not be checked."""
        n_changes = self.store.n_changes
        if self._queue_line[0] != n_changes:
            counts = self.store.counts()
            n_waiting = sum(counts[state] for state in WAITING)
            line = {0: "No file is being checked", 1: "1 file waits or is being checked"}.get(
                n_waiting, f"{n_waiting:,} files wait or are being checked"
            )
            failed = f"; {counts['failed']:,} could not be checked" if counts["failed"] else ""
            self._queue_line = n_changes, f"{line}{failed}."
        return self._queue_line[1]

    # Webhooks.

    def webhook_of(
        self,
        job: Job,
        state: str,
        severity: str,
        reasons: list[dict[str, Any]],
        problem: Mapping[str, Any] | None,
    ) -> str:
        """Return what is sent to the callback of a job that ends; empty if it has none."""
        if not job.callback_url:
            return ""
        base = self.settings.public_url.rstrip("/")
        return json.dumps(
            {
                "type": f"check.{state}",
                "check": job.id,
                "external_id": job.external_id,
                "isrc": job.isrc,
                "owner": job.owner,
                "sha256": job.sha256,
                "state": state,
                "severity": severity or None,
                "reasons": reasons,
                "problem": dict(problem) if problem is not None else None,
                "links": {"self": links_of(job, base)["self"]},
            }
        )

    def retry_after_s(self) -> int:
        """Return the seconds after which a queue that is full may have room."""
        return 30

    def problems(self) -> list[str]:
        """Return why the service is not ready; nothing if it is."""
        found = []
        if self.draining:
            found.append("the service is ending")
        if self.pool.n_ready == 0:
            found.append(
                f"no worker is ready{f': {self.pool.problem}' if self.pool.problem else ''}"
            )
        try:
            self.store.ping()
        except sqlite3.Error as error:
            found.append(f"its store cannot be written: {error}")
        folders = (self.settings.directory, self.settings.uploads)
        free = min(shutil.disk_usage(folder).free for folder in folders)
        if free < self.settings.min_free_bytes:
            found.append("the disk is nearly full")
        return found
