"""Bring a catalogue up to date with folders of music.

Files are taken in sorted order and each is stored in one transaction, so a killed run resumes
where it was and ends as an uninterrupted one.  A file whose size and time are unchanged is not
opened; one whose content is known under a path that no longer holds it has moved and keeps its id;
a bad file is named, stored with its reason, and skipped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from auditor.catalogue import FileStamp
from auditor.embed import EmbeddedFile, embed_file
from auditor.errors import AudioError, TooShortError, UsageError, show_path
from auditor.fma import FmaMetadata, track_id_from_path
from auditor.records import Skipped, Track
from auditor.tags import read_tags
from auditor.walk import FoundFile, Walk, find_audio
from auditor.workspace import Workspace


@dataclass(frozen=True)
class IngestEvent:
    """One file was dealt with.

    Attributes
    ----------
    path : str
        Printable.
    outcome : str
        ``embedded``, ``unchanged``, ``moved`` or ``skipped``.
    reason : str
        Why it was skipped.
    n_done, n_total : int
        Files dealt with and files found.
    audio_s : float
        Seconds of audio embedded so far in this run.
    """

    path: str
    outcome: str
    reason: str
    n_done: int
    n_total: int
    audio_s: float


@dataclass(frozen=True)
class Ingested:
    """What a run did: counts by outcome, skipped files, and where the time went in seconds."""

    counts: dict[str, int]
    skipped: tuple[Skipped, ...]
    audio_s: float
    seconds: dict[str, float]


OnEvent = Callable[[IngestEvent], None]


def ingest(
    workspace: Workspace,
    roots: Sequence[str | bytes | os.PathLike[str]],
    *,
    fma: FmaMetadata | None = None,
    on_event: OnEvent | None = None,
) -> Ingested:
    """Embed what is new or changed below some folders, and mark what is gone.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    roots : sequence of paths
        Folders or files; empty leaves the catalogue as it is but for files that are gone.
    fma : FmaMetadata, optional
        Gives ids and tags to files named as FMA names them.
    on_event : callable, optional
        Called after each file.

    Returns
    -------
    Ingested

    Raises
    ------
    UsageError
        If the roots hold no audio file at all.
    ValueError
        If the workspace is not open for writing.
    """
    if not workspace.writable:
        raise ValueError("the workspace was opened with write=False; open it with write=True")
    walk = find_audio(roots) if roots else Walk((), ())
    if roots and not walk.files and not walk.unreadable:
        shown = ", ".join(show_path(root) for root in roots)
        raise UsageError(
            f"{shown}: no audio file was found. Give a folder with mp3, flac, ogg, opus, m4a, wav "
            "or aiff files."
        )
    run = _Run(workspace, fma)
    skipped = list(walk.unreadable)
    counts = dict.fromkeys(("embedded", "unchanged", "moved", "skipped"), 0)
    for n_done, found in enumerate(walk.files, start=1):
        outcome, reason = run.take(found)
        counts[outcome] += 1
        if outcome == "skipped":
            skipped.append(Skipped(show_path(found.path), reason))
        if on_event:
            shown = show_path(found.path)
            on_event(IngestEvent(shown, outcome, reason, n_done, len(walk.files), run.audio_s))
    run.mark_gone()
    skipped.sort(key=lambda s: s.path)
    return Ingested(counts, tuple(skipped), run.audio_s, run.seconds)


class _Run:
    """The state of one pass over the files: what the catalogue knew when it began."""

    def __init__(self, workspace: Workspace, fma: FmaMetadata | None) -> None:
        self.workspace = workspace
        self.catalogue = workspace.catalogue
        self.fma = fma
        self.known = self.catalogue.stamps()
        self.holders = {entry[0]: path for path, entry in self.known.items()}
        self.refused = self.catalogue.skipped_stamps()
        self.reasons = {s.path: s.reason for s in self.catalogue.skipped()}
        self.audio_s = 0.0
        self.seconds: dict[str, float] = {}

    def take(self, found: FoundFile) -> tuple[str, str]:
        """Deal with one file; return its outcome and, for a skipped one, the reason."""
        stamp = FileStamp(found.size, found.mtime_ns)
        weights_id = self.workspace.weights_id
        known = self.known.get(found.path)
        wanted_id = self._fma_id(found.path)
        if known and known[1] == stamp and weights_id in known[2] and wanted_id in ("", known[0]):
            if found.path in self.refused:  # it was bad for a while, and is again what it was
                self.catalogue.forget_skipped([found.path])
            return "unchanged", ""
        if self.refused.get(found.path) == stamp:
            return "skipped", self.reasons.get(show_path(found.path), "skipped before")
        relocated = False
        try:
            sha256 = hash_file(found.path)
            track_id, relocated = self._identify(found, sha256, wanted_id)
            if relocated:
                self.catalogue.relocate(track_id, found.path, stamp)
                self.holders[track_id] = found.path
                if weights_id in self.catalogue.stamp(found.path)[2]:
                    return ("unchanged" if known and known[0] == track_id else "moved"), ""
            embedded = embed_file(found.path, [self.workspace.extractor])
            if FileStamp.of(os.stat(found.path)) != stamp:
                raise AudioError(f"{show_path(found.path)}: changed while it was read. Scan again.")
        except (AudioError, OSError) as error:
            reason = failure_reason(found.path, error)
            # What other extractors made of the same content stays good.
            stored = known and self.holders[known[0]] == found.path
            if stored and known[1] != stamp and not relocated:
                self.catalogue.mark_missing([known[0]])
            # A permission or a disk may be mended without a trace in size and time, and what is too
            # short for one extractor may do for another: these are looked at again.
            examined = None if isinstance(error, (OSError, TooShortError)) else stamp
            self.catalogue.put_skipped(found.path, reason, examined)
            return "skipped", reason
        track = describe(found, sha256, embedded, fma=self.fma, track_id=track_id)
        if self.holders.get(track_id, found.path) != found.path:
            self.catalogue.mark_missing([track_id])  # its file is gone, which is not noted yet
        started = time.perf_counter()
        self.catalogue.put(
            track, path_bytes=found.path, stamp=stamp, embeddings=embedded.embeddings
        )
        self.holders[track_id] = found.path
        self.audio_s += embedded.duration_s
        spent = {**embedded.seconds, "store": time.perf_counter() - started}
        for stage, seconds in spent.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        return "embedded", ""

    def _identify(self, found: FoundFile, sha256: str, wanted_id: str) -> tuple[str, bool]:
        """Return the id of a file, and whether that track has only moved or been touched."""
        same = [
            (track_id, path)
            for track_id, path in self.catalogue.ids_by_sha256(sha256)
            if wanted_id in ("", track_id)
        ]
        for track_id, path in same:
            if path == found.path:
                return track_id, True
        for track_id, path in same:
            if not self._holds(path, sha256):
                return track_id, True
        return wanted_id or self.catalogue.new_id(sha256), False

    def _holds(self, path: bytes, sha256: str) -> bool:
        """Say whether the file at a catalogued path still has the content it was stored with."""
        try:
            known = self.catalogue.stamp(path)
            stamp = FileStamp.of(os.stat(path))
            return (known is not None and known[1] == stamp) or hash_file(path) == sha256
        except OSError:
            return False

    def _fma_id(self, path: bytes) -> str:
        """Return FMA's number of a file, unless another file that is there has it already."""
        number = fma_id(self.fma, path)
        holder = self.holders.get(number, path)
        return number if holder == path or not os.path.exists(holder) else ""

    def mark_gone(self) -> None:
        """Mark tracks whose file is gone, and those that came back; forget gone skipped files."""
        stamps = self.catalogue.stamps()
        here = {path: os.path.exists(path) for path in stamps}
        refused = set(self.catalogue.skipped_stamps())
        gone = [entry[0] for path, entry in stamps.items() if not here[path]]
        back = [entry[0] for path, entry in stamps.items() if here[path] and path not in refused]
        self.catalogue.mark_missing(sorted(gone))
        self.catalogue.mark_present(sorted(back))
        self.catalogue.forget_skipped(sorted(p for p in refused if not os.path.lexists(p)))


