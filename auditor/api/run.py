"""What a scan and a check have in common: options, and the threshold of the run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from auditor.calibration.choose import RunThreshold, ThresholdOptions
from auditor.decisions.apply import check_owner_tags
from auditor.errors import ThresholdError
from auditor.records import ThresholdUse
from auditor.scoring.base import Scorer
from auditor.scoring.composition import MAX_CHANCE_SHARE
from auditor.workspace import Workspace

SEARCHES = ("exact", "annoy")
MAX_FALSE_PAIRS, MAX_FALSE_ALARMS = 1.0, 0.01
"""Error budgets: false pairs to be expected of a whole scan, and of each submission of a check."""


@dataclass(frozen=True)
class Options:
    """How pairs are searched and flagged.

    Attributes
    ----------
    threshold, far, max_false : float, optional
        A score, a false alarm rate per pair, or the false pairs that a scan, or each submission of
        a check, may be expected to raise; at most one of them.  By default ``max_false`` is
        ``MAX_FALSE_PAIRS`` in a scan and ``MAX_FALSE_ALARMS`` in a check.
    search : "exact" or "annoy"
    threshold_file : pathlib.Path, optional
        A calibration named by hand.
    same_owner : tuple of str
        Tags of ``decisions.OWNER_TAGS``; a pair that shares one of them is not flagged.
    per_batch : bool
        Of a check: the budget is for all submissions together, so that the verdict of one depends
        on how many others there are.
    catalogue_size : int, optional
        Of a check: tracks that the budget is to hold for, so that the threshold does not rise while
        the catalogue grows to this size; by default the tracks that are there.
    wide : bool
        Of a check: submissions are also heard at other pitches and tempos
        (``embedding.config.WIDE_RETUNINGS``), and each way counts as a comparison.  Of a scan: so
        are the tracks that no flagged pair explains.  Of generated music: segments are also
        searched for passages of seconds.
    compositions : bool, optional
        Also look for the same piece in another recording (``scoring.composition``); by default a
        scan does for up to ``MAX_SCANNED`` tracks, since it compares the summaries of all pairs.
    max_chance_share : float
        Lines of that list are flagged down to this share of chance, above 0 and at most 1.

    Raises
    ------
    ThresholdError
        If more than one of the three numbers is given, or one is out of range; if
        ``catalogue_size`` is below 1, or is given without a budget; or if ``max_chance_share`` is
        out of range.
    ValueError
        If ``search`` or a tag is unknown.
    """

    threshold: float | None = None
    far: float | None = None
    search: str = "exact"
    threshold_file: Path | None = None
    same_owner: tuple[str, ...] = ()
    max_false: float | None = None
    per_batch: bool = False
    catalogue_size: int | None = None
    wide: bool = False
    compositions: bool | None = None
    max_chance_share: float = MAX_CHANCE_SHARE

    def __post_init__(self) -> None:
        if self.search not in SEARCHES:
            raise ValueError(f"search is {self.search!r}; it must be exact or annoy")
        check_owner_tags(self.same_owner)
        if not 0.0 < self.max_chance_share <= 1.0:
            raise ThresholdError(
                f"--max-chance-share is {self.max_chance_share}; a share lies in (0, 1]."
            )
        ThresholdOptions(self.threshold, self.far, self.max_false, self.threshold_file)
        if self.catalogue_size is not None and self.catalogue_size < 1:
            raise ThresholdError(
                f"--catalogue-size is {self.catalogue_size}; a catalogue has at least 1 track."
            )
        for option, value in (("--threshold", self.threshold), ("--far", self.far)):
            if value is not None and (self.per_batch or self.catalogue_size is not None):
                other = "--per-batch" if self.per_batch else "--catalogue-size"
                raise ThresholdError(
                    f"{other} says what a budget is for; {option} sets the threshold without a "
                    "budget. Give one of them."
                )

    def with_budget(self, max_false: float) -> Options:
        """Return these options with a budget, unless they set the threshold otherwise."""
        given = (self.threshold, self.far, self.max_false)
        chosen = any(value is not None for value in given)
        return self if chosen else dataclasses.replace(self, max_false=max_false)


def open_threshold(workspace: Workspace, scorer: Scorer, options: Options) -> RunThreshold:
    """Open the calibrations of a run; what they refuse, they refuse before anything is decoded.

    Raises
    ------
    ThresholdError
        See ``RunThreshold``.
    """
    given = ThresholdOptions(
        options.threshold, options.far, options.max_false, options.threshold_file
    )
    try:
        threshold = RunThreshold(
            workspace.weights_id,
            workspace.threshold_directories,
            scorer=scorer.id,
            options=given,
            lowest=scorer.lowest,
            similarity=scorer.similarity,
        )
    except ThresholdError:
        if given.file is not None or workspace.extractor.summary.get("classes") != "genre":
            raise
        raise ThresholdError(
            f"no threshold is calibrated for {workspace.extractor.name} ({workspace.weights_id}), "
            "which was trained on genres: tracks of one genre are no copies. Leave --extractor "
            "out; recommendations and the map need none. To embed with it, give --threshold 1."
        ) from None
    threshold.choose(1)
    return threshold


def with_note(use: ThresholdUse, note: str) -> ThresholdUse:
    """Return a threshold's use with a further sentence in front of its note; as it is without."""
    return dataclasses.replace(use, note=f"{note} {use.note}".strip()) if note else use
