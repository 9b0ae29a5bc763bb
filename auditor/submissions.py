"""Files under audit: embedded for a check, and left out of the catalogue."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.embed import embed_file
from auditor.errors import AudioError, UsageError, show_path
from auditor.ingest import IngestEvent, OnEvent, describe, failure_reason, hash_file
from auditor.records import Skipped, Track
from auditor.walk import find_audio
from auditor.workspace import Workspace


@dataclass(frozen=True)
class Submission:
    """A file under audit: its absolute path, its record, and its (n_dims,) embedding."""

    path: bytes
    track: Track
    embedding: np.ndarray


@dataclass(frozen=True)
class Submitted:
    """The submissions in order of their paths, and the files that could not be examined."""

    items: list[Submission]
    skipped: tuple[Skipped, ...]


def embed_submissions(
    workspace: Workspace,
    paths: Sequence[str | bytes | os.PathLike[str]],
    *,
    on_event: OnEvent | None = None,
) -> Submitted:
    """Embed files, and the audio files below folders, without storing anything.

    Parameters
    ----------
    workspace : Workspace
        Gives the extractor.
    paths : sequence of paths
    on_event : callable, optional
        Called after each file.

    Returns
    -------
    Submitted
        Ids are ``new-`` and 8 hex digits of the content.

    Raises
    ------
    UsageError
        If there is no audio file, or a path does not exist.
    """
    walk = find_audio(paths)
    if not walk.files and not walk.unreadable:
        shown = ", ".join(show_path(path) for path in paths)
        raise UsageError(f"{shown}: no audio file was found. Give a file or a folder of music.")
    items: list[Submission] = []
    skipped = list(walk.unreadable)
    taken: set[str] = set()
    audio_s = 0.0
    for n_done, found in enumerate(walk.files, start=1):
        reason = ""
        try:
            sha256 = hash_file(found.path)
            embedded = embed_file(found.path, [workspace.extractor])
        except (AudioError, OSError) as error:
            reason = failure_reason(found.path, error)
            skipped.append(Skipped(show_path(found.path), reason))
        else:
            track_id = _submission_id(sha256, taken)
            track = describe(found, sha256, embedded, fma=None, track_id=track_id)
            embedding = embedded.embeddings[workspace.weights_id].embedding
            items.append(Submission(found.path, track, embedding))
            audio_s += embedded.duration_s
        if on_event:
            outcome = "skipped" if reason else "embedded"
            shown = show_path(found.path)
            on_event(IngestEvent(shown, outcome, reason, n_done, len(walk.files), audio_s))
    skipped.sort(key=lambda s: s.path)
    return Submitted(items, tuple(skipped))


def _submission_id(sha256: str, taken: set[str]) -> str:
    """Return ``new-`` and 8 hex digits of the content, numbered for further files of it."""
    base = f"new-{sha256[:8]}"
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}-{n}"
    taken.add(name)
    return name


def own_id(workspace: Workspace, submission: Submission) -> str:
    """Return the id of the submitted file itself, whatever links its path leads through, or ""."""
    known = workspace.catalogue.stamp(submission.path)
    if known is not None:
        return known[0]
    real = os.path.realpath(submission.path)
    same = workspace.catalogue.ids_by_sha256(submission.track.sha256)
    return next((name for name, path in same if path and os.path.realpath(path) == real), "")
