"""Bring a catalogue up to date with folders of music, and with object stores.

Files are taken in sorted order and each is stored in one transaction, so a killed run resumes
where it was and ends as an uninterrupted one.  A file whose size and time are unchanged is not
opened; one of the same bytes as another is not decoded, but takes what is stored of that; one whose
content is known under a path that no longer holds it has moved and keeps its id; one whose content
is new under a known path has been changed and keeps its id too, unless the old
content lies elsewhere; a bad file is named, stored with its reason, and skipped.  An object is gone
when it is not listed any more; of those below no URL of a run nothing is asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

from auditor.audio.files import FoundFile, Walk, cannot_be_read, find_audio, hash_file, look_at
from auditor.audio.fma_tags import FmaMetadata, FmaTrack, track_id_from_path
from auditor.audio.isolated import read_tags
from auditor.audio.object_store import fetched, is_object
from auditor.catalogue.catalogue import FileStamp
from auditor.errors import (
    AudioError,
    TooShortError,
    UsageError,
    WorkerDiedError,
    file_changed,
    show_path,
)
from auditor.ingest.prepare import (
    Embedder,
    Prepared,
    PreparedFile,
    SerialEmbedder,
    prepare_file,
)
from auditor.records import Skipped, Track
from auditor.workspace import Workspace


@dataclass(frozen=True)
class IngestEvent:
    """One file was dealt with.

    Attributes
    ----------
    path : str
        Printable.
    outcome : str
        ``embedded``, ``identical`` (it took what is stored of a file of the same bytes),
        ``unchanged``, ``moved`` or ``skipped``.
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
    embedder: Embedder | None = None,
    reread_tags: bool = False,
    on_event: OnEvent | None = None,
) -> Ingested:
    """Embed what is new or changed below some folders, and mark what is gone.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    roots : sequence of paths
        Folders or files, or URLs of objects; empty leaves the catalogue as it is but for files that
        are gone.
    fma : FmaMetadata, optional
        Gives ids and tags to files named as FMA names them.
    embedder : Embedder, optional
        Embeds what is new; by default one file after the other in this process.  What is stored
        does not depend on it.
    reread_tags : bool
        Read the tags of known files, too; else only those of new and changed files are read.
    on_event : callable, optional
        Called after each file.

    Returns
    -------
    Ingested

    Raises
    ------
    UsageError
        If the roots hold no audio file at all, or an object store cannot be asked; then nothing is
        changed.
    ValueError
        If the workspace is not open for writing.
    """
    if not workspace.writable:
        raise ValueError("the workspace was opened with write=False; open it with write=True")
    walk = find_audio(roots) if roots else Walk((), ())
    if roots and walk.is_without_audio():
        shown = ", ".join(show_path(root) for root in roots)
        raise UsageError(
            f"{shown}: no audio file was found.{walk.tell_not_read()} Give a folder with mp3, "
            "flac, ogg, opus, m4a, wav or aiff files."
        )
    run = _Run(workspace, walk, fma, reread_tags=reread_tags)
    skipped = list(walk.unreadable)
    counts = dict.fromkeys(("embedded", "identical", "unchanged", "moved", "skipped"), 0)
    with contextlib.closing(run.prepare(embedder or SerialEmbedder([workspace.extractor]))) as made:
        for n_done, found in enumerate(walk.files, start=1):
            outcome, why = run.take(found, next(made) if found in run.unknown else None)
            counts[outcome] += 1
            if why is not None:
                skipped.append(why)
            if on_event:
                shown, reason = show_path(found.path), why.reason if why else ""
                on_event(IngestEvent(shown, outcome, reason, n_done, len(walk.files), run.audio_s))
    run.mark_gone()
    skipped.sort(key=lambda s: s.path)
    return Ingested(counts, tuple(skipped), run.audio_s, run.seconds)


