"""Measure how often unrelated tracks reach a score, and write it down as a threshold file.

Which score that is, the extractor says (``auditor.scoring.base``).  Non-matching pairs are
the cross pairs of a folder's unaltered tracks.  Set aside are tracks of the same bytes, those
listed as sharing material, and pairs whose matched stretches have the same spectrum moment by
moment (``CONFIRMED``): copies that nobody listed would make unrelated tracks look alike.

FAR is counted, with a bootstrap for its interval (``auditor.calibration.bootstrap``), at least as
wide as the Wilson interval.  Where counts end an extreme-value tail goes on
(``auditor.calibration.tail``), fitted to the same pairs.  Pairs of one source are counted apart
from the others where there are enough of either. Altered copies of some tracks say what a threshold
finds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

import auditor
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.isolated import load_waveform
from auditor.augment.alterations import ALTERATIONS
from auditor.calibration.metrics import threshold_at_far, wilson_interval
from auditor.calibration.rates import count_rates
from auditor.calibration.thresholds import AlterationRecall, Thresholds
from auditor.catalogue.sources import track_sources
from auditor.decisions.apply import labelled_pairs, standing
from auditor.embedding.embed import embed_waveform
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError, ThresholdError, UsageError, show_path
from auditor.ingest.prepare import Embedder
from auditor.ingest.session import OnEvent, ingest
from auditor.parallel import Tiles
from auditor.records import DecisionKind, Evidence
from auditor.scoring import SCORERS
from auditor.scoring.base import Scorer, open_scorer
from auditor.scoring.identifiers import of_scheme
from auditor.workspace import Workspace, require_tracks

QUICK = ("mp3-32k", "aac-48k", "crop30", "eq", "noise10", "pitch+1", "tempo-5", "speed+3")
"""Alterations whose recall is measured unless all of them are asked for."""

CERTAIN_SHARE, ONE_IN = 0.2, 8
"""Of many pairs, this share is counted for certain, those with the nearest embeddings, which hold
nearly all high scores; and of the others one in so many, each of which stands for so many."""

N_TIMED = 6
"""Tracks whose pairs tell how long all of them will take."""

MAX_ALL_PAIRS = 4000
"""Up to so many pairs all are counted, unless told otherwise."""

DECIDED_KIND = "pairs decided to be copies"
"""Stands for an alteration in the recalls of ``from_decisions``."""

IDENTIFIED_KIND = "pairs with one ISRC or MusicBrainz recording"
"""Stands for an alteration in the recalls of ``from_identifiers``."""

MIN_PAIRS = 300
"""Pairs of one source, and of two, from which on they are counted apart: either has a tail then."""

CONFIRMED, CONFIRMED_S = 0.7, 8.0
"""Correlation of the spectra of a matched range, and its length in seconds, from which two tracks
are taken to share material: no unrelated pair came near, and lossy copies do."""


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
    from_decisions : bool
        Count by what people decided: pairs they called the same recording are set aside and counted
        as copies, pairs they called false alarms are unrelated whatever their spectra say.
    from_identifiers : bool
        Take files of different bytes for copies where their tags have an ISRC or a MusicBrainz
        recording in common: such pairs are set aside and counted as copies, unless they were
        decided to be false alarms or covers.  A wrong tag makes the share found look too low.
    all_pairs : bool
        Count all pairs, however many; else, of more than ``MAX_ALL_PAIRS``, the candidates and a
        sample of the others, weighted so that the rates are unbiased.
    score : str
        One of ``scoring.SCORERS``; empty for the one that decides.
    """

    target_far: float = 1e-4
    n_copies: int = 40
    alterations: tuple[str, ...] = QUICK
    copy_s: float = 120.0
    data: str = ""
    seed: int = 0
    from_decisions: bool = False
    from_identifiers: bool = False
    all_pairs: bool = False
    score: str = ""

    def __post_init__(self) -> None:
        if self.score not in ("", *SCORERS):
            raise ValueError(f"score is {self.score!r:.60}; one of {tuple(SCORERS)} is needed")
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
        (n_nonmatching_pairs,) float64 scores of the pairs of unrelated tracks of two sources; of
        all unrelated tracks where ``one_source`` is empty.  Of a sample each is there as often as
        it stands for pairs, to the nearest number.
    matching : dict of str to numpy.ndarray
        By alteration, (n_copies,) float64 scores of its copies with their originals.
    confirmed : tuple of (str, str, float)
        Paths of the pairs that were set aside by their spectra, and the correlation.
    one_source : numpy.ndarray
        (n_pairs,) float64 scores of the pairs of unrelated tracks of one source.
    """

    thresholds: Thresholds
    nonmatching: np.ndarray
    matching: dict[str, np.ndarray]
    confirmed: tuple[tuple[str, str, float], ...] = ()
    one_source: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Effort:
    """What a calibration has to do, timed on a few tracks.

    Attributes
    ----------
    n_pairs, n_copies : int
        To compare, and to make.
    pair_s, copy_s : float
        Seconds of one of either, in one process.
    """

    n_pairs: int
    n_copies: int
    pair_s: float
    copy_s: float

    def seconds(self, jobs: int) -> float:
        """Return how long it will take with so many processes for pairs, and one for copies."""
        return self.n_pairs * self.pair_s / jobs + self.n_copies * self.copy_s


def calibrate(
    workspace: Workspace,
    roots: Sequence[str | bytes | os.PathLike[str]] = (),
    *,
    same_pairs: Sequence[tuple[str, str]] = (),
    options: CalibrateOptions | None = None,
    embedder: Embedder | None = None,
    tiles: Tiles | None = None,
    on_event: OnEvent | None = None,
    on_effort: Callable[[Effort], None] | None = None,
    on_pair: Callable[[int, int], None] | None = None,
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
    embedder : Embedder, optional
        Embeds what is new; by default one file after the other in this process.
    tiles : Tiles, optional
        Where pairs are compared; by default here.  What is counted does not depend on it.
    on_event, on_pair, on_copy : callables, optional
        Progress of embedding, of comparing pairs and of making copies (done, all).
    on_effort : callable, optional
        Called before pairs are compared.
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
    from auditor.training.dataset import group_tracks

    options = options or CalibrateOptions()
    ingest(workspace, roots, embedder=embedder, on_event=on_event)
    ids, names, hashes, sources = _below(workspace, roots)
    if not roots:
        require_tracks(workspace, len(names))
    scorer = open_scorer(workspace, options.score)
    decided, rejected = _decided(workspace, names, hashes) if options.from_decisions else ([], [])
    identified = _identified(workspace, ids, names) if options.from_identifiers else []
    most = scorer.max_calibrated
    if most is not None and len(ids) > most:
        spread = np.linspace(0, len(ids) - 1, most).astype(np.int64).tolist()
        named = {name for pair in [*decided, *rejected, *identified] for name in pair}
        chosen = sorted({*spread, *(i for i, name in enumerate(names) if name in named)})
        ids, names, hashes, sources = (
            [part[i] for i in chosen] for part in (ids, names, hashes, sources)
        )
    same_pairs = [*same_pairs, *decided, *identified]
    groups = np.asarray(group_tracks(names, hashes, same_pairs))
    if len(np.unique(groups)) < 20:
        raise UsageError(
            f"{len(np.unique(groups))} distinct tracks to calibrate on; at least 20 are needed. "
            "Give a larger folder."
        )
    row_of = {name: row for row, name in enumerate(names)}
    told = [(row_of[a], row_of[b]) for a, b in [*decided, *rejected, *identified]]
    weights = None if most is None else _weights(workspace, ids, sources, told, options)
    if on_effort is not None:
        n_pairs = len(ids) * (len(ids) - 1) // 2 if weights is None else int((weights > 0).sum())
        on_effort(_effort(workspace, scorer, ids, names, n_pairs, options))
    scores, evidence = scorer.matrix(  # (n_tracks, n_tracks)
        ids, wanted=None if weights is None else weights > 0, tiles=tiles, on_pair=on_pair
    )
    confirmed = _confirmed_pairs(evidence, groups, ids, names, rejected)
    known = [*same_pairs, *((a, b) for a, b, _ in confirmed)]
    groups = np.asarray(group_tracks(names, hashes, known))
    each_once = np.triu(np.ones(scores.shape, dtype=bool), 1)
    unrelated = each_once & (groups[:, None] != groups[None, :])
    nonmatching = unrelated if weights is None else unrelated & (weights > 0)
    each = np.ones(scores.shape) if weights is None else weights
    names_of_sources = np.asarray(sources)
    close = nonmatching & (names_of_sources[:, None] == names_of_sources[None, :])
    n_close, n_all = int(close.sum()), int(nonmatching.sum())
    apart = min(n_close, n_all - n_close) >= MIN_PAIRS
    counted = nonmatching & ~close if apart else nonmatching
    how = {"weights": weights, "sources": sources, "seed": options.seed}
    rates = count_rates(scores, counted, **how)  # type: ignore[arg-type]
    one_source = count_rates(scores, close, **how) if apart else None  # type: ignore[arg-type]
    own, kinds = _copy_scores(workspace, scorer, ids, names, groups, options, on_copy)
    matching = {kind: own[kinds == kind] for kind in options.alterations if options.n_copies}
    for kind, known_pairs in ((DECIDED_KIND, decided), (IDENTIFIED_KIND, identified)):
        if known_pairs:
            matching[kind] = np.asarray([scores[row_of[a], row_of[b]] for a, b in known_pairs])
    made = Thresholds(
        weights_id=scorer.weights_id,
        extractor=workspace.extractor.name,
        threshold=1.0,
        target_far=options.target_far,
        operating_points=rates.operating_points,
        recalls=(),
        n_tracks=len(names),
        n_nonmatching_pairs=rates.n_nonmatching_pairs,
        n_set_aside_pairs=int((each_once & ~unrelated).sum()),
        data=options.data
        or ", ".join(os.path.basename(os.fsdecode(root)) for root in roots)
        or "the catalogue",
        data_sha256=hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest(),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        version=auditor.__version__,
        command=command,
        scorer=scorer.id,
        tail=rates.tail,
        one_source=one_source,
        n_stood_for=0 if weights is None else int(unrelated.sum()),
    )
    share = float(each[close].sum() / each[nonmatching].sum()) if apart else 0.0
    threshold = _default_threshold(made, _as_often(scores, nonmatching, each), share)
    thresholds = dataclasses.replace(
        made,
        threshold=threshold,
        recalls=tuple(_recall(kind, own, threshold) for kind, own in matching.items()),
    )
    return Calibration(
        thresholds,
        _as_often(scores, counted, each),
        matching,
        confirmed,
        _as_often(scores, close, each) if apart else np.zeros(0),
    )


def _effort(
    workspace: Workspace,
    scorer: Scorer,
    ids: Sequence[str],
    names: Sequence[str],
    n_pairs: int,
    options: CalibrateOptions,
) -> Effort:
    """Time the pairs of ``N_TIMED`` tracks, and one copy of each kind of one of them."""
    spread = np.linspace(0, len(ids) - 1, N_TIMED).astype(np.int64).tolist()
    started = time.monotonic()
    scorer.matrix([ids[row] for row in spread])
    pair_s = (time.monotonic() - started) / (N_TIMED * (N_TIMED - 1) // 2)
    n_copied = min(options.n_copies, len(names))
    if not n_copied or not options.alterations:
        return Effort(n_pairs, 0, pair_s, 0.0)
    started = time.monotonic()
    one = dataclasses.replace(options, n_copies=1)
    middle = len(ids) // 2
    with contextlib.suppress(UsageError):  # a track too short for copies
        _copy_scores(
            workspace, scorer, ids[middle:][:1], names[middle:][:1], np.zeros(1), one, None
        )
    copy_s = (time.monotonic() - started) / len(options.alterations)
    return Effort(n_pairs, n_copied * len(options.alterations), pair_s, copy_s)


def _weights(
    workspace: Workspace,
    ids: Sequence[str],
    sources: Sequence[str],
    named: Sequence[tuple[int, int]],
    options: CalibrateOptions,
) -> np.ndarray | None:
    """Return how many pairs each pair of rows stands for, (n, n) float64; None where all count.

    Pairs with the nearest embeddings count for themselves, as do those that somebody has named and
    those of one source, if they are no more than that; of the others every one is as likely to be
    drawn, so that the weighted shares are unbiased (Horvitz and Thompson 1952).  The similarity of
    embeddings says only how pairs are drawn.
    """
    n = len(ids)
    rows_a, rows_b = np.triu_indices(n, 1)
    if options.all_pairs or len(rows_a) <= MAX_ALL_PAIRS:
        return None
    known, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    place_of = {track_id: place for place, track_id in enumerate(known)}
    own = embeddings[[place_of[track_id] for track_id in ids]]
    near = np.argsort(-(own @ own.T)[rows_a, rows_b], kind="stable")
    certain = np.zeros(len(rows_a), bool)
    certain[near[: round(CERTAIN_SHARE * len(rows_a))]] = True
    own_source = np.asarray(sources)
    close = own_source[rows_a] == own_source[rows_b]
    if close.mean() <= CERTAIN_SHARE:
        certain |= close
    is_named = np.zeros((n, n), bool)
    for a, b in named:
        is_named[min(a, b), max(a, b)] = True
    certain |= is_named[rows_a, rows_b]
    others = np.flatnonzero(~certain)
    rng = np.random.default_rng(options.seed)
    drawn = rng.choice(others, max(1, len(others) // ONE_IN), replace=False)
    weights = np.zeros((n, n))
    weights[rows_a[certain], rows_b[certain]] = 1.0
    weights[rows_a[drawn], rows_b[drawn]] = len(others) / len(drawn)
    return weights


def _as_often(scores: np.ndarray, pairs: np.ndarray, each: np.ndarray) -> np.ndarray:
    """Return the scores of pairs, each as often as it stands for pairs."""
    return np.repeat(scores[pairs], np.rint(each[pairs]).astype(np.int64))


def _default_threshold(made: Thresholds, nonmatching: np.ndarray, one_source: float) -> float:
    """Return the lowest threshold of the target rate, for music like that of the calibration."""
    try:
        threshold = made.threshold_at(made.target_far, one_source=one_source)
    except ThresholdError:  # too few pairs to show such a rate: above all of their scores
        threshold = threshold_at_far(nonmatching, made.target_far)
    return min(1.0, float(np.ceil(threshold * 1e6) / 1e6))


def _below(
    workspace: Workspace, roots: Sequence[str | bytes | os.PathLike[str]]
) -> tuple[list[str], list[str], list[str], list[str]]:
    """Return ids, paths, hashes and sources of the tracks below the roots, if any, by path."""
    ids, _ = workspace.catalogue.embeddings(workspace.weights_id)
    # The catalogue holds paths below the real root.
    prefixes = [os.path.realpath(os.fsencode(root)) for root in roots]
    path_of = workspace.catalogue.paths()
    tracks = workspace.catalogue.tracks()
    hash_of = {track.id: track.sha256 for track in tracks}
    source_of = dict(zip((t.id for t in tracks), track_sources(tracks), strict=True))
    kept = [
        track_id
        for track_id in ids
        if not roots
        or any(
            path_of[track_id] == prefix or path_of[track_id].startswith(prefix.rstrip(b"/") + b"/")
            for prefix in prefixes
        )
    ]
    kept.sort(key=lambda track_id: path_of[track_id])
    names = [os.fsdecode(path_of[i]) for i in kept]
    return kept, names, [hash_of[i] for i in kept], [source_of[i] for i in kept]


def _decided(
    workspace: Workspace, names: Sequence[str], hashes: Sequence[str]
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the pairs of paths that people called one recording, and those called false alarms."""
    matching, nonmatching = labelled_pairs(workspace.catalogue)
    names_of: dict[str, list[str]] = {}
    for name, sha256 in zip(names, hashes, strict=True):
        names_of.setdefault(sha256, []).append(name)
    matched, rejected = (
        [
            (min(a, b), max(a, b))
            for first, second in labelled
            for a in names_of.get(first, ())
            for b in names_of.get(second, ())
        ]
        for labelled in (matching, nonmatching)
    )
    return matched, rejected


