"""Calibrated thresholds: JSON files that say how often unrelated pairs reach a score.

A file holds operating points counted on pairs of known music, each with its 95 % interval, the data
and the weights behind them, and from format 2 on an extreme-value tail (``auditor.tail``).
``far_at`` reads the rate of any threshold off the points, and above the threshold where the tail
begins off the tail; without one only an upper bound is known beyond the highest counted score.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from itertools import pairwise
from pathlib import Path

from auditor.config import float32_weights_id, from_json, to_json
from auditor.errors import ThresholdError, show_path
from auditor.metrics import wilson_interval
from auditor.records import Detection
from auditor.tail import Tail

FORMAT = "audit-threshold/3"
FORMATS = ("audit-threshold/1", "audit-threshold/2", FORMAT)
"""What is read; the first knows no tail, the second no scores of copies."""

SCORE = "embedding-cosine"
"""The score of a pair of track embeddings."""

MATCH_SCORE = "match"
"""The score of ``auditor.match_score``; it has files of its own."""

MAX_FILE_BYTES = 4 << 20
_NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")


def shipped_directory() -> Path:
    """Return the folder of the thresholds that come with the package."""
    installed = Path(__file__).with_name("calibrated")
    return installed if installed.is_dir() else Path(__file__).parent.parent / "thresholds"


@dataclass(frozen=True)
class OperatingPoint:
    """FAR counted at one threshold, per pair, with its 95 % interval."""

    threshold: float
    far: float
    far_low: float
    far_high: float

    def __post_init__(self) -> None:
        if not -1.0 <= self.threshold <= 1.0 + 1e-6:
            raise ValueError(f"threshold is {self.threshold}; a cosine lies in [-1, 1]")
        if not 0.0 <= self.far_low <= self.far <= self.far_high <= 1.0:
            raise ValueError(
                f"far is {self.far} within {self.far_low} to {self.far_high}; "
                "it must lie inside its interval, and that in [0, 1]"
            )


@dataclass(frozen=True)
class AlterationRecall:
    """Share of altered copies found at the file's default threshold, with its Wilson interval.

    ``scores`` are those of the copies with their originals, rising, so that the share can be told
    at other thresholds; empty in files of older formats.
    """

    alteration: str
    n_copies: int
    n_found: int
    recall_low: float
    recall_high: float
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.n_found <= self.n_copies and 0.0 <= self.recall_low <= self.recall_high):
            raise ValueError(
                f"{self.n_found} of {self.n_copies} copies found, recall {self.recall_low} to "
                f"{self.recall_high}; counts and rates must fit together"
            )
        if self.recall_high > 1.0:
            raise ValueError(f"recall_high is {self.recall_high}; a rate lies in [0, 1]")
        if self.scores and len(self.scores) != self.n_copies:
            raise ValueError(f"{len(self.scores)} scores of {self.n_copies} copies")


@dataclass(frozen=True)
class Thresholds:
    """One calibration.

    Attributes
    ----------
    weights_id, extractor : str
        The extractor whose scores were counted.
    threshold : float
        The default: the lowest one whose FAR is at most ``target_far``.
    target_far : float
    operating_points : tuple of OperatingPoint
        By rising threshold; FAR never rises with the threshold.
    recalls : tuple of AlterationRecall
        What the default threshold finds.
    n_tracks, n_nonmatching_pairs, n_set_aside_pairs : int
        The music behind the counts; pairs known to share material are set aside.
    data, data_sha256 : str
        Name of the music and hash over its files.
    date, version, command : str
    score : str
        Name of the score that was counted.
    tail : Tail, optional
        Of the non-matching scores; it begins at an operating point.
    """

    weights_id: str
    extractor: str
    threshold: float
    target_far: float
    operating_points: tuple[OperatingPoint, ...]
    recalls: tuple[AlterationRecall, ...]
    n_tracks: int
    n_nonmatching_pairs: int
    n_set_aside_pairs: int
    data: str
    data_sha256: str
    date: str
    version: str
    command: str
    score: str = SCORE
    format: str = FORMAT
    tail: Tail | None = None

    def __post_init__(self) -> None:
        points = self.operating_points
        if self.format not in FORMATS:
            raise ValueError(
                f"format is {self.format!r}; this version reads {' and '.join(FORMATS)}"
            )
        if not points:
            raise ValueError("operating_points is empty; at least one is needed")
        for a, b in pairwise(points):
            if not (a.threshold < b.threshold and a.far >= b.far):
                raise ValueError("operating_points must rise in threshold and never rise in far")
        if not -1.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}; a cosine lies in [-1, 1]")
        if self.tail is not None:
            self._check_tail(self.tail)

    def _check_tail(self, tail: Tail) -> None:
        if self.format == FORMATS[0]:
            raise ValueError(f"format is {self.format!r}, which knows no tail")
        joint = [point for point in self.operating_points if point.threshold == tail.threshold]
        if not joint or not math.isclose(joint[0].far, tail.share, rel_tol=1e-9):
            raise ValueError(
                f"the tail begins at {tail.threshold} with a share of {tail.share:g}; "
                "an operating point there, of the same rate, is needed"
            )

    def far_at(self, threshold: float) -> tuple[float, float, float]:
        """Return FAR and its 95 % interval at a threshold.

        Between two points the logarithm of the rate is interpolated; where the lower bound is 0 at
        either, it is that of the higher threshold.  Where the tail has begun, it gives the rate.
        Without a tail nothing is known above the last point but that FAR is that point's at most,
        and may be 0.  Below the first, FAR is only known to be at least that point's, and its
        upper bound is 1.

        Examples
        --------
        >>> points = (OperatingPoint(0.5, 0.1, 0.08, 0.12), OperatingPoint(0.9, 0.001, 0.0, 0.01))
        >>> t = Thresholds("0", "x", 0.9, 0.001, points, (), 2, 1, 0, "", "", "", "", "")
        >>> [round(rate, 4) for rate in t.far_at(0.7)]
        [0.01, 0.0, 0.0346]
        """
        points = self.operating_points
        if self.tail is not None and threshold > self.tail.threshold:
            return self.tail.far_at(threshold)
        if threshold > points[-1].threshold:
            return points[-1].far, 0.0, points[-1].far_high
        if threshold < points[0].threshold:
            return points[0].far, points[0].far_low, 1.0
        for a, b in pairwise(points):
            if a.threshold <= threshold <= b.threshold:
                share = (threshold - a.threshold) / (b.threshold - a.threshold)
                far = _interpolate(a.far, b.far, share)
                low = b.far_low if share > 0.0 else a.far_low
                if a.far_low > 0.0 and b.far_low > 0.0:
                    low = _interpolate(a.far_low, b.far_low, share)
                high = _interpolate(a.far_high, b.far_high, share)
                return far, min(far, low), max(far, high)
        return points[0].far, points[0].far_low, points[0].far_high

    def threshold_at(self, far: float) -> float:
        """Return the lowest threshold known to have a FAR of at most ``far``.

        It is an operating point, or below the rate at which the tail begins the very threshold
        that the tail gives.

        Raises
        ------
        ThresholdError
            If there is no tail and so low a rate was not counted: it is below one in all the pairs,
            or no threshold that a score can reach has it.
        """
        if self.tail is not None and far < self.tail.share:
            return self.tail.threshold_at(far)
        lowest = self.lowest_counted()
        if far >= lowest * (1.0 - 1e-9):
            for point in self._reachable():
                if point.far <= far:
                    return point.threshold
        raise ThresholdError(
            f"a FAR of {far:g} was asked for; {self.n_nonmatching_pairs:,} pairs of {self.data} "
            f"can show {rounded_up(lowest)} at the lowest. Give --far {rounded_up(lowest)}, "
            "run audit calibrate on more music, or give --threshold."
        )

    def detection(self, threshold: float) -> tuple[Detection, ...]:
        """Return how likely copies are to be found at a threshold, by alteration.

        Alterations whose copies' scores are not in the file are left out.
        """
        found = []
        for recall in self.recalls:
            if recall.scores:
                n_found = sum(score >= threshold for score in recall.scores)
                low, high = wilson_interval(n_found, recall.n_copies)
                found.append(
                    Detection(
                        recall.alteration, recall.n_copies, n_found, round(low, 4), round(high, 4)
                    )
                )
        return tuple(found)

    def lowest_counted(self) -> float:
        """Return the lowest FAR that was counted: at least one in all the pairs."""
        points = self._reachable()
        return max(1.0 / max(1, self.n_nonmatching_pairs), points[-1].far if points else 1.0)

    def _reachable(self) -> list[OperatingPoint]:
        # Above 1 lies no score: such a threshold would flag nothing at all.
        return [point for point in self.operating_points if point.threshold <= 1.0]


def _interpolate(a: float, b: float, share: float) -> float:
    if share in (0.0, 1.0):  # at a point, the very rate that was counted
        return b if share else a
    if a <= 0.0 or b <= 0.0:
        return a + share * (b - a)
    return math.exp(math.log(a) + share * (math.log(b) - math.log(a)))


def rounded_up(rate: float) -> str:
    """Return a rate to two digits and never below it, so that it can be asked for as shown."""
    up = Context(prec=2, rounding=ROUND_CEILING).create_decimal(repr(float(rate)))
    return f"{float(up):g}"


def _on_one_line(numbers: re.Match[str]) -> str:
    return "".join(numbers[0].split()).replace(",", ", ")


def load_thresholds(path: str | os.PathLike[str]) -> Thresholds:
    """Read and validate a threshold file.

    Raises
    ------
    ThresholdError
        If it cannot be read or does not follow the format.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ThresholdError(
                f"{show_path(path)} is larger than 4 MiB; a threshold file is not."
            )
        return from_json(Thresholds, json.loads(path.read_bytes()), where="thresholds")
    except OSError as error:
        raise ThresholdError(f"{show_path(path)} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ThresholdError(
            f"{show_path(path)} is no threshold file: {error}. Run: audit calibrate"
        ) from None