class _Run:
    """The state of one pass over the files: what the catalogue knew when it began."""

    def __init__(
        self,
        workspace: Workspace,
        walk: Walk,
        fma: FmaMetadata | None,
        *,
        reread_tags: bool = False,
    ) -> None:
        self.workspace, self.reread_tags = workspace, reread_tags
        self.catalogue = workspace.catalogue
        self.fma = fma
        self.walk = walk
        self.listed = {found.path for found in walk.files}
        self.of_size: dict[int, list[FoundFile]] = {}
        for found in walk.files:
            self.of_size.setdefault(found.size, []).append(found)
        self.known = self.catalogue.stamps()
        self.holders = {entry[0]: path for path, entry in self.known.items()}
        self.refused = self.catalogue.skipped_stamps()
        self.reasons = {s.path: s for s in self.catalogue.skipped()}
        self.holding: set[tuple[bytes, str]] = set()  # path and content, asked once a run
        self.audio_s = 0.0
        self.seconds: dict[str, float] = {}
        unknown = [found for found in walk.files if self._is_unknown(found)]
        self.hashes = hash_alike(unknown)
        self.copies = find_copies(self.hashes)
        self.failed: dict[str, tuple[Skipped, bool]] = {}
        self.unknown = dict.fromkeys(
            dataclasses.replace(found, sha256=self.hashes.get(found, ""))
            for found in unknown
            if found not in self.copies
        )

    def prepare(self, embedder: Embedder) -> Generator[PreparedFile]:
        """Yield what became of each unknown file, in order; what has only moved is but hashed.

        Copies of a file before them are left out: they take what is stored of it.
        """
        sizes = {found.size for found in self.unknown}
        known = self.catalogue.hashes(self.workspace.weights_id, sizes)
        return embedder.embed(self.unknown, known=known)

    def _is_unknown(self, found: FoundFile) -> bool:
        """Say whether a file has to be opened at all."""
        stamp = FileStamp.of(found)
        known = self.known.get(found.path)
        stored = known and known[1] == stamp and self.workspace.weights_id in known[2]
        return not stored and self.refused.get(found.path) != stamp

    def take(self, found: FoundFile, made: PreparedFile | None) -> tuple[str, Skipped | None]:
        """Deal with one file; return its outcome and, for a skipped one, the reason."""
        stamp = FileStamp.of(found)
        weights_id = self.workspace.weights_id
        known = self.known.get(found.path)
        wanted_id = self._fma_id(found.path)
        if known and known[1] == stamp and self._rename(known[0], wanted_id):
            known = self.known[found.path]
            if weights_id in known[2]:
                if found.path in self.refused:  # it was bad for a while, and is again what it was
                    self.catalogue.forget_skipped([found.path])
                self._refresh_tags(known[0], found.path)
                return "unchanged", None
        if self.refused.get(found.path) == stamp:
            shown = show_path(found.path)
            return "skipped", self.reasons.get(shown, Skipped(shown, "skipped before"))
        relocated = False
        if found in self.copies:
            made = PreparedFile(found, self.copies[found])
        try:
            made = made or prepare_file(found, [self.workspace.extractor])
            if made.error is not None and not made.sha256:
                raise made.error
            sha256 = made.sha256
            track_id, relocated = self._identify(found, sha256, wanted_id)
            if relocated:
                self.catalogue.relocate(track_id, found.path, stamp)
                self.holders[track_id] = found.path
                stamped = self.catalogue.stamp(found.path)
                if stamped is not None and weights_id in stamped[2]:
                    self._refresh_tags(track_id, found.path)
                    known = self.known.get(found.path)
                    return ("unchanged" if known and known[0] == track_id else "moved"), None
            if made.prepared is None and made.error is None:  # known, and there all the same
                if (failure := self.failed.get(sha256)) is not None:
                    return self._refuse(found, relocated, *failure)
                if self._take_stored(found, sha256, track_id):
                    return "identical", None
                made = prepare_file(found, [self.workspace.extractor])
            if made.prepared is None:
                assert made.error is not None  # a file that was decoded has either
                raise made.error
            prepared = made.prepared
        except (AudioError, OSError) as error:
            # A permission or a disk may be mended without a trace in size and time, and what is too
            # short for one extractor may do for another: these are looked at again.  So is what
            # killed its worker, which may have been for want of memory.
            passing = isinstance(error, (OSError, TooShortError, WorkerDiedError))
            sha256 = made.sha256 if made is not None else ""
            failure = skip(found.path, error, sha256), passing
            if sha256 and not isinstance(error, OSError):
                self.failed[sha256] = failure
            return self._refuse(found, relocated, *failure)
        embedded = prepared.embedded
        track = describe(found, prepared, fma=self.fma, track_id=track_id)
        if self.holders.get(track_id, found.path) != found.path:
            self.catalogue.mark_missing([track_id])  # its file is gone, which is not noted yet
        started = time.perf_counter()
        self.catalogue.put(
            track,
            path_bytes=found.path,
            stamp=stamp,
            embeddings=embedded.embeddings,
            spectrum=embedded.spectrum,
        )
        self.holders[track_id] = found.path
        self.audio_s += embedded.duration_s
        spent = {**embedded.seconds, "store": time.perf_counter() - started}
        for stage, seconds in spent.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        return "embedded", None

    def _refuse(
        self, found: FoundFile, relocated: bool, why: Skipped, passing: bool
    ) -> tuple[str, Skipped]:
        """Store why a file takes no part; return that as its outcome."""
        stamp = FileStamp.of(found)
        known = self.known.get(found.path)  # it may have another id by now
        # What other extractors made of the same content stays good.
        stored = known is not None and self.holders[known[0]] == found.path
        if known is not None and stored and known[1] != stamp and not relocated:
            self.catalogue.mark_missing([known[0]])
        why = dataclasses.replace(why, path=show_path(found.path))
        self.catalogue.put_skipped(found.path, why, None if passing else stamp)
        return "skipped", why

    def _take_stored(self, found: FoundFile, sha256: str, track_id: str) -> bool:
        """Store a file with what is stored of its content; say whether there is such."""
        weights_id, stamp = self.workspace.weights_id, FileStamp.of(found)
        content = self.catalogue.content(sha256, weights_id)
        if content is None:
            return False
        track, embedding = content
        if FileStamp.of(look_at(found.path)) != stamp:
            raise file_changed(found.path)
        track = dataclasses.replace(
            track, id=track_id, path=show_path(found.path), size=found.size, missing=False
        )
        row = fma_row(self.fma, found.path)
        if row is not None:
            track = _with_fma(track, row)
        elif track.source != "file":
            with fetched(found.path, size=found.size) as path:
                tags = dataclasses.asdict(read_tags(path))
            track = dataclasses.replace(track, **tags)
        if self.holders.get(track_id, found.path) != found.path:
            self.catalogue.mark_missing([track_id])  # its file is gone, which is not noted yet
        embeddings = {weights_id: embedding}
        self.catalogue.put(track, path_bytes=found.path, stamp=stamp, embeddings=embeddings)
        self.holders[track_id] = found.path
        return True

    def _identify(self, found: FoundFile, sha256: str, wanted_id: str) -> tuple[str, bool]:
        """Return the id of a file, and whether that track has only moved or been touched."""
        same = self.catalogue.ids_by_sha256(sha256)
        for track_id, path in same:
            if path == found.path and self._rename(track_id, wanted_id):
                return wanted_id or track_id, True
        for track_id, path in same:
            if wanted_id not in ("", track_id) or (path, sha256) in self.holding:
                continue
            if not self._holds(path, sha256):
                return track_id, True
            self.holding.add((path, sha256))
        known_id = self.known.get(found.path, ("",))[0]
        if (
            known_id
            and self.holders.get(known_id) == found.path
            and not self._is_elsewhere(found, known_id)
            and self._rename(known_id, wanted_id)
        ):
            return wanted_id or known_id, False
        return wanted_id or self.catalogue.new_id(sha256), False

    def _rename(self, track_id: str, wanted_id: str) -> bool:
        """Give a track FMA's number, if it is to have one; say whether it has what is wanted."""
        if wanted_id in ("", track_id):
            return True
        if not self.catalogue.rename(track_id, wanted_id):
            return False
        path = self.holders.pop(track_id)
        self.holders[wanted_id] = path
        self.known[path] = (wanted_id, *self.known[path][1:])
        return True

    def _is_elsewhere(self, found: FoundFile, track_id: str) -> bool:
        """Say whether the content that a track was stored with has gone to another file here."""
        track = self.catalogue.track(track_id)
        for other in self.of_size.get(track.size, ()):
            known = self.known.get(other.path)
            if other.path == found.path or (known and known[1] == FileStamp.of(other)):
                continue  # the content of a known, unchanged file has an id of its own
            try:
                self.hashes[other] = self._hash(other)
            except (AudioError, OSError):
                continue
            if self.hashes[other] == track.sha256:
                return True
        return False

    def _hash(self, found: FoundFile) -> str:
        return self.hashes.get(found) or hash_file(found.path)

    def _refresh_tags(self, track_id: str, path: bytes) -> None:
        """Store FMA's row of a file, and what its tags say, where it is not what was stored."""
        row = fma_row(self.fma, path)
        if row is None and not self.reread_tags:
            return
        track = tagged = self.catalogue.track(track_id)
        if self.reread_tags:
            with fetched(path, size=track.size) as local:
                read = read_tags(local)
            told = dataclasses.asdict(read)
            if track.source == "fma":
                told = {name: told[name] for name in _OF_THE_FILE}
            tagged = dataclasses.replace(tagged, **told)
        if row is not None:
            tagged = _with_fma(tagged, row)
        if tagged != track:
            self.catalogue.update_tags(tagged)

    def _holds(self, path: bytes, sha256: str) -> bool:
        """Say whether the file at a catalogued path still has the content it was stored with."""
        there = self._is_there(path)
        if there is not True:  # an object of another store is left where it is
            return there is None
        try:
            known = self.catalogue.stamp(path)
            stamp = FileStamp.of(look_at(path))
            return (known is not None and known[1] == stamp) or hash_file(path) == sha256
        except (AudioError, FileNotFoundError):
            return False
        except (OSError, UsageError):
            return is_object(path)  # a store that cannot be asked may hold it all the same

    def _fma_id(self, path: bytes) -> str:
        """Return FMA's number of a file, unless another file that is there has it already."""
        number = fma_id(self.fma, path)
        holder = self.holders.get(number, path)
        return number if holder == path or self._is_there(holder) is False else ""

    def mark_gone(self) -> None:
        """Mark tracks whose file is gone, and those that came back; forget gone skipped files."""
        stamps = self.catalogue.stamps()
        refused = set(self.catalogue.skipped_stamps())
        here = {path: self._is_there(path) for path in stamps}
        gone = [entry[0] for path, entry in stamps.items() if here[path] is False]
        back = [entry[0] for path, entry in stamps.items() if here[path] and path not in refused]
        self.catalogue.mark_missing(sorted(gone))
        self.catalogue.mark_present(sorted(back))
        vanished = (p for p in refused if self._is_there(p, os.path.lexists) is False)
        self.catalogue.forget_skipped(sorted(vanished))

    def _is_there(
        self, path: bytes, exists: Callable[[bytes], bool] = os.path.exists
    ) -> bool | None:
        """Say whether there is a file; None of an object that lies below no URL of this run."""
        if not is_object(path):
            return exists(path)
        return path in self.listed if self.walk.has_listed(path) else None


