"""The page of the map: drawn when it is asked for and the catalogue has changed.

A map of ten thousand tracks takes a core some minute, so a process of low priority draws it, and
what was drawn before is shown meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.catalogue.catalogue import Catalogue
from auditor.decisions.review import LAST_SCAN
from auditor.errors import AuditError
from auditor.report.html.page import ServedPage
from auditor.serve.observe import log
from auditor.serve.settings import Settings

MAX_S = 3600.0
"""Seconds that a map may take."""

AGAIN_S = 600.0
"""So long a map is shown, though the catalogue has changed: clear submissions may come all day."""

AFTER_FAILURE_S = 30.0
NICENESS = 10


@dataclass(frozen=True)
class DrawnMap:
    """The page of the map, or why there is none; it is being drawn where neither is set."""

    page: bytes = b""
    problem: str = ""


class MapMaker:
    """Draws the map, and knows where its page lies.

    Parameters
    ----------
    settings : Settings
    start_worker : callable
        See ``pool.Pool``.
    """

    def __init__(
        self, settings: Settings, start_worker: Callable[[Settings], Awaitable[Any]]
    ) -> None:
        self._settings, self._start_worker = settings, start_worker
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended_s = float("-inf")
        self._problem = ""

    def start(self) -> None:
        """Begin: from now on maps are drawn in this loop."""
        self._loop = asyncio.get_running_loop()

    async def close(self) -> None:
        """End what is being drawn."""
        self._loop = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def page(self, served: ServedPage) -> DrawnMap:
        """Return the page of the map, and have it drawn where it is lacking or old.

        Parameters
        ----------
        served : ServedPage
            The page finds its style and script there.
        """
        kind = _digest(served.style, served.script)
        target = self._settings.map_folder / f"{kind}-{self._state()}.html"
        there = sorted(
            self._settings.map_folder.glob(f"{kind}-*.html"),
            key=lambda path: (path != target, _age_s(path)),
        )
        wait_s = AFTER_FAILURE_S if self._problem else 0.0
        is_due = time.monotonic() - self._ended_s > wait_s
        is_fresh = bool(there) and (there[0] == target or _age_s(there[0]) < AGAIN_S)
        if is_due and not is_fresh and self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin, target, served)
        with contextlib.suppress(OSError, IndexError):
            return DrawnMap(there[0].read_bytes())
        return DrawnMap(problem="" if is_due else self._problem)

    def _state(self) -> str:
        """Return a text that changes with the catalogue and its last scan."""
        workspace = self._settings.workspace
        with Catalogue.open(workspace / "catalogue.sqlite3", read_only=True) as catalogue:
            revision = catalogue.revision()
        scanned = 0
        with contextlib.suppress(OSError):
            scanned = (workspace / LAST_SCAN).stat().st_mtime_ns
        return _digest(revision, str(scanned))

    def _begin(self, target: Path, served: ServedPage) -> None:
        if self._loop is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._draw(target, served), name="map")

    async def _draw(self, target: Path, served: ServedPage) -> None:
        started = time.monotonic()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            answer = await self._ask(
                {
                    "do": "map",
                    "target": str(target),
                    "style": served.style,
                    "script": served.script,
                }
            )
            self._problem = answer.get("problem", {}).get("detail", "")
            if not self._problem:
                for other in target.parent.iterdir():
                    if other != target:
                        other.unlink(missing_ok=True)
        except (AuditError, OSError) as error:
            self._problem = str(error)
        self._ended_s = time.monotonic()
        level = logging.WARNING if self._problem else logging.INFO
        log("map", level=level, seconds=round(self._ended_s - started, 3), detail=self._problem)

    async def _ask(self, task: dict[str, str]) -> dict[str, Any]:
        worker = await self._start_worker(self._settings)
        try:
            if (pid := getattr(worker, "pid", 0)) and hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, pid, NICENESS)
            answer: dict[str, Any] = await worker.ask(task, limit_s=MAX_S, on_stage=_ignore)
            return answer
        finally:
            await worker.close()


async def _ignore(_stage: str) -> None:
    pass


def _age_s(path: Path) -> float:
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        return float("inf")


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
