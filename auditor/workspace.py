"""A workspace: one catalogue with its extractor, index and thresholds, and the lock of its writer.

::

    .audit/catalogue.sqlite3    tracks, embeddings, d-vectors, skipped files
    .audit/index/               Annoy index and sidecar, one set for each extractor
    .audit/thresholds/          the user's own calibrations
    .audit/lock                 held by the one process that writes
    .audit/lock-holder.json     which process that is, while it is held
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

import auditor
from auditor.calibration.thresholds import shipped_directory
from auditor.catalogue.catalogue import Catalogue
from auditor.embedding.config import DEFAULT_EXTRACTOR, PRECISIONS
from auditor.errors import CatalogueError, UsageError, WorkspaceLockedError, show_path
from auditor.records import Provenance
from auditor.serialisation import atomic_write, parse_json

if TYPE_CHECKING:
    from auditor.embedding.extractor import Extractor

HOLDER = "lock-holder.json"
"""What the process that holds the lock says of itself, for those that wait."""

POLL_S = 0.5
"""Seconds between two attempts to get a lock that is waited for."""

_MAX_COMMAND = 200
ENVIRONMENT = "AUDIT_WORKSPACE"
DEFAULT = ".audit"


@dataclass(frozen=True)
class Workspace:
    """An open workspace; made by ``open_workspace``.

    Attributes
    ----------
    directory : pathlib.Path
    catalogue : Catalogue
    extractor : Extractor
    writable : bool
        The lock is held; otherwise nothing below the directory may be written.
    excerpt_backend : str or None
        What the excerpt index is to be built with (``excerpt_backend.BACKENDS``); None keeps to
        what it has.
    """

    directory: Path
    catalogue: Catalogue
    extractor: Extractor
    writable: bool = True
    excerpt_backend: str | None = None

    @property
    def weights_id(self) -> str:
        """Which extractor made the embeddings, see ``Extractor.weights_id``."""
        return self.extractor.weights_id

    @property
    def hop_s(self) -> float:
        """Seconds from one d-vector to the next."""
        return self.extractor.config.hop_s

    @property
    def window_s(self) -> float:
        """Seconds that a d-vector hears."""
        return self.extractor.config.window_s

    @property
    def index_directory(self) -> Path:
        """Where the Annoy index lies."""
        return self.directory / "index"

    @property
    def threshold_directories(self) -> tuple[Path, ...]:
        """Where thresholds are looked for, the user's own first."""
        return self.directory / "thresholds", shipped_directory()


def workspace_directory(directory: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the workspace: as given, else ``$AUDIT_WORKSPACE``, else ``.audit``."""
    return Path(directory or os.environ.get(ENVIRONMENT) or DEFAULT)


@contextlib.contextmanager
def open_workspace(
    directory: str | os.PathLike[str] | None = None,
    *,
    extractor: str | os.PathLike[str] = DEFAULT_EXTRACTOR,
    precision: str = PRECISIONS[0],
    write: bool = False,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[Workspace]:
    """Open a workspace for reading; with ``write`` it is made if absent, and locked.

    Parameters
    ----------
    directory : path, optional
        See ``workspace_directory``.
    extractor : str or path
        Name of a pretrained extractor or a weights file.
    precision : str
        One of ``embedding.config.PRECISIONS``; each has embeddings of its own in the catalogue.
    write : bool
        Open it for writing, as ``scan``, ``compare``, ``calibrate`` and ``check`` with ``add``
        require: it is made if absent, and locked against other writers.  By default the
        catalogue is opened read-only, without a lock, beside any writer.
    on_wait : callable, optional
        Called with who holds the lock where somebody does, and then waited for; without it that is
        an error.

    Raises
    ------
    WorkspaceLockedError
        If another process is writing to it.
    CatalogueError
        If the catalogue is damaged, or absent and ``write`` is False.
    WeightsError
        If the extractor cannot be loaded.
    UsageError
        If the folder cannot be made.

    Examples
    --------
    >>> with open_workspace(".audit") as workspace:  # doctest: +SKIP
    ...     print(len(workspace.catalogue.tracks()))
    """
    from auditor.embedding.extractor import find_weights, load_extractor

    folder = workspace_directory(directory)
    weights = find_weights(extractor)
    with contextlib.ExitStack() as stack:
        if write:
            loaded = load_extractor(weights, precision=precision)  # before anything is made
            stack.enter_context(lock_workspace(folder, on_wait=on_wait))
        catalogue = stack.enter_context(
            Catalogue.open(folder / "catalogue.sqlite3", read_only=not write)
        )
        if not write:
            loaded = load_extractor(weights, precision=precision)
        yield Workspace(folder, catalogue, loaded, writable=write)


@contextlib.contextmanager
def lock_workspace(folder: Path, *, on_wait: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the writer's lock of a workspace; the operating system frees it if the process dies.

    Parameters
    ----------
    folder : pathlib.Path
        Of the workspace; made where it is missing.
    on_wait : callable, optional
        See ``open_workspace``.

    Raises
    ------
    WorkspaceLockedError
        If another process holds it, and there is no ``on_wait``.
    UsageError
        If the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if on_wait is None:
                raise
            on_wait(lock_holder(folder))
            lock.acquire(poll_interval=POLL_S)
    except filelock.Timeout:
        holder = lock_holder(folder)
        raise WorkspaceLockedError(
            f"{show_path(folder)} is in use by another audit. Wait for it to end (scan, compare "
            "and check have --wait), or give another --workspace."
            + (f" It is {holder}." if holder else "")
        ) from None
    except OSError as error:
        raise UsageError(
            f"{show_path(folder)} cannot be used as a workspace: {error.strerror}, and this "
            "command writes to it. Give another --workspace."
        ) from None
    note = folder / HOLDER
    try:
        with contextlib.suppress(OSError):  # the lock is held, whether or not it says by whom
            atomic_write(note, json.dumps(_myself()).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def _myself() -> dict[str, str | int]:
    """Return what is said of the process that holds a lock."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "command": show_path(" ".join(sys.argv))[:_MAX_COMMAND],
        "since": now.isoformat().replace("+00:00", "Z"),
    }


