"""``--wide``: tracks heard at other pitches and tempos, and what that costs of a budget.

Half of a budget is for the tracks as they are, half for all that is compared beside.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.calibration.choose import RunThreshold
from auditor.catalogue.embedding_table import TrackTable
from auditor.embedding.config import DEFAULT_EXTRACTOR, wide_retunings
from auditor.errors import UsageError
from auditor.evidence.match_score import MIN_SCORE_TO_SHOW
from auditor.parallel import OnProgress, Tiles
from auditor.records import Pair, Skipped, ThresholdUse, Track
from auditor.scoring.base import RunContext, Scorer
from auditor.scoring.identical import SameFiles
from auditor.scoring.wide_scan import best_of_both, files_to_hear, hear_tracks
from auditor.workspace import Workspace


def require_wide(workspace: Workspace, scorer: Scorer) -> None:
    """Refuse ``--wide`` where the extractor has no other ways to hear.

    Raises
    ------
    UsageError
        If it does not tell what is played when, or its bands are not on a log-frequency axis.
    """
    if not (scorer.asks_wide and workspace.extractor.config.is_log):
        raise UsageError(
            f"--wide needs an extractor that tells what is played when, and whose bands are on a "
            f"log-frequency axis; {workspace.extractor.name} is none. Leave it out, or give "
            f"--extractor {DEFAULT_EXTRACTOR}."
        )


def cost_of_other_ways(
    threshold: RunThreshold,
    use: ThresholdUse,
    n_comparisons: int,
    n_one_source: int,
    *,
    planned: int | None = None,
) -> float:
    """Return what scores are lowered by that only other ways of hearing reach.

    Half of a budget is for all of them, and each has its part of that: the threshold of so many
    comparisons is as much higher.

    Parameters
    ----------
    threshold : RunThreshold
        Of a budget.
    use : ThresholdUse
        Its threshold for the comparisons of the tracks as they are.
    n_comparisons, n_one_source, planned
        Twice those of the other ways, see ``RunThreshold.choose``.
    """
    others = threshold.choose(n_comparisons, n_one_source, planned=planned)
    return max(0.0, others.threshold - use.threshold)


@dataclass(frozen=True)
class WideScan:
    """What a scan found besides of tracks that were heard otherwise.

    Attributes
    ----------
    pairs : tuple of Pair
        Flagged.
    skipped : tuple of Skipped
        Files that could not be heard again.
    damaged : dict
        See ``ScoringResult``.
    n_comparisons, n_one_source : int
        Comparisons that were made, and those of tracks of one source.
    note : str
        What is to be said of it, a sentence or two.
    """

    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...]
    damaged: dict[str, str]
    n_comparisons: int
    n_one_source: int
    note: str

    def among(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Return these pairs with those of the tracks as they are, which give way to them."""
        these = {(pair.a, pair.b) for pair in self.pairs}
        return [pair for pair in pairs if (pair.a, pair.b) not in these] + list(self.pairs)


def scan_wide(
    workspace: Workspace,
    scorer: Scorer,
    table: TrackTable,
    tracks: Mapping[str, Track],
    found: Sequence[Pair],
    *,
    run: RunContext,
    same: SameFiles,
    sources: Sequence[str],
    has_budget: bool,
    tiles: Tiles,
    on_track: OnProgress | None = None,
) -> WideScan:
    """Hear the tracks otherwise that no flagged pair explains, and ask the catalogue.

    Parameters
    ----------
    workspace, scorer : Workspace, Scorer
    table : TrackTable
        One track of each content; files of the same bytes do not explain each other.
    tracks : mapping of id to Track
    found : sequence of Pair
        What was found of the tracks as they are.
    run : RunContext
        Its threshold is for half of a budget, if there is one.
    same : SameFiles
    sources : sequence of str
        Of each track of the table (``catalogue.sources``).
    has_budget : bool
    tiles : Tiles
        On this machine.
    on_track : callable, optional
        Called with the tracks that are done and all of them.
    """
    explained = {track_id for pair in found if pair.flagged for track_id in (pair.a, pair.b)}
    ids = table.tracks.names()
    unexplained = [tracks[track_id] for track_id in ids if track_id not in explained]
    files, skipped = files_to_hear(workspace, unexplained, same)
    source_of = dict(zip(ids, sources, strict=True))
    n_of_source = Counter(sources)
    n = n_one_source = n_most = 0
    for track, *_ in files:
        n_ways = len(wide_retunings(track.duration_s)) + 1  # and a search for passages of seconds
        n += n_ways * (len(ids) - 1)
        n_one_source += n_ways * (n_of_source[source_of[track.id]] - 1)
        n_most = max(n_most, n_ways)
    cost = 0.0
    if has_budget and n:
        cost = cost_of_other_ways(run.threshold, run.use, 2 * n, 2 * n_one_source)
    heard = hear_tracks(
        workspace,
        files,
        table,
        shown_from=min(MIN_SCORE_TO_SHOW, run.use.threshold),
        tiles=tiles,
        on_track=on_track,
    )
    skipped += [one.skipped for one in heard if one.skipped is not None]
    best = best_of_both([pair for one in heard for pair in one.pairs])
    lowered = (dataclasses.replace(pair, score=pair.score - cost) for pair in best)
    judged = (scorer.judge(pair, tracks, run) for pair in lowered)
    return WideScan(
        tuple(pair for pair in judged if pair.flagged),
        tuple(skipped),
        {track_id: said for one in heard for track_id, said in one.damaged.items()},
        n,
        n_one_source,
        _note(len(files) + len(skipped), len(skipped), n_most, cost if has_budget else None),
    )


def _note(n_unexplained: int, n_skipped: int, n_ways: int, cost: float | None) -> str:
    if not n_unexplained:
        return "Each track has a flagged pair, so none was heard at other pitches and tempos."
    said = (
        f"{n_unexplained - n_skipped:,} tracks without a flagged pair were also heard at other "
        f"pitches and tempos, and searched for passages of seconds (--wide), in up to {n_ways} ways"
    )
    if cost is None:
        said += ": each is a further comparison."
    else:
        said += (
            f": they have half of the budget, and scores that only they reach are lowered by "
            f"{cost:.2f}."
        )
    if n_skipped:
        said += f" {n_skipped:,} further ones could not be: see the files that were skipped."
    return said
