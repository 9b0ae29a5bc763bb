"""Calibrated thresholds: JSON files that say how often unrelated pairs reach a score.

A file holds the rates counted on pairs of known music (``auditor.calibration.rates``), the data and
the weights behind them.  From format 4 on it may hold them twice: for pairs of two sources, and for
pairs of one (``auditor.catalogue.sources``), which are more alike.  The rate of a run is that of
the mixture it compares.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from pathlib import Path

from auditor.calibration.metrics import wilson_interval
from auditor.calibration.rates import OperatingPoint, RateTable
from auditor.calibration.tail import Tail
from auditor.embedding.config import float32_weights_id
from auditor.errors import ThresholdError, show_path
from auditor.records import Detection
from auditor.serialisation import atomic_write, from_json, parse_json, to_json

FORMAT = "audit-threshold/5"
"""The only one that is read: earlier ones do not name the scorer that they were counted with."""

_WITHOUT_SCORER = tuple(f"audit-threshold/{n}" for n in (1, 2, 3, 4))

WHOLE_S = 60.0
"""From this length on, a submission is as good as a whole track."""

_LOST_S = 0.05
"""A file of ten seconds may lack the last packet."""

_STEP = 1e-6
"""Thresholds of mixtures are found to within it."""

MAX_FILE_BYTES = 4 << 20
_NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")


def shipped_directory() -> Path:
    """Return the folder of the thresholds that come with the package."""
    installed = Path(__file__).parents[1] / "calibrated"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "thresholds"


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
class LengthRecalls:
    """What is found of altered copies that were cut to a length first.

    Attributes
    ----------
    duration_s : float
    recalls : tuple of AlterationRecall
    data, date, command : str
        As in ``Thresholds``: they were counted later than the rates.
    """

    duration_s: float
    recalls: tuple[AlterationRecall, ...]
    data: str
    date: str
    command: str

    def __post_init__(self) -> None:
        if not 0.0 < self.duration_s < WHOLE_S:
            raise ValueError(
                f"duration_s is {self.duration_s}; it must be above 0 and below {WHOLE_S:g}"
            )


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
    n_stood_for : int
        Pairs that those counted stand for, as they are all candidates and a sample of the others;
        0 where all were counted.
    data, data_sha256 : str
        Name of the music and hash over its files.
    date, version, command : str
    scorer : str
        Id of the scoring model whose scores were counted, such as ``match/1``.
    tail : Tail, optional
        Of the non-matching scores; it begins at an operating point.
    lengths : tuple of LengthRecalls
        What the default threshold finds of short copies, by rising length; empty where only whole
        tracks were counted.
    one_source : RateTable, optional
        Of the pairs of one source.  Where it is given, ``operating_points``, ``tail`` and
        ``n_nonmatching_pairs`` are those of pairs of two sources, else of all pairs.
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
    scorer: str
    format: str = FORMAT
    tail: Tail | None = None
    one_source: RateTable | None = None
    n_stood_for: int = 0
    lengths: tuple[LengthRecalls, ...] = ()

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format is {self.format!r}; this version reads {FORMAT}")
        if not -1.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold is {self.threshold}; a cosine lies in [-1, 1]")
        seconds = [one.duration_s for one in self.lengths]
        if seconds != sorted(set(seconds)):
            raise ValueError(f"lengths are of {seconds} s; they must rise")
        _ = self.rates  # checks them

    @functools.cached_property
    def rates(self) -> RateTable:
        """The rates of pairs of two sources; of all pairs where ``one_source`` is None."""
        return RateTable(self.operating_points, self.n_nonmatching_pairs, self.tail)

    def far_at(self, threshold: float, *, one_source: float = 0.0) -> tuple[float, float, float]:
        """Return FAR and its 95 % interval at a threshold.

        Parameters
        ----------
        threshold : float
        one_source : float
            Share of the compared pairs whose tracks are of one source.

        Examples
        --------
        >>> points = (OperatingPoint(0.5, 0.1, 0.08, 0.12), OperatingPoint(0.9, 0.001, 0.0, 0.01))
        >>> close = RateTable((OperatingPoint(0.5, 0.3, 0.2, 0.4),), 10)
        >>> t = Thresholds("0", "x", 0.9, 0.001, points, (), 2, 9, 0, "", "", "", "", "", "match/1")
        >>> [round(rate, 4) for rate in t.far_at(0.5)]
        [0.1, 0.08, 0.12]
        >>> from dataclasses import replace
        >>> mixed = replace(t, one_source=close).far_at(0.5, one_source=0.5)
        >>> [round(rate, 4) for rate in mixed]
        [0.2, 0.14, 0.26]
        """
        rates = self.rates.far_at(threshold)
        if self.one_source is None or not one_source:
            return rates
        close = self.one_source.far_at(threshold)
        far, low, high = (
            (1.0 - one_source) * a + one_source * b for a, b in zip(rates, close, strict=True)
        )
        return far, low, high

    def threshold_at(self, far: float, *, one_source: float = 0.0) -> float:
        """Return the lowest threshold known to have a FAR of at most ``far``.

        Parameters
        ----------
        far : float
        one_source : float
            Share of the compared pairs whose tracks are of one source.

        Raises
        ------
        ThresholdError
            If there is no tail and so low a rate was not counted: it is below one in all the pairs,
            or no threshold that a score can reach has it.
        """
        if self.one_source is None or not one_source:
            found = self.rates.threshold_at(far)
        else:
            found = self._mixed_threshold(far, one_source)
        if found is not None:
            return found
        lowest = self.lowest_counted(one_source=one_source)
        raise ThresholdError(
            f"a FAR of {far:g} is too low: with {self.n_nonmatching_pairs:,} pairs, {self.data} "
            f"measures rates down to {rounded_up(lowest)}. Give --far {rounded_up(lowest)}, run "
            "audit calibrate on more music, or give --threshold."
        )

    def _mixed_threshold(self, far: float, one_source: float) -> float | None:
        """Return the lowest threshold at which the mixture has a rate, by bisection."""
        low, high = self.operating_points[0].threshold, 1.0
        if self.far_at(high, one_source=one_source)[0] > far:
            return None
        if self.far_at(low, one_source=one_source)[0] <= far:
            return low
        while high - low > _STEP:
            middle = 0.5 * (low + high)
            if self.far_at(middle, one_source=one_source)[0] <= far:
                high = middle
            else:
                low = middle
        return high

    def lowest_counted(self, *, one_source: float = 0.0) -> float:
        """Return the lowest FAR that was counted: at least one in all the pairs."""
        lowest = self.rates.lowest_counted()
        if self.one_source is None or not one_source:
            return lowest
        return (1.0 - one_source) * lowest + one_source * self.one_source.lowest_counted()

    def counted_length(self, duration_s: float | None) -> float | None:
        """Return of how long copies the figures are that hold for a submission.

        Parameters
        ----------
        duration_s : float or None
            Of the submission; None for a whole track.

        Returns
        -------
        float or None
            The greatest length counted that is not above that of the submission; None for whole
            tracks, from ``WHOLE_S`` on and where nothing else was counted; 0 where all are longer.
        """
        if duration_s is None or duration_s >= WHOLE_S or not self.lengths:
            return None
        fitting = (one.duration_s for one in self.lengths if one.duration_s <= duration_s + _LOST_S)
        return max(fitting, default=0.0)

    def detection(self, threshold: float, duration_s: float | None = None) -> tuple[Detection, ...]:
        """Return how likely copies are to be found at a threshold, by alteration.

        Alterations whose copies' scores are not in the file are left out.  Parameters are those of
        ``counted_length``.
        """
        counted_s = self.counted_length(duration_s)
        of_length = {one.duration_s: one.recalls for one in self.lengths}
        found = []
        for recall in self.recalls if counted_s is None else of_length.get(counted_s, ()):
            if recall.scores:
                n_found = sum(score >= threshold for score in recall.scores)
                low, high = wilson_interval(n_found, recall.n_copies)
                found.append(
                    Detection(
                        recall.alteration, recall.n_copies, n_found, round(low, 4), round(high, 4)
                    )
                )
        return tuple(found)


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
                f"{show_path(path)} is larger than 4 MiB, the limit for a threshold file."
            )
        return _parse(path.read_bytes())
    except OSError as error:
        raise ThresholdError(f"{show_path(path)} cannot be read: {error.strerror}.") from None
    except _OldFormatError:
        raise ThresholdError(
            f"{show_path(path)} comes from an older version and does not name its scorer. Run "
            "audit calibrate again, or remove the file to use the default threshold."
        ) from None
    except (ValueError, RecursionError) as error:
        raise ThresholdError(
            f"{show_path(path)} is not a threshold file: {error}. Run: audit calibrate"
        ) from None


class _OldFormatError(Exception):
    pass


@functools.lru_cache(maxsize=16)  # a run opens the same few files two or three times
def _parse(content: bytes) -> Thresholds:
    data = parse_json(content)
    if isinstance(data, dict) and data.get("format") in _WITHOUT_SCORER:
        raise _OldFormatError
    return from_json(Thresholds, data, where="thresholds")


def save_thresholds(thresholds: Thresholds, path: str | os.PathLike[str]) -> Path:
    """Write a threshold file, replacing what is there in one step.

    Raises
    ------
    ThresholdError
        If it cannot be written.
    """
    path = Path(path)
    text = _NUMBERS.sub(_on_one_line, json.dumps(to_json(thresholds), indent=1)) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode())
    except OSError as error:
        raise ThresholdError(
            f"{show_path(path)} cannot be written: {error.strerror or error}. "
            "Free some space or fix the permissions, or give another --output."
        ) from None
    return path


def find_thresholds(
    weights_id: str,
    directories: Sequence[Path],
    *,
    scorer: str,
    damaged: list[Path] | None = None,
) -> tuple[Thresholds, Path] | None:
    """Return the first calibration of a scorer and of weights, in the order of the folders.

    Where there is none of this precision, it is one of the same weights in float32.

    Parameters
    ----------
    weights_id : str
    directories : sequence of pathlib.Path
    scorer : str
        Id of the scoring model.
    damaged : list of pathlib.Path, optional
        If given, files that cannot be used are passed over and added to it.

    Raises
    ------
    ThresholdError
        If a file of those folders is damaged, or was counted with another version of the scorer,
        and ``damaged`` is not given.
    """
    other: tuple[Thresholds, Path] | None = None
    for directory in directories:
        for path in sorted(directory.glob("*.json")) if directory.is_dir() else ():
            try:
                thresholds = load_thresholds(path)
                of_weights = thresholds.weights_id in (weights_id, float32_weights_id(weights_id))
                if not of_weights or not same_model(thresholds.scorer, scorer):
                    continue
                check_scorer(thresholds, path, scorer)
            except ThresholdError:
                if damaged is None:
                    raise
                damaged.append(path)
                continue
            if thresholds.weights_id == weights_id:
                return thresholds, path
            other = other or (thresholds, path)
    return other


def same_model(scorer: str, other: str) -> bool:
    """Return whether two ids are of one scoring model, in whatever versions.

    Examples
    --------
    >>> same_model("match/1", "match/2"), same_model("match/1", "cosine/1")
    (True, False)
    """
    return scorer.partition("/")[0] == other.partition("/")[0]


def check_scorer(thresholds: Thresholds, path: Path, scorer: str) -> None:
    """Raise ThresholdError unless rates were counted with the scorer of an id."""
    if thresholds.scorer != scorer:
        raise ThresholdError(
            f"{show_path(path)} was calibrated for the scorer {thresholds.scorer!r:.60}; "
            f"{scorer!r} is in use. Run: audit calibrate"
        )
