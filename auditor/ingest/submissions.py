"""Files under audit: embedded for a check, and left out of the catalogue.

A file that is itself in the catalogue and unchanged is not decoded: what is stored of it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auditor.audio.files import FoundFile, Walk, find_audio, look_at, real_path
from auditor.audio.object_store import fetched
from auditor.catalogue.catalogue import FileStamp
from auditor.catalogue.track_spectrum import read_track_spectrum
from auditor.embedding.config import Retuning
from auditor.embedding.hearing import Hearing, hear_file
from auditor.errors import AudioError, DamagedTrackError, UsageError, show_path
from auditor.ingest.prepare import Embedder, Prepared, SerialEmbedder
from auditor.ingest.session import IngestEvent, OnEvent, describe, skip
from auditor.records import Skipped, Track
from auditor.workspace import Workspace


@dataclass(frozen=True)
class Submission:
    """A file under audit.

    Attributes
    ----------
    path : bytes
        Absolute, or a URL.
    track : Track
    embedding : numpy.ndarray
        (n_dims,) float32.
    dvectors, levels : numpy.ndarray
        (n_windows, n_dims) and (n_windows,), as ``TrackEmbedding`` has them.
    spectrum : numpy.ndarray or None
        (n_frames, n_bands) uint8, see ``auditor.embedding.spectrogram``.
    own_id : str
        The track of the catalogue that it is itself, which a check leaves out; empty for none.
    prepared : Prepared or None
        What adding it to the catalogue takes; None if it is there already.
    hearings : tuple of Hearing
        The same at other pitches and tempos, where a wide search was asked for.
    """

    path: bytes
    track: Track
    embedding: np.ndarray
    dvectors: np.ndarray
    levels: np.ndarray
    spectrum: np.ndarray | None
    own_id: str = ""
    prepared: Prepared | None = None
    hearings: tuple[Hearing, ...] = ()


@dataclass(frozen=True)
class Submitted:
    """The submissions in order of their paths, and the files that could not be examined."""

    items: list[Submission]
    skipped: tuple[Skipped, ...]


def find_submissions(paths: Sequence[str | bytes | os.PathLike[str]]) -> Walk:
    """Return the audio files that paths name, and those below folders.

    Raises
    ------
    UsageError
        If there is none, or a path does not exist.
    """
    walk = find_audio(paths)
    if walk.is_without_audio():
        shown = ", ".join(show_path(path) for path in paths)
        raise UsageError(
            f"{shown}: no audio file was found.{walk.tell_not_read()} Give a file or a folder "
            "of music."
        )
    return walk


def embed_submissions(
    workspace: Workspace,
    paths: Sequence[str | bytes | os.PathLike[str]],
    *,
    stored: Mapping[str, np.ndarray] | None = None,
    embedder: Embedder | None = None,
    on_event: OnEvent | None = None,
    retunings: Callable[[float], Sequence[Retuning]] | None = None,
) -> Submitted:
    """Embed files, and the audio files below folders, without storing anything.

    Parameters
    ----------
    workspace : Workspace
        Gives the extractor.
    paths : sequence of paths
    stored : mapping of id to (n_dims,) float32, optional
        Embeddings of the catalogue, used for its own files while they are unchanged.
    embedder : Embedder, optional
        Embeds the files; by default one after the other in this process.
    on_event : callable, optional
        Called after each file.
    retunings : callable, optional
        Seconds of sound to the other ways in which a submission is heard; the extractor's frames
        are then of the ``log`` layout.

    Returns
    -------
    Submitted
        Ids are ``new-`` and 8 hex digits of the content.  A silent file is skipped: nothing of it
        can be compared.

    Raises
    ------
    UsageError
        If there is no audio file, or a path does not exist.
    """
    walk = find_submissions(paths)
    items: list[Submission] = []
    skipped = list(walk.unreadable)
    taken: set[str] = set()
    audio_s = 0.0
    own = {f: unchanged_id(workspace, f.path) if stored else "" for f in walk.files}
    known: dict[FoundFile, Submission] = {}
    for found in walk.files:
        if stored and own[found] in stored:
            with contextlib.suppress(DamagedTrackError):  # the file has what the row had
                known[found] = _stored(workspace, found, own[found], stored)
    new = [found for found in walk.files if found not in known]
    embedder = embedder or SerialEmbedder([workspace.extractor])
    with contextlib.closing(embedder.embed(new)) as made:
        for n_done, found in enumerate(walk.files, start=1):
            outcome, reason = "unchanged", ""
            if found in known:
                submission = known[found]
            elif (one := next(made)).prepared is not None:
                submission = _submission(workspace, found, one.prepared)
                outcome = "embedded"
                audio_s += submission.track.duration_s
            else:
                assert one.error is not None  # a file that was decoded has either
                skipped.append(skip(found.path, one.error, one.sha256))
                outcome, reason = "skipped", skipped[-1].reason
            if outcome != "skipped" and retunings is not None and not submission.track.silent:
                try:
                    submission = _heard(workspace, found, submission, retunings)
                except (AudioError, OSError) as error:
                    skipped.append(skip(found.path, error, submission.track.sha256))
                    outcome, reason = "skipped", skipped[-1].reason
            if outcome != "skipped" and submission.track.silent:
                silent = "is silent: no window is loud enough to be compared"
                sha256 = submission.track.sha256
                skipped.append(Skipped.of(show_path(found.path), silent, "silent", sha256))
                outcome, reason = "skipped", silent
            if outcome != "skipped":
                track_id = _submission_id(submission.track.sha256, taken)
                track = dataclasses.replace(
                    submission.track, id=track_id, path=show_path(found.path)
                )
                items.append(dataclasses.replace(submission, track=track))
            if on_event:
                shown = show_path(found.path)
                on_event(IngestEvent(shown, outcome, reason, n_done, len(walk.files), audio_s))
    skipped.sort(key=lambda s: s.path)
    return Submitted(items, tuple(skipped))


def _stored(
    workspace: Workspace, found: FoundFile, track_id: str, stored: Mapping[str, np.ndarray]
) -> Submission:
    """Return a submission that the catalogue holds, still with its id."""
    track = workspace.catalogue.track(track_id)
    windows = workspace.catalogue.dvectors(track_id, workspace.weights_id)
    stamp = FileStamp.of(look_at(found.path))
    spectrum = read_track_spectrum(workspace.catalogue, track.sha256, (found.path, stamp))
    return Submission(found.path, track, stored[track_id], *windows, spectrum)


def _submission(workspace: Workspace, found: FoundFile, prepared: Prepared) -> Submission:
    """Return a submission without an id."""
    track = describe(found, prepared, fma=None, track_id="")
    made = prepared.embedded.embeddings[workspace.weights_id]
    return Submission(
        found.path,
        track,
        made.embedding,
        made.dvectors,
        made.levels,
        prepared.embedded.spectrum,
        prepared=prepared,
    )


def _heard(
    workspace: Workspace,
    found: FoundFile,
    submission: Submission,
    retunings: Callable[[float], Sequence[Retuning]],
) -> Submission:
    """Return a submission with what is heard of it otherwise; its file is decoded once more."""
    wanted = retunings(submission.track.duration_s)
    with fetched(found.path, size=found.size) as path:
        heard = hear_file(path, workspace.extractor, wanted)
    return dataclasses.replace(submission, hearings=heard)


def _submission_id(sha256: str, taken: set[str]) -> str:
    """Return ``new-`` and 8 hex digits of the content, numbered for further files of it."""
    base = f"new-{sha256[:8]}"
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}-{n}"
    taken.add(name)
    return name


def unchanged_id(workspace: Workspace, path: bytes) -> str:
    """Return the id of the track of a file, if it is as it was when it was scanned, else ""."""
    for name in dict.fromkeys((path, real_path(path))):
        known = workspace.catalogue.stamp(name)
        try:
            if known and known[1] == FileStamp.of(look_at(name)):
                return known[0]
        except OSError:
            continue
    return ""


def own_id(workspace: Workspace, path: bytes, sha256: str) -> str:
    """Return the id of a file itself, whatever links its path leads through, or ""."""
    real = real_path(path)
    for name in (path, real):
        if known := workspace.catalogue.stamp(name):
            return known[0]
    same = workspace.catalogue.ids_by_sha256(sha256)
    return next((name for name, at in same if at and real_path(at) == real), "")
