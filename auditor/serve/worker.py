"""A worker: the process that checks files for the service, with the extractor loaded and warm.

It reads tasks from its standard input and answers on its standard output, both as JSON with its
length before it.  It may die at any moment: what it was at is begun again, and what it had done is
not done twice.  When the service goes away, so does it.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, BinaryIO

from auditor.distributed.ray_tasks import ClusterLostError
from auditor.errors import AudioError, AuditError, WorkspaceLockedError, show_path
from auditor.records import (
    CheckResult,
    Skipped,
    Track,
    pairs_with_tracks,
    result_from_json,
    to_json,
)
from auditor.serialisation import atomic_write, from_json

if TYPE_CHECKING:
    from auditor.ingest.prepare import Embedder
    from auditor.ingest.submissions import Submission
    from auditor.workspace import Workspace

LENGTH = struct.Struct(">I")
MAX_MESSAGE = 1 << 28
MAX_UNINDEXED = 32
"""Added tracks that the excerpt index may lack; a check examines each of them."""

Answer = dict[str, Any]


def write_message(target: BinaryIO, message: Mapping[str, Any]) -> None:
    """Write a message and its length."""
    data = json.dumps(message).encode()
    target.write(LENGTH.pack(len(data)) + data)
    target.flush()


def read_message(source: BinaryIO) -> dict[str, Any] | None:
    """Read a message; None at the end, or where a length is absurd."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    data = source.read(length) if length <= MAX_MESSAGE else b""
    return json.loads(data) if len(data) == length else None


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker needs to know of the service; see ``settings.Settings``."""

    workspace: str
    extractor: str
    precision: str
    max_false_alarms: float | None
    catalogue_size: int | None
    same_owner: tuple[str, ...]
    wide: bool
    compositions: bool
    library: str
    media: str
    report_bytes: int
    roots: tuple[str, ...]
    ray_address: str
    shared: str
    uploads: str
    max_upload_bytes: int


class CheckWorker:
    """Does the tasks of the service, one after the other.

    Parameters
    ----------
    workspace : Workspace
        Open for reading.
    options : WorkerOptions
    on_stage : callable
        Takes what the worker is at.
    embedder : Embedder, optional
        Embeds the files; by default this process.
    """

    def __init__(
        self,
        workspace: Workspace,
        options: WorkerOptions,
        on_stage: Callable[[str], None],
        embedder: Embedder | None = None,
    ) -> None:
        self._embedder = embedder
        self._workspace, self._options, self._on_stage = workspace, options, on_stage
        self._last: tuple[str, CheckResult, list[Submission]] | None = None

    def do(self, task: Mapping[str, Any]) -> Answer:
        """Do a task, and return its answer; what goes wrong is a ``problem`` in it."""
        tasks = {
            "check": self.check,
            "add": self.add,
            "media": self.make_media,
            "recommend": self.recommend,
            "map": self.draw_map,
        }
        try:
            return tasks[task["do"]](task)
        except WorkspaceLockedError as error:
            return {"busy": str(error)}
        except ClusterLostError:  # this worker ends, and the job is begun again by another one
            raise
        except AuditError as error:
            return {"problem": _problem(error)}
        except OSError as error:
            code = "not-found" if isinstance(error, FileNotFoundError) else "io-error"
            return {"problem": {"code": code, "detail": error.strerror or str(error)}}
        except Exception as error:  # no file may end the service, whatever it makes a library raise
            print(f"audit: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            detail = f"the check failed: {type(error).__name__}"
            return {"problem": {"code": "internal", "detail": detail}}

    def check(self, task: Mapping[str, Any]) -> Answer:
        """Compare a file with the catalogue."""
        from auditor.api.check import check

        self._last = None
        submissions: list[Submission] = []
        self._on_stage("decoding")

        def on_submission(submission: Submission) -> None:
            submissions.append(submission)
            self._on_stage("comparing")

        result = check(
            self._workspace,
            [self._path(task)],
            options=self._run_options(wide=task.get("wide", False)),
            embedder=self._embedder,
            on_submission=on_submission,
            may_be_empty=task["adds"],
            command="audit serve",
        )
        result = named(result, task["name"]) if task["source"] == "upload" else result
        if not result.submissions:
            skipped = next(iter(result.skipped), Skipped("", "holds no audio"))
            return {"problem": {"code": skipped.code, "detail": skipped.reason}}
        self._last = task["id"], result, submissions
        return {"result": to_json(result), "findings": findings_of(result)}

    def _run_options(self, *, wide: bool) -> Any:
        from auditor.api.run import Options

        options = self._options
        return Options(
            max_false=options.max_false_alarms,
            catalogue_size=options.catalogue_size,
            same_owner=options.same_owner,
            wide=wide or options.wide,
            compositions=None if options.compositions else False,
        )

    def _path(self, task: Mapping[str, Any]) -> bytes:
        """Return the file of a task; one that was named must lie where it did.

        Of a store it is one object: the URL of several would be as many submissions.
        """
        path = bytes.fromhex(task["location"])
        if task["source"] == "url":
            from auditor.audio.object_store import look_up

            if look_up(path).size > self._options.max_upload_bytes:
                raise AudioError(
                    f"the object has more than {self._options.max_upload_bytes:,} bytes, the "
                    "limit.",
                    code="too-large",
                )
        if task["source"] == "path":
            from auditor.serve.uploads import resolve

            resolve(os.fsdecode(path), [bytes.fromhex(root) for root in self._options.roots])
        return path

    def add(self, task: Mapping[str, Any]) -> Answer:
        """Make a track of a file, once, however often it is asked for."""
        from auditor.catalogue.catalogue import Catalogue
        from auditor.ingest.session import ingest
        from auditor.workspace import lock_workspace

        folder = self._workspace.directory
        path = self._path(task)
        if task["source"] == "upload":
            path = put_into_library(Path(self._options.library), task["sha256"], path)
        with (
            lock_workspace(folder),
            Catalogue.open(folder / "catalogue.sqlite3") as catalogue,
        ):
            workspace = dataclasses.replace(self._workspace, catalogue=catalogue, writable=True)
            done = ingest(workspace, [path], embedder=self._embedder_for(task, path))
            stamped = catalogue.stamp(path)
            if stamped is None:
                reason = next((s.reason for s in done.skipped), "it could not be stored")
                return {"problem": {"code": "not-added", "detail": reason}}
            self._index(workspace)
        return {"track_id": stamped[0]}

    def _embedder_for(self, task: Mapping[str, Any], path: bytes) -> Any:
        """Return what embeds the file: what the check has made of it, if it is still the same."""
        from auditor.audio.files import look_at
        from auditor.catalogue.catalogue import FileStamp
        from auditor.ingest.prepare import PreparedFiles, SerialEmbedder

        otherwise = SerialEmbedder([self._workspace.extractor])
        prepared = None
        if self._last is not None and self._last[0] == task["id"]:
            prepared = next((s.prepared for s in self._last[2] if s.prepared), None)
        if prepared is None:
            return otherwise
        # A second name, that of the library, is a change of the inode and of nothing else.
        now, then = FileStamp.of(look_at(path)), prepared.stamp
        same = (now.size, now.mtime_ns, now.inode) == (then.size, then.mtime_ns, then.inode)
        files = [(path, dataclasses.replace(prepared, stamp=now))] if same else []
        return PreparedFiles(files, otherwise)

    def _index(self, workspace: Workspace) -> None:
        """Bring the excerpt index up to date once it lacks many tracks."""
        from auditor.scoring.match import Scorer
        from auditor.scoring.track_reader import CatalogueReader

        if not Scorer.fits(workspace.extractor):
            return
        readable = dataclasses.replace(workspace, writable=False)
        if len(CatalogueReader.of(readable).excerpts()[0].uncovered) > MAX_UNINDEXED:
            self._on_stage("indexing")
            CatalogueReader.of(workspace).excerpts()

    def make_media(self, task: Mapping[str, Any]) -> Answer:
        """Make the clips and pictures of a report."""
        from auditor.report.media.build import gather_media
        from auditor.report.media.model import media_to_json

        if self._last is not None and self._last[0] == task["id"]:
            _, result, submissions = self._last
        else:
            found = result_from_json(task["result"])
            assert isinstance(found, CheckResult)
            result, submissions = found, []
        folder = Path(self._options.media) / task["id"]
        media = gather_media(
            self._workspace,
            result,
            submissions=submissions,
            paths={track.id: self._path(task) for track in result.submissions},
            folder=folder,
            max_bytes=self._options.report_bytes,
        )
        media = media.without_links()  # whoever reads the page need not have the files
        folder.mkdir(parents=True, exist_ok=True)
        pair_ids = {(pair.a, pair.b): pair.pair_id for pair in result.pairs}
        clips: list[dict[str, Any]] = []
        for pair in media.pairs:
            for clip in pair.clips:
                name = f"{len(clips)}.{'ogg' if 'ogg' in clip.mime else 'm4a'}"
                atomic_write(folder / name, base64.b64decode(clip.audio))
                clips.append(
                    {
                        "pair_id": pair_ids[(pair.a, pair.b)],
                        "range": clip.range,
                        "side": clip.side,
                        "start_s": clip.start_s,
                        "end_s": clip.end_s,
                        "media_type": clip.mime,
                        "name": name,
                    }
                )
        text = media_to_json(media) + "\n"
        atomic_write(folder / "media.json", text.encode("utf-8", "backslashreplace"))
        return {"clips": clips}

    def recommend(self, task: Mapping[str, Any]) -> Answer:
        """Answer what is nearest to a track, or which tracks may be the same composition."""
        from auditor.api.recommend import Query, recommend

        query = Query(
            of=task["of"],
            top=task["top"],
            farthest=task["farthest"],
            versions=task["versions"],
        )
        return {"result": to_json(recommend(self._workspace, query, command="audit serve"))}

    def draw_map(self, task: Mapping[str, Any]) -> Answer:
        """Draw the map of the catalogue, and store its page."""
        from auditor.api.map import make_atlas
        from auditor.report.html.map import render_map
        from auditor.report.html.page import ServedPage

        atlas = make_atlas(self._workspace, command="audit serve")
        page = render_map(atlas, "/", served=ServedPage(task["style"], task["script"]))
        atomic_write(task["target"], page.encode("utf-8", "backslashreplace"))
        return {"n_tracks": len(atlas.tracks)}


def named(result: CheckResult, name: str) -> CheckResult:
    """Return a result in which the one file is called as its sender calls it."""
    shown = show_path(name)
    return dataclasses.replace(
        result,
        submissions=tuple(dataclasses.replace(t, path=shown) for t in result.submissions),
        skipped=tuple(
            dataclasses.replace(s, path=shown) if s.code != "damaged-row" else s
            for s in result.skipped
        ),
    )


def findings_of(result: CheckResult) -> list[dict[str, Any]]:
    """Return the flagged and decided pairs and compositions of a check, for the policy."""
    from auditor.report.html.cases import case_order

    rows = sorted(pairs_with_tracks(result), key=case_order)
    found = [
        _finding("recording", place, pair, a, b) | {"verdict": pair.verdict or "same recording"}
        for place, (pair, a, b) in enumerate(rows, 1)
        if pair.flagged or pair.decision
    ]
    tracks = {track.id: track for track in (*result.submissions, *result.tracks)}
    lines = result.compositions.matches if result.compositions is not None else ()
    found += [
        _finding("composition", 0, line, tracks[line.a], tracks[line.b])
        for line in lines
        if line.flagged or line.decision
    ]
    return found


def _finding(kind: str, place: int, match: Any, a: Track, b: Track) -> dict[str, Any]:
    return {
        "kind": kind,
        "place": place,
        "pair_id": match.pair_id,
        "verdict": match.verdict,
        "score": match.score,
        "flagged": match.flagged,
        "decision": match.decision,
        "sha256_a": a.sha256,
        "sha256_b": b.sha256,
        "label_a": a.label,
        "label_b": b.label,
        "track_id": b.id,
        "track_path": b.path,
        "artist": b.artist,
        "album": b.album,
        "licence": b.licence,
        "label": b.record_label,
    }


def _problem(error: AuditError) -> dict[str, str]:
    code = getattr(error, "code", "") or {
        "AuditError": "internal",  # a node of a cluster lacks what it needs
        "CatalogueError": "catalogue",
        "DamagedTrackError": "damaged-row",
        "IndexFileError": "index",
        "ThresholdError": "threshold",
        "UsageError": "usage",
        "WeightsError": "weights",
    }.get(type(error).__name__, "usage")
    return {"code": code, "detail": str(error)}


def put_into_library(library: Path, sha256: str, upload: bytes) -> bytes:
    """Give an upload its place among the tracks, by its content, and return that.

    Done twice, or for two uploads of one content, it leads to the same one file.
    """
    folder = library / sha256[:2] / sha256
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    if there:
        return os.fsencode(there[0].absolute())
    target = folder / os.fsdecode(os.path.basename(upload))
    try:
        os.link(upload, target)
    except FileExistsError:
        pass
    except OSError:  # another disk, or a file system without links
        from auditor.serialisation import partial_file, put_in_place

        with partial_file(folder) as partial:
            shutil.copyfile(upload, partial)
            put_in_place(partial, target)
    return os.fsencode(target.absolute())


def serve(source: BinaryIO, target: BinaryIO, options: WorkerOptions) -> None:
    """Do tasks until there are no more."""
    from auditor.api.wide import require_wide
    from auditor.audio.isolated import warm_up
    from auditor.embedding.config import DEFAULT_EXTRACTOR
    from auditor.parallel import one_thread
    from auditor.scoring.base import open_scorer
    from auditor.workspace import open_workspace

    warm_up()
    one_thread()
    folder = Path(options.workspace)
    try:
        stack = contextlib.ExitStack()
        workspace = stack.enter_context(
            open_workspace(
                folder,
                extractor=options.extractor or DEFAULT_EXTRACTOR,
                precision=options.precision,
                write=False,
            )
        )
        if options.wide:
            require_wide(workspace, open_scorer(workspace))
        embedder = stack.enter_context(ray_embedder(workspace, options))
        n_tracks = len(workspace.catalogue.table(workspace.weights_id).tracks)
    except AuditError as error:
        write_message(target, {"ready": False, "problem": _problem(error)})
        return
    with stack:
        _warm_extractor(workspace)
        worker = CheckWorker(
            workspace, options, lambda stage: write_message(target, {"stage": stage}), embedder
        )
        write_message(target, {"ready": True, "n_tracks": n_tracks, "pid": os.getpid()})
        while (task := read_message(source)) is not None:
            write_message(target, worker.do(task))


@contextlib.contextmanager
def ray_embedder(workspace: Workspace, options: WorkerOptions) -> Iterator[Embedder | None]:
    """Connect to the cluster of the service, and yield what embeds there; None without one.

    It embeds on cores, whose embeddings are those of this process to the bit.

    Raises
    ------
    UsageError
        If no cluster answers, or a node does not see the uploads or a root.
    """
    if not options.ray_address:
        yield None
        return
    from auditor.audio.object_store import is_object
    from auditor.distributed.workers import ray_workers

    roots = [options.uploads, *(os.fsdecode(bytes.fromhex(root)) for root in options.roots)]
    roots = [root for root in roots if not is_object(root)]  # nothing may lie below a URL yet
    with ray_workers(
        workspace,
        roots,
        address=options.ray_address,
        storage=options.shared,
        device="cpu",
        keep=False,
    ) as (embedder, _):
        _ignore_signals()  # Ray sets its own
        yield embedder


def _warm_extractor(workspace: Workspace) -> None:
    """Embed a few seconds of noise: the first time takes longer."""
    import numpy as np

    from auditor.audio import SAMPLE_RATE_HZ
    from auditor.embedding.embed import embed_waveform

    noise = np.random.default_rng(0).normal(0.0, 0.1, 5 * SAMPLE_RATE_HZ).astype(np.float32)
    embed_waveform(noise, [workspace.extractor])


def main() -> None:
    """Run as a process of the service; its options are the first argument, as JSON."""
    _ignore_signals()
    from auditor.parallel import reserve_memory

    reserve_memory()
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # no library may write between the messages
        os.dup2(nothing, standard)
    given: dict[str, Any] = json.loads(sys.argv[1])
    options = from_json(WorkerOptions, given, where="worker")
    tasks = _Tasks(source)
    threading.Thread(target=tasks.pump, daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        serve(tasks, target, options)  # type: ignore[arg-type]
    os._exit(0)  # no library may hang on its way out


def _ignore_signals() -> None:
    """Go on at signals: the service decides when to stop."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class _Tasks:
    """Standard input, read by a thread: when it ends, the service is gone, and so is this process.

    A worker that went on would write to a catalogue which another service has by then.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._messages: SimpleQueue[bytes] = SimpleQueue()
        self._left = b""

    def pump(self) -> None:
        while True:
            head = self._source.read(LENGTH.size)
            length = LENGTH.unpack(head)[0] if len(head) == LENGTH.size else MAX_MESSAGE + 1
            data = self._source.read(length) if length <= MAX_MESSAGE else b""
            if length > MAX_MESSAGE or len(data) < length:
                os._exit(0)
            self._messages.put(head + data)

    def read(self, n_bytes: int) -> bytes:
        if not self._left:
            self._left = self._messages.get()
        data, self._left = self._left[:n_bytes], self._left[n_bytes:]
        return data


if __name__ == "__main__":
    main()
