"""Measure how often unrelated tracks reach a score, and write it down as a threshold file.

Non-matching pairs are the cross pairs of a folder's tracks, and altered copies of some of them
against all the others; tracks of the same bytes or listed as sharing material are set aside.  FAR
is counted, never extrapolated.  Its interval is a bootstrap over tracks, because pairs that share a
track are not independent, and at least as wide as the Wilson interval of the unaltered pairs.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import auditor
from auditor.audio import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.embed import embed_waveform
from auditor.errors import AudioError, UsageError, show_path
from auditor.ingest import OnEvent, ingest
from auditor.metrics import threshold_at_far, wilson_interval
from auditor.thresholds import AlterationRecall, OperatingPoint, Thresholds
from auditor.training_set import group_tracks
from auditor.workspace import Workspace

COPIES = ("mp3-32k", "aac-48k", "crop30", "eq", "noise10", "pitch+1", "tempo-5", "speed+3")
"""Alterations whose recall a threshold file states."""

FARS = (0.3, 0.1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
"""Rates at which operating points are set, as far down as the pairs allow."""

N_BOOTSTRAP = 500


@dataclass(frozen=True)
class CalibrateOptions:
    """What is counted.

    Attributes
    ----------
    target_far : float
        The default threshold is the lowest with at most this FAR.
    n_copies : int
        Tracks, evenly spread over the folder, of which altered copies are made.
    copy_s : float
        A copy is made of at most this much of a track's beginning, in seconds.
    data : str
        Name of the music, for the file.
    seed : int
        Of alterations and bootstrap.
    """

    target_far: float = 1e-4
    n_copies: int = 40
    copy_s: float = 120.0
    data: str = ""
    seed: int = 0


def calibrate(
    workspace: Workspace,
    roots: Sequence[str | bytes | os.PathLike[str]],
    *,
    same_pairs: Sequence[tuple[str, str]] = (),
    options: CalibrateOptions | None = None,
    on_event: OnEvent | None = None,
    on_copy: Callable[[int, int], None] | None = None,
    command: str = "",
) -> Thresholds:
    """Embed some music and count the scores of its non-matching pairs.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing; the music is taken into its catalogue.
    roots : sequence of paths
        Folders of distinct recordings, at least 20.
    same_pairs : sequence of pairs of paths
        Tracks known to share material, see ``training_set.read_same_list``.
    options : CalibrateOptions, optional
    on_event, on_copy : callables, optional
        Progress of embedding and of making copies (done, all).
    command : str
        Kept in the file.

    Returns
    -------
    Thresholds

    Raises
    ------
    UsageError
        If there are fewer than 20 groups of audible tracks.
    """
    options = options or CalibrateOptions()
    ingest(workspace, roots, on_event=on_event)
    names, hashes, embeddings = _below(workspace, roots)
    groups = np.asarray(group_tracks(names, hashes, same_pairs))
    if len(np.unique(groups)) < 20:
        raise UsageError(
            f"{len(np.unique(groups))} distinct tracks to calibrate on; at least 20 are needed. "
            "Give a larger folder."
        )
    copies, origin, kinds = _copy_embeddings(workspace, names, options, on_copy)
    queries = np.concatenate([embeddings, copies])
    row_of = np.concatenate([np.arange(len(names)), origin])
    # float64, so that a threshold just above a score is not rounded down onto it.
    scores = (queries @ embeddings.T).astype(np.float64)  # (n_queries, n_tracks)
    unrelated = groups[row_of][:, None] != groups[None, :]
    unrelated[: len(names)] &= np.triu(np.ones((len(names), len(names)), dtype=bool), 1)
    n_set_aside = int(np.triu(groups[:, None] == groups[None, :], 1).sum())
    points = operating_points(
        scores,
        unrelated,
        row_of,
        n_independent=int(unrelated[: len(names)].sum()),
        seed=options.seed,
    )
    threshold = threshold_at_far(scores[unrelated], options.target_far)
    own = scores[len(names) + np.arange(len(origin)), origin]
    return Thresholds(
        weights_id=workspace.weights_id,
        extractor=workspace.extractor.name,
        threshold=min(1.0, float(np.ceil(threshold * 1e6) / 1e6)),
        target_far=options.target_far,
        operating_points=points,
        recalls=tuple(_recall(kind, own[kinds == kind] >= threshold) for kind in COPIES),
        n_tracks=len(names),
        n_nonmatching_pairs=int(unrelated.sum()),
        n_set_aside_pairs=n_set_aside,
        data=options.data or ", ".join(os.path.basename(os.fsdecode(r)) for r in roots),
        data_sha256=hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        version=auditor.__version__,
        command=command,
    )


def operating_points(
    scores: np.ndarray,
    unrelated: np.ndarray,
    row_of: np.ndarray,
    *,
    n_independent: int,
    seed: int = 0,
) -> tuple[OperatingPoint, ...]:
    """Count FAR at falling rates, with intervals by a bootstrap over tracks.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_queries, n_tracks) cosines.
    unrelated : numpy.ndarray
        (n_queries, n_tracks) bool, which of them are non-matching pairs.
    row_of : numpy.ndarray
        (n_queries,) the track that each query is, or is a copy of.
    n_independent : int
        Pairs of unaltered tracks; the interval is no narrower than theirs.
    seed : int

    Returns
    -------
    tuple of OperatingPoint
        By rising threshold; the last lies just above the highest non-matching score.
    """
    n_tracks = scores.shape[1]
    counted = scores[unrelated]
    n_pairs = np.zeros((n_tracks, n_tracks))
    np.add.at(n_pairs, row_of, unrelated)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_tracks, np.full(n_tracks, 1.0 / n_tracks), size=N_BOOTSTRAP)
    totals = np.einsum("bi,ij,bj->b", weights, n_pairs, weights, optimize=True)
    points: list[OperatingPoint] = []
    for rate in [far for far in FARS if far * counted.size >= 1.0] + [0.0]:
        threshold = threshold_at_far(counted, rate)
        above = np.zeros((n_tracks, n_tracks))
        np.add.at(above, row_of, unrelated & (scores >= threshold))
        hits = np.einsum("bi,ij,bj->b", weights, above, weights, optimize=True)
        far = float((counted >= threshold).mean())
        low, high = np.percentile(hits / np.maximum(totals, 1.0), [2.5, 97.5])
        wilson = wilson_interval(round(far * n_independent), n_independent)
        point = OperatingPoint(
            threshold=float(threshold),
            far=far,
            far_low=float(min(low, wilson[0], far)),
            far_high=float(max(high, wilson[1], far)),
        )
        if not points or (point.threshold > points[-1].threshold and far < points[-1].far):
            points.append(point)
    return tuple(points)


def _below(
    workspace: Workspace, roots: Sequence[str | bytes | os.PathLike[str]]
) -> tuple[list[str], list[str], np.ndarray]:
    """Return paths, hashes and embeddings of the catalogue's tracks below the roots."""
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    # The catalogue holds paths below the real root.
    prefixes = [os.path.realpath(os.fsencode(root)) for root in roots]
    path_of = {entry[0]: path for path, entry in workspace.catalogue.stamps().items()}
    hash_of = {track.id: track.sha256 for track in workspace.catalogue.tracks()}
    rows = [
        row
        for row, track_id in enumerate(ids)
        if any(
            path_of[track_id] == prefix or path_of[track_id].startswith(prefix.rstrip(b"/") + b"/")
            for prefix in prefixes
        )
    ]
    rows.sort(key=lambda row: path_of[ids[row]])
    names = [os.fsdecode(path_of[ids[row]]) for row in rows]
    return names, [hash_of[ids[row]] for row in rows], embeddings[rows]


