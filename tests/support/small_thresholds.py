"""A calibration by hand, with and without a tail, for the tests of thresholds and their choice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auditor.calibration.choose import RunThreshold, ThresholdOptions
from auditor.calibration.rates import OperatingPoint
from auditor.calibration.tail import Tail
from auditor.calibration.thresholds import AlterationRecall, Thresholds
from auditor.records import ThresholdUse
from auditor.serialisation import to_json

WEIGHTS = "0a1b2c3d"
OTHERS = "ffffffff"
POINTS = (
    OperatingPoint(0.5, 0.1, 0.08, 0.12),
    OperatingPoint(0.7, 0.01, 0.005, 0.02),
    OperatingPoint(0.9, 0.0, 0.0, 0.004),
)
RECALL = to_json(AlterationRecall("mp3, 32 kbit/s", 10, 9, 0.6, 0.98))


def make(**changes) -> Thresholds:
    values = {
        "weights_id": WEIGHTS,
        "extractor": "track",
        "threshold": 0.7,
        "target_far": 0.01,
        "operating_points": POINTS,
        "recalls": (AlterationRecall(**RECALL),),
        "n_tracks": 60,
        "n_nonmatching_pairs": 1770,
        "n_set_aside_pairs": 3,
        "scorer": "cosine/1",
        "data": "tunes",
        "data_sha256": "0" * 64,
        "date": "2024-01-01",
        "version": "0.1.0",
        "command": "audit calibrate tunes/",
    }
    return Thresholds(**{**values, **changes})


TAIL = Tail(
    threshold=0.7,
    n_exceedances=177,
    n_scores=17700,
    shape=-0.25,
    scale=0.07,  # ends at 0.98
    bound=1.0,
    p_value=0.5,
    bootstrap=((-0.24, 0.07, 0.008), (-0.25, 0.07, 0.01), (-0.25, 0.072, 0.012)),
)
"""Begins at the second of ``POINTS``, where 1 % was counted."""


def make_tailed(**changes) -> Thresholds:
    return make(**{"tail": TAIL, "n_nonmatching_pairs": 17700, **changes})


def choose_threshold(
    weights_id: str,
    directories: Sequence[Path],
    *,
    scorer: str = "cosine/1",
    n_comparisons: int | None = None,
    n_one_source: int = 0,
    **options,
) -> ThresholdUse:
    """Return the threshold of a run with these options."""
    run = RunThreshold(weights_id, directories, scorer=scorer, options=ThresholdOptions(**options))
    return run.choose(n_comparisons, n_one_source)