def fma_id(fma: FmaMetadata | None, path: bytes) -> str:
    """Return FMA's own number of a file as six digits, or an empty string."""
    number = track_id_from_path(path) if fma is not None else None
    return f"{number:06d}" if number is not None and fma.track(number) is not None else ""


def hash_file(path: bytes) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def failure_reason(path: bytes, error: Exception) -> str:
    """Return why a file was skipped, without its path, which is shown beside it."""
    if isinstance(error, FileNotFoundError):
        return "vanished while the folder was scanned"
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    shown = show_path(path)
    text = str(error)
    for prefix in (shown, shown.rsplit("/", 1)[-1]):
        text = text.removeprefix(f"{prefix}: ")
    return text


def describe(
    found: FoundFile,
    sha256: str,
    embedded: EmbeddedFile,
    *,
    fma: FmaMetadata | None,
    track_id: str,
) -> Track:
    """Return the record of an embedded file, with tags from FMA or from the file."""
    info = embedded.info
    track = Track(
        id=track_id,
        path=show_path(found.path),
        sha256=sha256,
        size=found.size,
        duration_s=round(embedded.duration_s, 3),
        declared_s=None if info.declared_s is None else round(info.declared_s, 3),
        truncated=embedded.truncated,
        silent=embedded.silent,
        codec=info.codec,
        container=info.container,
        sample_rate_hz=info.sample_rate_hz,
        n_channels=info.n_channels,
        bit_rate=info.bit_rate,
    )
    number = track_id_from_path(found.path) if fma is not None else None
    row = fma.track(number) if number is not None else None
    if row is not None:
        return dataclasses.replace(
            track,
            title=row.title,
            artist=row.artist,
            album=row.album,
            genre=row.genre,
            genres=row.genres,
            date=row.date,
            licence=row.licence,
            source="fma",
        )
    return dataclasses.replace(track, **dataclasses.asdict(read_tags(found.path)))
