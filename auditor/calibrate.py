"""Measure how often unrelated tracks reach a score, and write it down as a threshold file.

Non-matching pairs are the cross pairs of a folder's unaltered tracks; tracks of the same bytes or
listed as sharing material are set aside.  FAR is counted, with a bootstrap over tracks for its
interval, because pairs that share a track are not independent, and at least as wide as the Wilson
interval.  Where counts end an extreme-value tail goes on (``auditor.tail``), fitted to the same
pairs.  Altered copies of some tracks say what a threshold finds.
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
from auditor.tail import Tail, fit_tail
from auditor.thresholds import AlterationRecall, OperatingPoint, Thresholds
from auditor.training_set import group_tracks
from auditor.workspace import Workspace, require_tracks

QUICK = ("mp3-32k", "aac-48k", "crop30", "eq", "noise10", "pitch+1", "tempo-5", "speed+3")
"""Alterations whose recall is measured unless all of them are asked for."""

FARS = (0.3, 0.1, *(m * 10.0**-e for e in range(2, 10) for m in (3.0, 1.0)))
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
        Tracks, evenly spread over the folder, of which altered copies are made; 0 makes none.
    alterations : tuple of str
        Names of ``ALTERATIONS``.
    copy_s : float
        A copy is made of at most this much of a track's beginning, in seconds.
    data : str
        Name of the music, for the file.
    seed : int
        Of alterations and bootstrap.
    """

    target_far: float = 1e-4
    n_copies: int = 40
    alterations: tuple[str, ...] = QUICK
    copy_s: float = 120.0
    data: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.alterations) - set(ALTERATIONS)):
            raise ValueError(
                f"alterations hold {unknown[0]!r:.60}; names of ALTERATIONS are needed"
            )


@dataclass(frozen=True)
class Calibration:
    """A threshold file and the scores behind it.

    Attributes
    ----------
    thresholds : Thresholds
    nonmatching : numpy.ndarray
        (n_nonmatching_pairs,) float64 scores of the pairs of unrelated tracks.
    matching : dict of str to numpy.ndarray
        By alteration, (n_copies,) float64 scores of its copies with their originals.
    """

    thresholds: Thresholds
    nonmatching: np.ndarray
    matching: dict[str, np.ndarray]


def calibrate(
    workspace: Workspace,
    roots: Sequence[str | bytes | os.PathLike[str]] = (),
    *,
    same_pairs: Sequence[tuple[str, str]] = (),
    options: CalibrateOptions | None = None,
    on_event: OnEvent | None = None,
    on_copy: Callable[[int, int], None] | None = None,
    command: str = "",
) -> Calibration:
    """Embed some music and count the scores of its non-matching pairs.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing; the music is taken into its catalogue.
    roots : sequence of paths
        Folders of distinct recordings, at least 20; none takes the whole catalogue as it is.
    same_pairs : sequence of pairs of paths
        Tracks known to share material, see ``training_set.read_same_list``.
    options : CalibrateOptions, optional
    on_event, on_copy : callables, optional
        Progress of embedding and of making copies (done, all).
    command : str
        Kept in the file.

    Returns
    -------
    Calibration
        Without a tail if the pairs are too few for one (``tail.MIN_EXCEEDANCES``).

    Raises
    ------
    UsageError
        If there are fewer than 20 groups of audible tracks.
    """
    options = options or CalibrateOptions()
    ingest(workspace, roots, on_event=on_event)
    names, hashes, embeddings = _below(workspace, roots)
    if not roots:
        require_tracks(workspace, len(names))
    groups = np.asarray(group_tracks(names, hashes, same_pairs))
    if len(np.unique(groups)) < 20:
        raise UsageError(
            f"{len(np.unique(groups))} distinct tracks to calibrate on; at least 20 are needed. "
            "Give a larger folder."
        )
    # float64, so that a threshold just above a score is not rounded down onto it.
    scores = (embeddings @ embeddings.T).astype(np.float64)  # (n_tracks, n_tracks)
    each_once = np.triu(np.ones(scores.shape, dtype=bool), 1)
    nonmatching = each_once & (groups[:, None] != groups[None, :])
    counted = scores[nonmatching]
    tail = fit_tail(scores, nonmatching, seed=options.seed)
    if tail is not None and options.target_far < tail.share:
        threshold = tail.threshold_at(options.target_far)
    else:
        threshold = threshold_at_far(counted, options.target_far)
    threshold = min(1.0, float(np.ceil(threshold * 1e6) / 1e6))
    copies, origin, kinds = _copy_embeddings(workspace, names, groups, options, on_copy)
    own = np.einsum("ij,ij->i", copies, embeddings[origin]).astype(np.float64)
    matching = {kind: own[kinds == kind] for kind in options.alterations if options.n_copies}
    thresholds = Thresholds(
        weights_id=workspace.weights_id,
        extractor=workspace.extractor.name,
        threshold=threshold,
        target_far=options.target_far,
        operating_points=operating_points(scores, nonmatching, tail=tail, seed=options.seed),
        recalls=tuple(_recall(kind, own >= threshold) for kind, own in matching.items()),
        n_tracks=len(names),
        n_nonmatching_pairs=counted.size,
        n_set_aside_pairs=int((each_once & ~nonmatching).sum()),
        data=options.data
        or ", ".join(os.path.basename(os.fsdecode(root)) for root in roots)
        or "the catalogue",
        data_sha256=hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        version=auditor.__version__,
        command=command,
        tail=tail,
    )
    return Calibration(thresholds, counted, matching)


