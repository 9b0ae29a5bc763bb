"""Error rates of any system that scores altered copies against originals.

A system is a set of ``Scores``; what is counted, and on which pairs, is the same for all of them.
One threshold holds for all alterations: the lowest one at which at most the stated share of
impostor pairs is flagged.  Tracks known to share material are no impostors of each other and are
reported on their own; a copy with another track mixed in, or planted in another, holds that track
as well, which is neither an impostor of that copy nor a rival of its original.

Intervals: Wilson's for proportions; for mean recalls a bootstrap over tracks, since pairs that
share a track are not independent (Efron 1979, Annals of Statistics 7:1-26).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.augment.alterations import ALTERATIONS
from auditor.calibration.metrics import threshold_at_far, top1_hit_rate, wilson_interval

FARS = (1e-3, 1e-4, 1e-5)
N_HARDEST = 15


@dataclass(frozen=True)
class Scores:
    """Scores of one system, higher is more alike, on the tracks of one role in corpus order.

    Attributes
    ----------
    originals : numpy.ndarray
        (n, n) every track with every track; only what lies above the diagonal is used.
    copies : dict of numpy.ndarray
        Alteration to (n_copies, n): every copy with every original.
    rows : dict of numpy.ndarray
        Alteration to (n_copies,) int: the track that each copy was made of.

    NaN means not compared, and is left out; a copy must be compared with its own original.  A copy
    that a system cannot read is a miss, not a gap: give it the lowest score there is.
    """

    originals: np.ndarray
    copies: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]

    def __post_init__(self) -> None:
        n = len(self.originals)
        if self.originals.shape != (n, n):
            raise ValueError(f"originals have shape {self.originals.shape}; (n, n) is needed")
        if self.copies.keys() != self.rows.keys():
            raise ValueError(f"copies of {sorted(self.copies)}, rows of {sorted(self.rows)}")
        for kind, copies in self.copies.items():
            rows = self.rows[kind]
            if copies.shape != (len(rows), n):
                raise ValueError(f"{kind}: copies {copies.shape}, need ({len(rows)}, {n})")
            if np.isnan(copies[np.arange(len(rows)), rows]).any():
                raise ValueError(f"{kind}: a copy was not compared with its own original")

    def save(self, path: Path) -> None:
        """Write an npz file whole or not at all; its folder is created if absent."""
        arrays = {"originals": self.originals}
        arrays |= {f"copies/{kind}": values for kind, values in self.copies.items()}
        arrays |= {f"rows/{kind}": values for kind, values in self.rows.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(file, **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Scores:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            kinds = [key.removeprefix("copies/") for key in stored if key.startswith("copies/")]
            return cls(
                stored["originals"],
                {kind: stored[f"copies/{kind}"] for kind in kinds},
                {kind: stored[f"rows/{kind}"] for kind in kinds},
            )

    def only(self, rows: dict[str, np.ndarray]) -> Scores:
        """Return the copies of the alterations and tracks given, those that there are."""
        kept = {k: np.isin(self.rows[k], rows[k]) for k in rows if k in self.rows}
        kept = {k: keep for k, keep in kept.items() if keep.any()}
        return Scores(
            self.originals,
            {kind: self.copies[kind][keep] for kind, keep in kept.items()},
            {kind: self.rows[kind][keep] for kind, keep in kept.items()},
        )

    def every(self, n: int) -> Scores:
        """Return the copies of every n-th track of the role."""
        return self.only({kind: rows[rows % n == 0] for kind, rows in self.rows.items()})


def combine(a: Scores, b: Scores, share: float) -> Scores:
    """Return ``(1 - share) * a + share * b``, of two systems on the same copies."""
    return Scores(
        (1 - share) * a.originals + share * b.originals,
        {kind: (1 - share) * a.copies[kind] + share * b.copies[kind] for kind in a.copies},
        dict(a.rows),
    )


def on_common_copies(systems: dict[str, Scores]) -> dict[str, Scores]:
    """Restrict systems to the copies that all of them have scored, alterations in one order."""
    for scores in list(systems.values()):
        systems = {name: other.only(scores.rows) for name, other in systems.items()}
    return systems


@dataclass(frozen=True)
class Pairs:
    """The scores of all pairs that count.

    Attributes
    ----------
    matching : dict of numpy.ndarray
        Alteration to (n_copies,) float64: each copy with its own original.
    impostor : numpy.ndarray
        (n_pairs,) float64, highest first.
    query, reference : numpy.ndarray
        (n_pairs,) int, tracks of each impostor pair.
    kind : numpy.ndarray
        (n_pairs,) int, place of the alteration in ``matching``; -1 for two originals.
    n_original : int
        Impostor pairs of two originals.
    """

    matching: dict[str, np.ndarray]
    impostor: np.ndarray
    query: np.ndarray
    reference: np.ndarray
    kind: np.ndarray
    n_original: int


def related(groups: np.ndarray, rows: np.ndarray, *, hosted: bool) -> np.ndarray:
    """Return which originals share material with copies, (n_copies, n) bool.

    Parameters
    ----------
    groups : numpy.ndarray
        (n,) int, one number for the tracks that share material.
    rows : numpy.ndarray
        (n_copies,) tracks that the copies were made of.
    hosted : bool
        Whether the copies also hold the track half a corpus further on (``copies.other_row``).
    """
    same = groups[rows][:, None] == groups[None, :]
    if hosted:
        hosts = groups[(rows + len(groups) // 2) % len(groups)]
        same |= hosts[:, None] == groups[None, :]
    return same


def split_pairs(groups: np.ndarray, scores: Scores) -> Pairs:
    """Return matching and impostor pairs of a system.

    Raises
    ------
    ValueError
        If there is no impostor pair.
    """
    first, second = np.nonzero(np.triu(groups[:, None] != groups[None, :], 1))
    parts = [(scores.originals[first, second], first, second, np.full(len(first), -1))]
    matching = {}
    for k, (kind, rows) in enumerate(scores.rows.items()):
        copies = scores.copies[kind]
        matching[kind] = copies[np.arange(len(rows)), rows].astype(np.float64)
        hosted = ALTERATIONS[kind].needs_other
        copy, reference = np.nonzero(~related(groups, rows, hosted=hosted))
        parts.append((copies[copy, reference], rows[copy], reference, np.full(len(copy), k)))
    values, query, reference, kinds = map(np.concatenate, zip(*parts, strict=True))
    order = np.argsort(-values, kind="stable")  # NaN comes last
    order = order[: len(values) - int(np.isnan(values).sum())]
    if len(order) == 0:
        raise ValueError("no impostor pair was compared; unrelated tracks are needed")
    n_original = int((kinds[order] == -1).sum())
    impostor = values[order].astype(np.float64)
    return Pairs(matching, impostor, query[order], reference[order], kinds[order], n_original)


@dataclass(frozen=True)
class Row:
    """One alteration.

    Attributes
    ----------
    recalls : tuple of float or None
        At each of ``FARS``; None where there are too few impostor pairs to count such a FAR.
    n_flagged : int or None
        Copies at or above the threshold that was given.
    """

    alteration: str
    label: str
    group: str
    n: int
    top1: float
    top1_interval: tuple[float, float]
    recalls: tuple[float | None, ...]
    eer: float
    n_flagged: int | None = None


@dataclass(frozen=True)
class NamedPair:
    """A pair that a person may want to listen to.

    Attributes
    ----------
    alteration : str
        Of the query; empty for an original.
    flagged : tuple of bool or None
        Whether it is flagged at each of ``FARS``.
    """

    query: str
    alteration: str
    reference: str
    score: float
    flagged: tuple[bool | None, ...]


@dataclass(frozen=True)
class Evaluation:
    """What one system is worth.

    Attributes
    ----------
    thresholds : tuple of float or None
        At each of ``FARS``.
    mean_top1, mean_eer : float
        Over alterations.
    mean_recalls : tuple of float or None
        Over alterations, at each of ``FARS``.
    mean_intervals : tuple of (float, float) or None
        Of the mean recalls, 95 %.
    duplicates : tuple of NamedPair
        Originals known to share material.
    hardest_originals, hardest_copies : tuple of NamedPair
        Impostors with the highest scores; a pair of tracks is named once, by its worst copy.
    given_threshold, n_false : float, int or None
        The threshold given, and the impostor pairs of originals that it flags.
    """

    n_tracks: int
    n_impostor_pairs: int
    n_original_impostor_pairs: int
    thresholds: tuple[float | None, ...]
    rows: tuple[Row, ...]
    mean_top1: float
    mean_recalls: tuple[float | None, ...]
    mean_intervals: tuple[tuple[float, float] | None, ...]
    mean_eer: float
    duplicates: tuple[NamedPair, ...]
    hardest_originals: tuple[NamedPair, ...]
    hardest_copies: tuple[NamedPair, ...]
    given_threshold: float | None
    n_false: int | None


def evaluate(
    names: list[str],
    groups: np.ndarray,
    scores: Scores,
    *,
    threshold: float | None = None,
    n_draws: int = 500,
    seed: int = 0,
) -> Evaluation:
    """Count hits and false alarms of one system.

    Parameters
    ----------
    names : list of str
        (n,) what to call the tracks.
    groups : numpy.ndarray
        (n,) int, one number for the tracks that share material.
    scores : Scores
    threshold : float, optional
        A fixed one, to be counted as well.
    n_draws : int
        Of the bootstrap.

    Raises
    ------
    ValueError
        If numbers do not fit, or there is no copy or no impostor pair.
    """
    groups = np.asarray(groups)
    if not len(names) == len(groups) == len(scores.originals):
        raise ValueError(
            f"{len(names)} names, {len(groups)} groups, {len(scores.originals)} originals"
        )
    if not scores.rows:
        raise ValueError("no copy was scored; at least one alteration is needed")
    pairs = split_pairs(groups, scores)
    thresholds = tuple(
        threshold_at_far(pairs.impostor, far) if _countable(pairs, far) else None for far in FARS
    )
    rows = tuple(_row(kind, groups, scores, pairs, thresholds, threshold) for kind in scores.rows)
    recalls = tuple(
        None if t is None else float(np.mean([row.recalls[i] for row in rows]))
        for i, t in enumerate(thresholds)
    )

    def flagged(score: float) -> tuple[bool | None, ...]:
        return tuple(None if t is None else bool(score >= t) for t in thresholds)

    def hardest(among: np.ndarray) -> tuple[NamedPair, ...]:
        found: dict[frozenset[int], NamedPair] = {}
        kinds = ("", *scores.rows)
        for k in among:
            i, j = int(pairs.query[k]), int(pairs.reference[k])
            if frozenset((i, j)) not in found:
                kind, score = kinds[pairs.kind[k] + 1], float(pairs.impostor[k])
                found[frozenset((i, j))] = NamedPair(
                    names[i], kind, names[j], score, flagged(score)
                )
                if len(found) == N_HARDEST:
                    break
        return tuple(found.values())

    same = np.argwhere(np.triu(groups[:, None] == groups[None, :], 1))
    duplicates = [(i, j, float(scores.originals[i, j])) for i, j in same]
    n_false = None
    if threshold is not None:
        n_false = int((pairs.impostor[pairs.kind == -1] >= threshold).sum())
    return Evaluation(
        n_tracks=len(names),
        n_impostor_pairs=len(pairs.impostor),
        n_original_impostor_pairs=pairs.n_original,
        thresholds=thresholds,
        rows=rows,
        mean_top1=float(np.mean([row.top1 for row in rows])),
        mean_recalls=recalls,
        mean_intervals=_bootstrap(groups, scores, pairs, n_draws, seed),
        mean_eer=float(np.mean([row.eer for row in rows])),
        duplicates=tuple(
            NamedPair(names[i], "", names[j], s, flagged(s))
            for i, j, s in duplicates
            if not math.isnan(s)
        ),
        hardest_originals=hardest(np.flatnonzero(pairs.kind == -1)),
        hardest_copies=hardest(np.flatnonzero(pairs.kind >= 0)),
        given_threshold=threshold,
        n_false=n_false,
    )


def _countable(pairs: Pairs, far: float) -> bool:
    return len(pairs.impostor) * far >= 1.0 - 1e-9


def _row(
    kind: str,
    groups: np.ndarray,
    scores: Scores,
    pairs: Pairs,
    thresholds: tuple[float | None, ...],
    given: float | None,
) -> Row:
    rows, own = scores.rows[kind], pairs.matching[kind]
    n, alteration = len(rows), ALTERATIONS[kind]
    rivals = ~related(groups, rows, hosted=alteration.needs_other)
    # A natural duplicate of the original on top is no miss: it is the same recording.
    rivals[np.arange(n), rows] = True
    ranked = np.where(rivals & ~np.isnan(scores.copies[kind]), scores.copies[kind], -np.inf)
    top1 = top1_hit_rate(ranked, rows)
    return Row(
        alteration=kind,
        label=alteration.label,
        group=alteration.group,
        n=n,
        top1=top1,
        top1_interval=wilson_interval(round(top1 * n), n),
        recalls=tuple(None if t is None else float((own >= t).mean()) for t in thresholds),
        eer=equal_error_rate_of_sorted(own, pairs.impostor),
        n_flagged=None if given is None else int((own >= given).sum()),
    )


def equal_error_rate_of_sorted(matching: np.ndarray, impostor: np.ndarray) -> float:
    """Return ``auditor.calibration.metrics.equal_error_rate`` where impostors come highest first.

    FAR less FRR never rises with the threshold, so the crossing is found by bisection: a million
    impostor pairs are not sorted again for every row.
    """
    lowest_first = impostor[::-1]
    matching = np.sort(matching)
    thresholds = np.concatenate([matching, lowest_first])
    thresholds.sort(kind="stable")  # two sorted runs: a merge

    def rates(i: int) -> tuple[float, float]:
        t = thresholds[i] if i < len(thresholds) else np.inf
        far = 1.0 - np.searchsorted(lowest_first, t, side="left") / len(lowest_first)
        return far, np.searchsorted(matching, t, side="left") / len(matching)

    low, high = 0, len(thresholds)  # FAR > FRR below low, FAR <= FRR at high
    while low < high:
        middle = (low + high) // 2
        far, frr = rates(middle)
        low, high = (middle + 1, high) if far > frr else (low, middle)
    around = [rates(i) for i in range(max(low - 1, 0), low + 1)]
    return float(sum(min(around, key=lambda pair: abs(pair[0] - pair[1]))) / 2.0)


def _bootstrap(
    groups: np.ndarray, scores: Scores, pairs: Pairs, n_draws: int, seed: int
) -> tuple[tuple[float, float] | None, ...]:
    """Return 95 % intervals of the mean recalls: groups of tracks are drawn with replacement.

    A pair counts as often as its query's track and its reference are drawn together; the threshold
    is set anew in every draw.
    """
    n, rng = len(groups), np.random.default_rng(seed)
    unit = np.unique(groups, return_inverse=True)[1]
    n_units = int(unit.max()) + 1
    counts = np.bincount(pairs.query * n + pairs.reference, minlength=n * n).reshape(n, n)
    owner = np.concatenate(list(scores.rows.values()))
    own = np.concatenate(list(pairs.matching.values()))
    kind = np.repeat(np.arange(len(scores.rows)), [len(rows) for rows in scores.rows.values()])
    fars = [far for far in FARS if _countable(pairs, far)]
    head = min(len(pairs.impostor), math.ceil(4 * FARS[0] * len(pairs.impostor)) + 1000)
    found: list[list[float]] = []
    for _ in range(n_draws if fars else 0):
        times = rng.multinomial(n_units, np.full(n_units, 1.0 / n_units))[unit].astype(np.float64)
        allowed = np.floor(np.asarray(fars) * (times @ counts @ times) + 1e-9)
        while True:
            flagged = np.cumsum(times[pairs.query[:head]] * times[pairs.reference[:head]])
            if flagged[-1] > allowed.max() or head == len(pairs.impostor):
                break
            head = min(2 * head, len(pairs.impostor))
        first = np.minimum(np.searchsorted(flagged, allowed, side="right"), head - 1)
        drawn = np.bincount(kind, weights=times[owner])
        if not drawn.any():
            continue
        recalls = []
        for bar in pairs.impostor[first]:
            hits = np.bincount(kind, weights=times[owner] * (own > bar))
            recalls.append(float((hits[drawn > 0] / drawn[drawn > 0]).mean()))
        found.append(recalls)
    if not found:
        return tuple(None for _ in FARS)
    low, high = np.percentile(np.asarray(found), [2.5, 97.5], axis=0)
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    return tuple(intervals + [None] * (len(FARS) - len(fars)))


@dataclass(frozen=True)
class Target:
    """What is asked of the recalls of one group of rows; ``mean`` stands for all rows.

    Attributes
    ----------
    recalls : dict of float
        By FAR.
    """

    group: str
    label: str
    recalls: dict[float, float]


def targets() -> tuple[Target, ...]:
    """Return the targets by group of alterations."""
    return tuple(
        Target(group, label, {1e-4: at_1e4, 1e-5: at_1e5})
        for group, label, at_1e4, at_1e5 in (
            ("light", "codecs, dynamics, EQ, room, 30 s", 0.995, 0.99),
            ("medium", "pitch, tempo, speed, voices, all at once", 0.98, 0.96),
            ("heavy", "10 s, noise 0 dB, mixed, far pitch and tempo", 0.95, 0.90),
            ("planted", "10 s planted in another track", 0.90, 0.80),
            ("mean", "mean over all rows", 0.985, 0.97),
        )
    )


@dataclass(frozen=True)
class Standing:
    """How a system stands to one target.

    Attributes
    ----------
    mean, lowest : float or None
        Recall of the group's rows; None if there is no row or too few impostor pairs.
    lowest_row : str
        Alteration with the lowest recall.
    verdict : str
        ``met`` if every row reaches the target (of ``mean``: if the mean does), ``mean met`` if
        only their mean does, else ``short``; ``not measured``.
    """

    target: Target
    far: float
    mean: float | None
    lowest: float | None
    lowest_row: str
    verdict: str


def stand_to_targets(evaluation: Evaluation) -> tuple[Standing, ...]:
    """Compare a system with every target at every FAR."""
    standings = []
    for target in targets():
        rows = [row for row in evaluation.rows if target.group in ("mean", row.group)]
        for far, needed in target.recalls.items():
            i = FARS.index(far)
            if not rows or evaluation.thresholds[i] is None:
                standings.append(Standing(target, far, None, None, "", "not measured"))
                continue
            mean = float(np.mean([row.recalls[i] for row in rows]))
            worst = min(rows, key=lambda row: row.recalls[i])
            lowest = float(worst.recalls[i])
            verdict = "mean met" if mean >= needed else "short"
            if mean >= needed and (target.group == "mean" or lowest >= needed):
                verdict = "met"
            standings.append(Standing(target, far, mean, lowest, worst.alteration, verdict))
    return tuple(standings)