def _copy_embeddings(
    workspace: Workspace,
    names: Sequence[str],
    options: CalibrateOptions,
    on_copy: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings of altered copies, the row each was made of, and its alteration."""
    n = min(options.n_copies, len(names))
    chosen = np.unique(np.linspace(0, len(names) - 1, n).astype(np.int64))
    vectors, origin, kinds = [], [], []
    for n_done, row in enumerate(chosen, start=1):
        try:
            waveform = load_waveform(names[row], duration_s=options.copy_s)
        except AudioError:
            continue
        for i, kind in enumerate(COPIES):
            rng = np.random.default_rng([options.seed, int(row), i])
            try:
                altered = ALTERATIONS[kind](waveform, rng)
                embedding = embed_waveform(altered, [workspace.extractor])[workspace.weights_id]
            except (AudioError, ValueError):
                continue  # too short for this alteration: one copy fewer, and the counts say so
            if embedding.embedding.any():
                vectors.append(embedding.embedding)
                origin.append(row)
                kinds.append(kind)
        if on_copy:
            on_copy(n_done, len(chosen))
    if not vectors:
        raise UsageError(f"no copy could be made of {show_path(names[0])} and the others.")
    return np.stack(vectors), np.asarray(origin), np.asarray(kinds)


def _recall(kind: str, found: np.ndarray) -> AlterationRecall:
    n, n_found = len(found), int(found.sum())
    low, high = wilson_interval(n_found, n) if n else (0.0, 1.0)
    return AlterationRecall(ALTERATIONS[kind].label, n, n_found, round(low, 4), round(high, 4))
