"""What a scoring model is: what goes in, what comes out, and the one place that picks one."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from auditor.calibration.choose import RunThreshold
from auditor.catalogue.embedding_table import TrackTable
from auditor.errors import UsageError
from auditor.evidence.side import Side
from auditor.ingest.submissions import Submission
from auditor.parallel import OnProgress, Tiles
from auditor.records import Evidence, Pair, ThresholdUse, Track, TrackEmbedding
from auditor.scoring import SCORERS
from auditor.search.across import TwoSides
from auditor.workspace import Workspace

if TYPE_CHECKING:
    from auditor.embedding.extractor import Extractor


@dataclass(frozen=True)
class ScoredPair:
    """A pair and what a scorer says of it, before any threshold.

    Attributes
    ----------
    a, b : str
        Ids.
    similarity : float
        Cosine of the embeddings.
    evidence : Evidence or None
        None from a scorer that has none.
    score : float
    """

    a: str
    b: str
    similarity: float
    evidence: Evidence | None
    score: float


@dataclass(frozen=True)
class ScoringResult:
    """The pairs of a run that a scorer wants shown, and how many it compared.

    Attributes
    ----------
    pairs : list of Pair
    n_compared : int
        Pairs whose score was computed.
    recall : float or None
        Estimated share of the true pairs that an index proposed; None for an exact search.
    histogram : dict
        ``edges`` and ``counts`` of all scores; may be empty.
    examined : tuple of (str, str, float)
        Ids and scores of the examined pairs of which something matches; empty where nothing was
        calibrated on such scores (``check --wide``), and from a scorer that examines no pairs.
    cosines : dict
        The same of the cosines of all embeddings; empty where not all were computed.
    similar_from : float
        Cosine from which pairs are flagged or sound alike.
    left_out : str
        How many pairs are not among ``pairs`` although they reach the threshold, as a sentence.
    damaged : dict
        Ids of tracks that were not examined since their stored rows are damaged, and what is wrong.
    """

    pairs: list[Pair]
    n_compared: int
    recall: float | None = None
    histogram: dict[str, tuple[float, ...]] = field(default_factory=dict)
    examined: tuple[tuple[str, str, float], ...] = ()
    cosines: dict[str, tuple[float, ...]] = field(default_factory=dict)
    similar_from: float = 1.0
    left_out: str = ""
    damaged: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunContext:
    """What every scorer needs to know of a run.

    Attributes
    ----------
    threshold : RunThreshold
    use : ThresholdUse
        Its threshold for the comparisons of this run.
    search : "exact" or "annoy"
        How the nearest embeddings are found.
    submissions : mapping of id to RunContext
        Of a check: each submission has a threshold of its own, see ``of``.
    wide_cost : float
        What a score is lowered by that a submission does not reach as it is (``check --wide``).
    """

    threshold: RunThreshold
    use: ThresholdUse
    search: str = "exact"
    submissions: Mapping[str, RunContext] = field(default_factory=dict)
    wide_cost: float = 0.0

    def of(self, track_id: str) -> RunContext:
        """Return what holds for the pairs of a submission: its own threshold, if it has one."""
        return self.submissions.get(track_id, self)

    @functools.cached_property
    def similar_from(self) -> float:
        """Cosine that unrelated tracks reach as seldom as the threshold of the run."""
        return self.threshold.similar_from(self.use)


class Scorer(Protocol):
    """A scoring model of the tracks of a workspace.

    Attributes
    ----------
    id : str
        Name and version, such as ``match/1``; stands in threshold files, and rates that were
        counted with another one are refused.
    lowest : float
        No budget sets a lower threshold.
    similarity : str
        Id of the scorer whose calibration says from which cosine tracks sound alike; empty if it
        is this one.
    max_calibrated : int or None
        Tracks whose pairs a calibration can afford to score; None for any number.
    asks_wide : bool
        Whether a check also examines submissions as they were heard at other pitches and tempos.
    """

    id: ClassVar[str]
    lowest: ClassVar[float]
    similarity: ClassVar[str]
    max_calibrated: ClassVar[int | None]
    asks_wide: ClassVar[bool]

    def __init__(self, workspace: Workspace) -> None: ...

    @property
    def weights_id(self) -> str:
        """Weights whose scores these are; stands in threshold files."""

    @staticmethod
    def fits(extractor: Extractor) -> bool:
        """Say whether the model can score what an extractor makes."""

    def scan(
        self,
        ids: list[str],
        embeddings: np.ndarray,
        tracks: Mapping[str, Track],
        *,
        run: RunContext,
        tiles: Tiles,
        on_pair: OnProgress | None = None,
    ) -> ScoringResult:
        """Return the pairs of one track of each content; embeddings are (n, n_dims) float32."""

    def compare(
        self,
        ids: list[str],
        embeddings: np.ndarray,
        tracks: Mapping[str, Track],
        *,
        sides: TwoSides,
        run: RunContext,
        tiles: Tiles,
        by_spectra: Sequence[TwoSides] = (),
        on_pair: OnProgress | None = None,
    ) -> ScoringResult:
        """Return the pairs across two sides of a catalogue, the left track first.

        ``ids`` and ``embeddings`` are those of the whole catalogue, as in ``scan``.  Left tracks of
        ``by_spectra`` also look for right ones by what their spectra have in common, where the
        model has spectra.
        """

    def check(
        self,
        submissions: Sequence[Submission],
        table: TrackTable,
        tracks: Mapping[str, Track],
        *,
        run: RunContext,
    ) -> ScoringResult:
        """Return the pairs of submissions with the catalogue: the flagged ones and the nearest.

        What is said of a submission follows from ``run.of(its id)``, not from the others.
        """

    def pair(self, a: Side, b: Side) -> ScoredPair:
        """Return the score of one pair."""

    def judge(self, pair: ScoredPair, tracks: Mapping[str, Track], run: RunContext) -> Pair:
        """Return a pair with its verdict."""

    def side(self, track_id: str) -> Side:
        """Return a track of the catalogue as a side of a pair."""

    def side_of_copy(
        self, copy: TrackEmbedding, *, duration_s: float, spectrum: np.ndarray | None
    ) -> Side:
        """Return a track that is not stored as a side of a pair; spectrum is uint8."""

    def matrix(
        self,
        ids: Sequence[str],
        *,
        wanted: np.ndarray | None = None,
        tiles: Tiles | None = None,
        on_pair: OnProgress | None = None,
    ) -> tuple[np.ndarray, dict[tuple[str, str], Evidence]]:
        """Return the scores of all pairs, (n, n) float64, symmetric; and evidence by ids.

        The diagonal says nothing.  Only evidence with ranges is returned.  Where ``wanted`` is
        given, (n, n) bool, of each two rows in order, other pairs may be left out and score 0.
        """


def scorer_of(extractor: Extractor, name: str = "") -> type[Scorer]:
    """Return the scoring model of a name, by default the first of ``SCORERS`` that fits.

    Raises
    ------
    UsageError
        If the model does not fit the extractor.
    """
    for candidate in (name,) if name else SCORERS:
        model: type[Scorer] = importlib.import_module(SCORERS[candidate]).Scorer
        if model.fits(extractor):
            return model
    raise UsageError(
        f"--score {name} does not fit the extractor {extractor.name}. Give another --score, such "
        "as embedding-cosine, or another --extractor."
    )


def open_scorer(workspace: Workspace, name: str = "") -> Scorer:
    """Return the scorer of a name, or the one that flags pairs in a workspace (``scorer_of``)."""
    return scorer_of(workspace.extractor, name)(workspace)