def save_thresholds(thresholds: Thresholds, path: str | os.PathLike[str]) -> Path:
    """Write a threshold file, replacing what is there in one step.

    Raises
    ------
    ThresholdError
        If it cannot be written.
    """
    path = Path(path)
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as file:
            file.write(_NUMBERS.sub(_on_one_line, json.dumps(to_json(thresholds), indent=1)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise ThresholdError(
            f"{show_path(path)} cannot be written: {error.strerror or error}. "
            "Free some space or mend the permissions, or give another --output."
        ) from None
    return path


def find_thresholds(
    weights_id: str,
    directories: Sequence[Path],
    *,
    score: str = SCORE,
    damaged: list[Path] | None = None,
) -> tuple[Thresholds, Path] | None:
    """Return the first calibration of a score of the given weights, in the order of the folders.

    Where there is none of this precision, it is one of the same weights in float32.

    Parameters
    ----------
    weights_id : str
    directories : sequence of pathlib.Path
    score : str
    damaged : list of pathlib.Path, optional
        If given, damaged files are passed over and added to it.

    Raises
    ------
    ThresholdError
        If a file of those folders is damaged and ``damaged`` is not given.
    """
    other: tuple[Thresholds, Path] | None = None
    for directory in directories:
        for path in sorted(directory.glob("*.json")) if directory.is_dir() else ():
            try:
                thresholds = load_thresholds(path)
            except ThresholdError:
                if damaged is None:
                    raise
                damaged.append(path)
                continue
            if (thresholds.weights_id, thresholds.score) == (weights_id, score):
                return thresholds, path
            if (thresholds.weights_id, thresholds.score) == (float32_weights_id(weights_id), score):
                other = other or (thresholds, path)
    return other