def _identified(
    workspace: Workspace, ids: Sequence[str], names: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the pairs of paths of different contents with an identifier of one recording."""
    tracks = {track.id: track for track in workspace.catalogue.tracks()}
    decided = standing(workspace.catalogue.decisions())
    denied = {
        frozenset(hashes)
        for hashes, made in decided.items()
        if made.kind in (DecisionKind.FALSE_ALARM, DecisionKind.COVER)
    }
    holders: dict[str, list[int]] = {}
    for row, track_id in enumerate(ids):
        for scheme in ("isrc", "mb-recording"):
            for identifier in of_scheme(tracks[track_id], scheme):
                holders.setdefault(identifier, []).append(row)
    found = set()
    for rows in holders.values():
        for a, b in itertools.combinations(rows, 2):
            contents = frozenset((tracks[ids[a]].sha256, tracks[ids[b]].sha256))
            if len(contents) == 2 and contents not in denied:
                found.add((min(names[a], names[b]), max(names[a], names[b])))
    return sorted(found)


def _confirmed_pairs(
    evidence: Mapping[tuple[str, str], Evidence],
    groups: np.ndarray,
    ids: Sequence[str],
    names: Sequence[str],
    rejected: Sequence[tuple[str, str]],
) -> tuple[tuple[str, str, float], ...]:
    """Return the pairs that share material, by path, and the correlation of their spectra."""
    found = []
    for a, b in np.argwhere(np.triu(groups[:, None] != groups[None, :], 1)):
        found_there = evidence.get((ids[a], ids[b]))
        if found_there is None or (names[a], names[b]) in rejected:
            continue
        long = [r for r in found_there.ranges if r.a_end_s - r.a_start_s >= CONFIRMED_S]
        correlation = max((r.correlation or 0.0 for r in long), default=0.0)
        if correlation >= CONFIRMED:
            found.append((names[a], names[b], round(correlation, 3)))
    return tuple(found)


def _copy_scores(
    workspace: Workspace,
    scorer: Scorer,
    ids: Sequence[str],
    names: Sequence[str],
    groups: np.ndarray,
    options: CalibrateOptions,
    on_copy: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of altered copies with their originals, and the alterations."""
    n = min(options.n_copies, len(names))
    chosen = np.unique(np.linspace(0, len(names) - 1, n).astype(np.int64))
    scores, kinds = [], []
    n_kinds = len(options.alterations)
    if on_copy and n:
        on_copy(0, len(chosen) * n_kinds)
    for n_done, row in enumerate(chosen, start=1):
        waveform = _beginning(names[row], options)
        others = [other for other in np.roll(chosen, -n_done) if groups[other] != groups[row]]
        needs_other = any(ALTERATIONS[kind].needs_other for kind in options.alterations)
        other = _beginning(names[others[0]], options) if needs_other and others else None
        for i, kind in enumerate(options.alterations):
            if waveform is None:
                break
            rng = np.random.default_rng([options.seed, int(row), i])
            try:
                altered = ALTERATIONS[kind](waveform, rng, other)
                copy = embed_waveform(altered, [workspace.extractor])[workspace.weights_id]
            except (AudioError, ValueError):
                continue  # too short for this alteration: one copy fewer, and the counts say so
            if copy.embedding.any():
                side = scorer.side_of_copy(
                    copy,
                    duration_s=len(altered) / SAMPLE_RATE_HZ,
                    spectrum=waveform_spectrum(altered),
                )
                scores.append(scorer.pair(side, scorer.side(ids[row])).score)
                kinds.append(kind)
        if on_copy:
            on_copy(n_done * n_kinds, len(chosen) * n_kinds)
    if not scores and n:
        raise UsageError(f"no copy could be made of {show_path(names[0])} and the others.")
    return np.asarray(scores, dtype=np.float64), np.asarray(kinds, dtype=str)


def _beginning(name: str, options: CalibrateOptions) -> np.ndarray | None:
    try:
        return load_waveform(name, duration_s=options.copy_s)
    except AudioError:
        return None


def _recall(kind: str, scores: np.ndarray, threshold: float) -> AlterationRecall:
    n, n_found = len(scores), int((scores >= threshold).sum())
    low, high = wilson_interval(n_found, n) if n else (0.0, 1.0)
    rounded = tuple(sorted(float(np.floor(1e4 * score) / 1e4) for score in scores))
    return AlterationRecall(
        kind if kind in (DECIDED_KIND, IDENTIFIED_KIND) else ALTERATIONS[kind].label,
        n,
        n_found,
        round(low, 4),
        round(high, 4),
        rounded,
    )
