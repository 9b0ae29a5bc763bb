"""The workers, and which of them does what next.

Every worker is a process that the service starts, gives one task at a time, and replaces when it
dies.  Which job it is at stands in the store, so nothing is lost with it, or with the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from auditor.errors import RETRYABLE, AuditError
from auditor.serve.observe import JOB, LOG, Metrics, log
from auditor.serve.settings import Settings
from auditor.serve.store import Job, Store, StoredCase
from auditor.serve.worker import LENGTH, MAX_MESSAGE, Answer, WorkerOptions

START_S = 600.0
"""Seconds that a worker may take to get ready: on a machine with much other work, minutes."""

MEDIA_WAIT_S = 30.0
"""So long clips and pictures give way to checks that wait."""

ADD_AGAIN_S = 2.0
"""After so many seconds a job is added that found the catalogue locked."""

_STARTER = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from auditor.serve.worker import main; main()"
)


class WorkerGoneError(AuditError):
    """A worker died, or had to be ended."""


class WorkerLink(Protocol):
    """A worker at the other end of two pipes."""

    async def ask(
        self, task: Mapping[str, Any], *, limit_s: float, on_stage: Callable[[str], Awaitable[None]]
    ) -> Answer:
        """Return the answer to a task; raises WorkerGoneError if none comes."""

    async def close(self) -> None:
        """End the worker."""


StartWorker = Callable[[Settings], Awaitable[WorkerLink]]


class ProcessLink:
    """A worker that is a process of its own; made by ``start_process``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def receive(self, limit_s: float) -> Answer:
        """Return the next message.

        Raises
        ------
        WorkerGoneError
            If the process died, or sends nothing in time.
        """
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit_s):
                (length,) = LENGTH.unpack(await self._process.stdout.readexactly(LENGTH.size))
                if length > MAX_MESSAGE:
                    raise WorkerGoneError("a worker sent nonsense")
                return json.loads(await self._process.stdout.readexactly(length))
        except TimeoutError:
            raise WorkerGoneError(f"a worker sent nothing for {limit_s:.0f} s") from None
        except (asyncio.IncompleteReadError, OSError):
            raise WorkerGoneError("a worker died") from None

    async def ask(
        self, task: Mapping[str, Any], *, limit_s: float, on_stage: Callable[[str], Awaitable[None]]
    ) -> Answer:
        """See ``WorkerLink``."""
        assert self._process.stdin is not None
        data = json.dumps(task).encode()
        try:
            self._process.stdin.write(LENGTH.pack(len(data)) + data)
            await self._process.stdin.drain()
        except OSError:
            raise WorkerGoneError("a worker died") from None
        deadline = time.monotonic() + limit_s
        while "stage" in (answer := await self.receive(deadline - time.monotonic())):
            await on_stage(answer["stage"])
        return answer

    async def close(self) -> None:
        """See ``WorkerLink``."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


def worker_options(settings: Settings) -> WorkerOptions:
    """Return what a worker of a service is told."""
    return WorkerOptions(
        workspace=str(settings.workspace),
        extractor=settings.extractor,
        precision=settings.precision,
        max_false_alarms=settings.max_false_alarms,
        catalogue_size=settings.catalogue_size,
        same_owner=settings.same_owner,
        wide=settings.wide,
        compositions=settings.compositions,
        library=str(settings.library),
        media=str(settings.media),
        report_bytes=settings.report_bytes,
        roots=tuple(root.hex() for root in settings.roots),
        ray_address=settings.ray_address,
        shared=str(settings.shared_folder),
        uploads=str(settings.uploads),
        max_upload_bytes=settings.max_upload_bytes,
    )


async def start_process(settings: Settings) -> WorkerLink:
    """Start a worker process, and return it once it is warm.

    Raises
    ------
    WorkerGoneError
        If it does not get ready; the message says why.
    """
    path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
    options = json.dumps(dataclasses.asdict(worker_options(settings)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _STARTER, path, options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    link = ProcessLink(process)
    try:
        answer = await link.receive(START_S)
        if not answer.get("ready"):
            raise WorkerGoneError(str(answer.get("problem", {}).get("detail", "it gave no reason")))
    except BaseException:
        await link.close()
        raise
    return link


class Pool:
    """The workers of a service.

    Parameters
    ----------
    settings : Settings
    store : Store
    metrics : Metrics
    start_worker : callable
        Returns a worker that is warm.
    webhook_of : callable
        Takes a job and returns what is sent to its callback when it ends.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: Metrics,
        *,
        start_worker: StartWorker = start_process,
        webhook_of: Callable[[Job, str, str, list[dict[str, Any]], Mapping[str, Any] | None], str],
    ) -> None:
        self._settings, self._store, self._metrics = settings, store, metrics
        self._start_worker, self._webhook_of = start_worker, webhook_of
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Condition()
        self._queries: deque[tuple[dict[str, Any], asyncio.Future[Answer]]] = deque()
        self._closing = False
        self._taking = threading.Lock()
        self._busy: set[str] = set()
        self._unsettled: set[str] = set()
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.n_ready = 0
        self.problem = ""

    def start(self) -> None:
        """Start the workers; return at once."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"worker-{n}")
            for n in range(self._settings.n_workers)
        ]

    async def drain(self, limit_s: float) -> None:
        """End the workers, once they have done what they are at, or after so many seconds."""
        self._closing = True
        await self.wake()
        for _, future in self._queries:
            if not future.done():
                future.set_exception(TimeoutError())
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=limit_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wake(self) -> None:
        """Tell the workers that there is something to do."""
        async with self._news:
            self._news.notify_all()

    async def query(self, task: dict[str, Any], *, limit_s: float) -> Answer:
        """Return a worker's answer to a question, which comes before all checks.

        Raises
        ------
        TimeoutError
            If none is free in time.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        entry = (task, future)
        self._queries.append(entry)
        await self.wake()
        try:
            async with asyncio.timeout(limit_s):
                return await future
        finally:
            with contextlib.suppress(ValueError):
                self._queries.remove(entry)

    async def wait_for_end(self, job_id: str, limit_s: float) -> None:
        """Return when a job has ended, or after so many seconds."""
        event = asyncio.Event()
        self._watchers[job_id].add(event)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await event.wait()
        finally:
            self._watchers[job_id].discard(event)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    def _announce(self, job_id: str) -> None:
        for event in self._watchers.get(job_id, ()):
            event.set()

    async def _work(self) -> None:
        """Keep one worker alive, and give it something to do."""
        pause_s = 0.5
        while not self._closing:
            try:
                worker = await self._start_worker(self._settings)
            except (WorkerGoneError, OSError) as error:
                if not self.problem:
                    log("a worker does not start", level=logging.ERROR, detail=str(error))
                self.problem = str(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2.0 * pause_s, 30.0)
                continue
            pause_s, self.problem = 0.5, ""
            self._change_ready(1)
            try:
                while (task := await self._next()) is not None:
                    await self._do(worker, *task)
            except WorkerGoneError as error:
                self._metrics.worker_deaths.inc()
                log("a worker is gone", level=logging.WARNING, detail=str(error))
            except Exception:  # a full disk, mostly; the worker is replaced, and all goes on
                LOG.exception("what a worker had to do could not be stored")
                await asyncio.sleep(1.0)
            finally:
                self._change_ready(-1)
                await worker.close()

    def _change_ready(self, by: int) -> None:
        self.n_ready += by
        self._metrics.workers.set(self.n_ready)

    async def _next(self) -> tuple[str, Any] | None:
        """Return what a worker does next, None once the service ends."""
        while not self._closing:
            if self._queries:
                return "query", self._queries.popleft()
            found = await asyncio.to_thread(self._take)
            if found is not None:
                return found
            async with self._news:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 1.0)
        return None

    def _take(self) -> tuple[str, Job] | None:
        with self._taking:
            while self._unsettled:
                job_id = next(iter(self._unsettled))
                self._settle(job_id, "its step could not be stored")
                self._unsettled.discard(job_id)
            return self._take_next()

    def _take_next(self) -> tuple[str, Job] | None:
        store = self._store
        media = store.next_media(leave_out=self._busy)
        overdue = media is not None and time.time() - (media.ended or 0.0) > MEDIA_WAIT_S
        if (adding := store.next_adding()) is not None and adding.id not in self._busy:
            self._busy.add(adding.id)
            return "add", adding
        if not overdue and (job := store.next_check()) is not None:
            self._busy.add(job.id)
            return "check", job
        if media is not None and media.id not in self._busy:
            self._busy.add(media.id)
            return "media", media
        return None

    async def _do(self, worker: WorkerLink, what: str, about: Any) -> None:
        if what == "query":
            await self._answer(worker, *about)
            return
        job: Job = about
        token = JOB.set(job.id)
        try:
            if what == "check":
                await self._check(worker, job)
            elif what == "add":
                await self._add(worker, job)
            else:
                await self._make_media(worker, job)
        except WorkerGoneError as error:
            self._unsettled.add(job.id)
            if what == "media":
                await asyncio.to_thread(self._store.set_media, job.id, "failed")
            else:
                await asyncio.to_thread(self._settle, job.id, str(error))
            self._unsettled.discard(job.id)
            raise
        except Exception:
            self._unsettled.add(job.id)
            raise
        finally:
            self._busy.discard(job.id)
            self._announce(job.id)
            JOB.reset(token)
            await self.wake()

    async def _answer(
        self, worker: WorkerLink, task: dict[str, Any], future: asyncio.Future[Answer]
    ) -> None:
        try:
            answer = await worker.ask(task, limit_s=60.0, on_stage=_ignore)
        except WorkerGoneError:
            if not future.done():
                future.set_result({"problem": {"code": "internal", "detail": "a worker died"}})
            raise
        if not future.done():
            future.set_result(answer)

    async def _ask(self, worker: WorkerLink, job: Job, what: str, **more: Any) -> Answer:
        task = {
            "do": what,
            "id": job.id,
            "source": job.source,
            "location": job.location,
            "name": job.name,
            "sha256": job.sha256,
            "adds": job.adds,
            "wide": job.wide,
            **more,
        }
        started = time.monotonic()

        async def on_stage(stage: str) -> None:
            if what != "media":
                await asyncio.to_thread(self._store.set_stage, job.id, stage)

        answer = await worker.ask(task, limit_s=self._settings.max_job_s, on_stage=on_stage)
        self._metrics.step_s.labels(what).observe(time.monotonic() - started)
        return answer

    async def _check(self, worker: WorkerLink, job: Job) -> None:
        answer = await self._ask(worker, job, "check")
        if "problem" in answer or "busy" in answer:
            problem = answer.get("problem") or {"code": "busy", "detail": answer["busy"]}
            await asyncio.to_thread(self.fail, job, problem)
            return
        severity, adds = await asyncio.to_thread(self._keep_verdict, job, answer)
        self._metrics.verdicts.labels(severity).inc()
        self._metrics.verdict_s.observe(max(0.0, time.time() - job.created))
        log("checked", severity=severity, seconds=round(time.time() - job.created, 3))
        if adds:
            await self._add(worker, job)

    def _keep_verdict(self, job: Job, answer: Answer) -> tuple[str, bool]:
        """Store the verdict of a check; return its severity, and whether it is added next."""
        severity, reasons = self._settings.policy.judge(
            answer["findings"], owner=job.owner, owner_of=self._store.owner_of
        )
        now = time.time()
        of_pair = {(r["pair_id"], r["kind"]): r["severity"] for r in reasons}
        cases = [
            StoredCase(
                pair_id=found["pair_id"],
                job=job.id,
                place=found["place"],
                kind=found["kind"],
                sha256_a=found["sha256_a"],
                sha256_b=found["sha256_b"],
                verdict=found["verdict"],
                score=found["score"],
                severity=of_pair[(found["pair_id"], found["kind"])],
                label_a=found["label_a"],
                label_b=found["label_b"],
                decision=found["decision"],
                created=now,
            )
            for found in answer["findings"]
            if found["flagged"]
        ]
        adds = job.adds and severity == "pass"
        self._store.checked(
            job,
            result=answer["result"],
            severity=severity,
            reasons=reasons,
            cases=cases,
            wants_media=bool(answer["findings"]),  # clips cost a quarter of a check
            adds=adds,
            webhook="" if adds else self._webhook_of(job, "done", severity, reasons, None),
        )
        return severity, adds

    async def _add(self, worker: WorkerLink, job: Job) -> None:
        answer = await self._ask(worker, job, "add")
        if "busy" in answer:
            await asyncio.to_thread(
                self._store.set_stage,
                job.id,
                "waiting to be added",
                not_before=time.time() + ADD_AGAIN_S,
            )
            return
        if "problem" in answer:
            await asyncio.to_thread(self.fail, job, answer["problem"])
            return
        await asyncio.to_thread(self._keep_track, job, answer["track_id"])
        log("added", track=answer["track_id"])

    def _keep_track(self, job: Job, track_id: str) -> None:
        now = self._store.job(job.id)
        webhook = self._webhook_of(now, "done", now.severity, now.reasons, None)
        self._store.added(job, track_id, webhook=webhook)

    async def _make_media(self, worker: WorkerLink, job: Job) -> None:
        result = await asyncio.to_thread(self._store.result, job.id)
        answer = await self._ask(worker, job, "media", result=result)
        state = "failed" if "clips" not in answer else "ready"
        await asyncio.to_thread(self._store.set_media, job.id, state, answer.get("clips", ()))

    def _settle(self, job_id: str, why: str) -> None:
        """Queue a job again whose worker died; give it up where it has cost too many."""
        spent = self._store.crashed(job_id, max_crashes=self._settings.max_crashes)
        if spent is not None:
            detail = f"{why}, {spent.n_crashes} times; the file was given up."
            self.fail(spent, {"code": "crashed", "detail": detail})

    def fail(self, job: Job, problem: Mapping[str, Any]) -> None:
        """End a job that cannot be done."""
        problem = {**problem, "retryable": problem["code"] in (*RETRYABLE, "busy", "internal")}
        body = self._webhook_of(job, "failed", "", [], problem)
        self._store.failed(job, problem, webhook=body)
        self._metrics.failures.labels(problem["code"]).inc()
        log("failed", job=job.id, code=problem["code"], detail=problem["detail"])


async def _ignore(_stage: str) -> None:
    pass