def operating_points(
    scores: np.ndarray, nonmatching: np.ndarray, *, tail: Tail | None = None, seed: int = 0
) -> tuple[OperatingPoint, ...]:
    """Count FAR at falling rates, with intervals by a bootstrap over tracks.

    Parameters
    ----------
    scores : numpy.ndarray
        (n_tracks, n_tracks) scores.
    nonmatching : numpy.ndarray
        (n_tracks, n_tracks) bool, the pairs that count, each once.
    tail : Tail, optional
        Where it begins one more point is set, with the tail's own interval.
    seed : int

    Returns
    -------
    tuple of OperatingPoint
        By rising threshold; the last lies just above the highest non-matching score.
    """
    n_tracks = len(scores)
    counted = scores[nonmatching]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_tracks, np.full(n_tracks, 1.0 / n_tracks), size=N_BOOTSTRAP)
    weights = weights.astype(np.float64)
    totals = _weigh(weights, nonmatching)
    found: dict[float, OperatingPoint] = {}
    for rate in [far for far in FARS if far * counted.size >= 1.0] + [0.0]:
        threshold = threshold_at_far(counted, rate)
        n_above = int((counted >= threshold).sum())
        hits = _weigh(weights, nonmatching & (scores >= threshold))
        far = n_above / counted.size
        low, high = np.percentile(hits / np.maximum(totals, 1.0), [2.5, 97.5])
        wilson = wilson_interval(n_above, counted.size)
        found[far] = OperatingPoint(
            threshold=float(threshold),
            far=far,
            far_low=float(min(low, wilson[0], far)),
            far_high=float(max(high, wilson[1], far)),
        )
    if tail is not None:
        found[tail.share] = OperatingPoint(tail.threshold, *tail.far_at(tail.threshold))
    points: list[OperatingPoint] = []
    for point in sorted(found.values(), key=lambda point: point.threshold):
        if not points or (point.threshold > points[-1].threshold and point.far < points[-1].far):
            points.append(point)
    return tuple(points)


def _weigh(weights: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return for each bootstrap sample the pairs, each times its tracks' multiplicities."""
    return np.einsum("bi,ij,bj->b", weights, pairs.astype(np.float64), weights, optimize=True)


def _below(
    workspace: Workspace, roots: Sequence[str | bytes | os.PathLike[str]]
) -> tuple[list[str], list[str], np.ndarray]:
    """Return paths, hashes and embeddings of the catalogue's tracks below the roots, if any."""
    ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    # The catalogue holds paths below the real root.
    prefixes = [os.path.realpath(os.fsencode(root)) for root in roots]
    path_of = {entry[0]: path for path, entry in workspace.catalogue.stamps().items()}
    hash_of = {track.id: track.sha256 for track in workspace.catalogue.tracks()}
    rows = [
        row
        for row, track_id in enumerate(ids)
        if not roots
        or any(
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
    groups: np.ndarray,
    options: CalibrateOptions,
    on_copy: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings of altered copies, the row each was made of, and its alteration."""
    n = min(options.n_copies, len(names))
    chosen = np.unique(np.linspace(0, len(names) - 1, n).astype(np.int64))
    vectors, origin, kinds = [], [], []
    for n_done, row in enumerate(chosen, start=1):
        waveform = _beginning(names[row], options)
        others = [other for other in np.roll(chosen, -n_done) if groups[other] != groups[row]]
        needs_other = any(ALTERATIONS[kind].needs_other for kind in options.alterations)
        other = _beginning(names[others[0]], options) if needs_other and others else None
        for i, kind in enumerate(options.alterations if waveform is not None else ()):
            rng = np.random.default_rng([options.seed, int(row), i])
            try:
                altered = ALTERATIONS[kind](waveform, rng, other)
                embedding = embed_waveform(altered, [workspace.extractor])[workspace.weights_id]
            except (AudioError, ValueError):
                continue  # too short for this alteration: one copy fewer, and the counts say so
            if embedding.embedding.any():
                vectors.append(embedding.embedding)
                origin.append(row)
                kinds.append(kind)
        if on_copy:
            on_copy(n_done, len(chosen))
    if not vectors and n:
        raise UsageError(f"no copy could be made of {show_path(names[0])} and the others.")
    n_dims = workspace.extractor.config.n_dims
    return (
        np.stack(vectors) if vectors else np.zeros((0, n_dims), np.float32),
        np.asarray(origin, dtype=np.int64),
        np.asarray(kinds, dtype=str),
    )


def _beginning(name: str, options: CalibrateOptions) -> np.ndarray | None:
    try:
        return load_waveform(name, duration_s=options.copy_s)
    except AudioError:
        return None


def _recall(kind: str, found: np.ndarray) -> AlterationRecall:
    n, n_found = len(found), int(found.sum())
    low, high = wilson_interval(n_found, n) if n else (0.0, 1.0)
    return AlterationRecall(ALTERATIONS[kind].label, n, n_found, round(low, 4), round(high, 4))