def _noted_holder(folder: Path) -> dict[str, str]:
    """Return what a process that took the lock said of itself; it may have died since."""
    try:
        with open(folder / HOLDER, "rb") as file:
            data = parse_json(file.read(4096))
    except (OSError, ValueError, RecursionError):
        return {}
    names = ("pid", "host", "command", "since")
    if not isinstance(data, dict) or not all(isinstance(data.get(n), str | int) for n in names):
        return {}
    return {name: show_path(str(data[name]))[:_MAX_COMMAND] for name in names}


def lock_holder(folder: Path) -> str:
    """Return who holds the writer's lock of a workspace, in words; empty if nobody does.

    Nothing is written.  On Linux the system says which process it is; elsewhere, and on a disk that
    several machines share, it is what that process wrote when it took the lock.  Without ``flock``
    nothing is known.

    Examples
    --------
    >>> lock_holder(Path("nowhere"))
    ''
    """
    try:
        import fcntl

        descriptor = os.open(folder / "lock", os.O_RDONLY)
    except (ImportError, OSError):
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except OSError:
        pass
    finally:
        inode = os.fstat(descriptor).st_ino
        os.close(descriptor)
    noted = _noted_holder(folder)
    since = f", since {noted['since']}" if noted else ""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5].endswith(f":{inode}"):
                pid = int(words[4])
                command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                shown = show_path(b" ".join(command))[:_MAX_COMMAND]
                return f"process {pid}: {shown}{since if noted.get('pid') == str(pid) else ''}"
    if noted:
        return f"process {noted['pid']} on {noted['host']}: {noted['command']}{since}"
    return "another process"


def require_tracks(workspace: Workspace, n_tracks: int) -> None:
    """Raise ``CatalogueError`` if the catalogue holds nothing embedded by this extractor."""
    if n_tracks == 0:
        raise CatalogueError(
            f"{show_path(workspace.directory)} holds no track embedded by "
            f"{workspace.extractor.name} ({workspace.weights_id}). Run: audit scan DIR"
        )


def make_provenance(workspace: Workspace, *, command: str, started: float) -> Provenance:
    """Return what made a result; ``started`` is ``time.monotonic()`` at its beginning."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return Provenance(
        version=auditor.__version__,
        command=command,
        created=now.isoformat().replace("+00:00", "Z"),
        extractor=workspace.extractor.name,
        weights_id=workspace.weights_id,
        workspace=show_path(workspace.directory),
        platform=f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        seconds=round(time.monotonic() - started, 3),
    )