_OF_THE_FILE = ("identifiers", "record_label", "c2pa")
"""What is known of a track from its file alone, also where FMA gives its tags."""

HEAD_BYTES = 1 << 16
"""Of files of one size, read before the whole: most differ there."""


def hash_alike(files: Sequence[FoundFile]) -> dict[FoundFile, str]:
    """Return the SHA-256 of the files that may hold the same bytes as another one.

    Only files of one size whose beginnings are equal are read.  Objects are left out, since reading
    them is fetching them, and so is what cannot be read.
    """
    of_size: dict[int, list[FoundFile]] = {}
    for found in files:
        if not is_object(found.path):
            of_size.setdefault(found.size, []).append(found)
    hashes: dict[FoundFile, str] = {}
    for group in of_size.values():
        of_head: dict[str, list[FoundFile]] = {}
        for found in group if len(group) > 1 else ():
            with contextlib.suppress(AudioError, OSError):
                of_head.setdefault(hash_file(found.path, n_bytes=HEAD_BYTES), []).append(found)
        for found in (found for alike in of_head.values() if len(alike) > 1 for found in alike):
            with contextlib.suppress(AudioError, OSError):
                hashes[found] = hash_file(found.path)
    return hashes


def find_copies(hashes: Mapping[FoundFile, str]) -> dict[FoundFile, str]:
    """Return the files, with their hashes, that hold the same bytes as one before them."""
    seen: set[str] = set()
    copies: dict[FoundFile, str] = {}
    for found, sha256 in hashes.items():
        if sha256 in seen:
            copies[found] = sha256
        seen.add(sha256)
    return copies


def fma_id(fma: FmaMetadata | None, path: bytes) -> str:
    """Return FMA's own number of a file as six digits, or an empty string."""
    row = fma_row(fma, path)
    return f"{row.id:06d}" if row is not None else ""


def fma_row(fma: FmaMetadata | None, path: bytes) -> FmaTrack | None:
    """Return what FMA says of a file named as FMA names it, None for any other file."""
    number = track_id_from_path(path) if fma is not None else None
    return fma.track(number) if fma is not None and number is not None else None


def skip(path: bytes, error: AudioError | OSError, sha256: str = "") -> Skipped:
    """Return a file that takes no part, with a reason that does not name it again."""
    shown = show_path(path)
    if isinstance(error, FileNotFoundError):
        return Skipped.of(shown, "disappeared during the scan", "not-found", sha256)
    if isinstance(error, OSError):
        return cannot_be_read(path, error, sha256)
    text = str(error)
    for prefix in (shown, shown.rsplit("/", 1)[-1]):
        text = text.removeprefix(f"{prefix}: ")
    return Skipped.of(shown, text, error.code, sha256)


def describe(
    found: FoundFile, prepared: Prepared, *, fma: FmaMetadata | None, track_id: str
) -> Track:
    """Return the record of an embedded file, with tags from FMA or from the file."""
    embedded, info = prepared.embedded, prepared.embedded.info
    track = Track(
        id=track_id,
        path=show_path(found.path),
        sha256=prepared.sha256,
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
        parts_s=info.parts_s,
        downmix=info.downmix,
    )
    track = dataclasses.replace(track, **dataclasses.asdict(prepared.tags))
    row = fma_row(fma, found.path)
    return track if row is None else _with_fma(track, row)


def _with_fma(track: Track, row: FmaTrack) -> Track:
    """Return a track with the tags that FMA gives it; ``_OF_THE_FILE`` stay the file's."""
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
