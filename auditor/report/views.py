"""What the templates are given: the result's numbers as text, in the order the page shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from auditor.records import (
    CheckResult,
    RecommendResult,
    Result,
    ScanResult,
)
from auditor.report import chart
from auditor.report.rows import (
    TRACK_FIELDS,
    PairView,
    TrackView,
    pair_view,
    pairs_data,
    track_view,
)
from auditor.wording import (
    comparison_gaps,
    count_set_aside,
    false_alarm_rate,
    false_pairs,
    find_track,
    headline,
    is_set_aside,
    not_wholly_compared,
    pairs_with_tracks,
    show_budget,
    show_compared,
    show_count,
    show_score,
    show_search,
    submission_verdict,
)

N_STATIC_PAIRS = 200
"""Pairs in the HTML itself, for readers without scripts; the others are in the JSON block."""

N_OPEN = 12
"""Clusters shown at once, and tracks of one cluster; the others unfold."""


@dataclass(frozen=True)
class ClusterView:
    """One cluster with its tracks."""

    n_tracks: str
    highest_score: str
    tracks: tuple[TrackView, ...]


@dataclass(frozen=True)
class SubmissionView:
    """One submission of a check: its verdict, its flagged pairs, its nearest unflagged one.

    ``set_aside`` holds the pairs that were decided not to matter.
    """

    track: TrackView
    verdict: str
    flagged: bool
    pairs: tuple[PairView, ...]
    set_aside: tuple[PairView, ...] = ()


@dataclass(frozen=True)
class Tile:
    """One number of the summary."""

    label: str
    value: str
    note: str = ""
    accent: bool = False


def page_view(result: Result) -> dict[str, Any]:
    """Return the variables of the template of the result's kind.

    Raises
    ------
    ResultError
        If a pair or cluster names a track that the result does not list, or the histogram is
        not consistent.
    """
    view: dict[str, Any] = {
        "headline": headline(result),
        "created": result.provenance.created,
        "fields": TRACK_FIELDS,
        "provenance": _provenance(result),
        "tiles": (),
        "skipped": (),
        "notes": (),
    }
    if isinstance(result, RecommendResult):
        return view | _recommend_view(result)
    use = result.threshold
    view |= {
        "threshold": show_score(use.threshold),
        "threshold_known": use.expected_false_pairs is not None,
        "false_pairs": false_pairs(use, result.n_pairs_compared),
        "false_alarm_rate": false_alarm_rate(use),
        "n_compared": show_compared(result),
        "skipped": result.skipped,
        "notes": (use.note,) if use.note else (),
        "tiles": _tiles(result),
    }
    return view | (_check_view(result) if isinstance(result, CheckResult) else _scan_view(result))


def _scan_view(result: ScanResult) -> dict[str, Any]:
    rows = sorted(
        pairs_with_tracks(result),
        key=lambda row: (not row[0].licences_differ, -row[0].score, row[0].a, row[0].b),
    )
    listed = {track.id: track for track in result.tracks}
    in_clusters = [
        [find_track(listed, track_id) for track_id in cluster.tracks] for cluster in result.clusters
    ]
    shown = {track.id: track for _, a, b in rows for track in (a, b)}
    shown |= {track.id: track for tracks in in_clusters for track in tracks}
    views = {track_id: track_view(track) for track_id, track in shown.items()}
    set_aside = [
        pair_view(pair, a, b, (views[a.id], views[b.id]), sides=("A", "B"))
        for pair, a, b in rows
        if is_set_aside(pair)
    ]
    rows = [row for row in rows if not is_set_aside(row[0])]
    pairs = [
        pair_view(pair, a, b, (views[a.id], views[b.id]), sides=("A", "B")) for pair, a, b in rows
    ]
    filled = chart.bins(result.histogram)
    threshold = result.threshold.threshold
    return {
        "pairs": pairs[:N_STATIC_PAIRS],
        "n_pairs": len(pairs),
        "set_aside": set_aside,
        "set_aside_count": count_set_aside(result.pairs),
        "pairs_data": pairs_data([pair for pair, _, _ in rows], pairs, shown, views),
        "clusters": [
            ClusterView(
                n_tracks=show_count(len(tracks), "track"),
                highest_score=show_score(cluster.highest_score),
                tracks=tuple(views[track.id] for track in tracks),
            )
            for cluster, tracks in zip(result.clusters, in_clusters, strict=True)
        ],
        "n_open": N_OPEN,
        "gaps": [
            (track_view(track), comparison_gaps(track))
            for track in not_wholly_compared(result.tracks)
        ],
        "charts": [chart.draw(filled, threshold, width=w) for w in (1040, 350)] if filled else [],
        "bins": [(show_score(low), show_score(high), f"{n:,}") for low, high, n in filled],
    }


def _check_view(result: CheckResult) -> dict[str, Any]:
    pairs: dict[str, list[PairView]] = {track.id: [] for track in result.submissions}
    set_aside: dict[str, list[PairView]] = {track.id: [] for track in result.submissions}
    rows = pairs_with_tracks(result)
    for pair, a, b in sorted(rows, key=lambda row: (not row[0].flagged, -row[0].score, row[0].b)):
        views = (track_view(a), track_view(b))
        listed = set_aside if is_set_aside(pair) else pairs
        listed[a.id].append(pair_view(pair, a, b, views, sides=("submission", "track")))
    submissions = []
    for track in result.submissions:
        n_flagged = sum(pair.flagged for pair in pairs[track.id])
        submissions.append(
            SubmissionView(
                track=track_view(track),
                verdict=submission_verdict(track, n_flagged, len(set_aside[track.id])),
                flagged=n_flagged > 0,
                pairs=tuple(pairs[track.id]),
                set_aside=tuple(set_aside[track.id]),
            )
        )
    return {"submissions": submissions}


def _recommend_view(result: RecommendResult) -> dict[str, Any]:
    return {
        "notes": result.notes,
        "query": [(name.replace("_", " "), ", ".join(ids)) for name, ids in result.query.items()],
        "recommendations": [
            (track_view(answer.track), show_score(answer.score), answer.nearest_to)
            for answer in result.recommendations
        ],
    }


def _tiles(result: ScanResult | CheckResult) -> tuple[Tile, ...]:
    n_flagged = sum(pair.flagged for pair in result.pairs)
    n_truncated = sum(track.truncated for track in result.tracks)
    compared = Tile("Pairs compared", f"{result.n_pairs_compared:,}", show_search(result))
    tracks = Tile("Tracks", f"{result.n_tracks:,}")
    flagged = Tile("Pairs flagged", f"{n_flagged:,}", accent=n_flagged > 0)
    skipped = Tile("Files skipped", f"{len(result.skipped):,}")
    if isinstance(result, CheckResult):
        n_truncated = sum(track.truncated for track in result.submissions)
        submissions = Tile("Submissions", f"{len(result.submissions):,}")
        truncated = Tile("Truncated", f"{n_truncated:,}", "of the submissions")
        return (submissions, flagged, tracks, compared, skipped, truncated)
    clusters = Tile("Clusters", f"{len(result.clusters):,}")
    truncated = Tile("Truncated", f"{n_truncated:,}")
    return (tracks, compared, flagged, clusters, skipped, truncated)


def _provenance(result: Result) -> list[tuple[str, str]]:
    made = result.provenance
    rows = [
        ("Command", made.command),
        ("Created", made.created),
        ("Version", f"audit {made.version}"),
        ("Extractor", made.extractor),
        ("Weights", made.weights_id),
        ("Workspace", made.workspace),
        ("Platform", made.platform),
        ("Time taken", f"{made.seconds:,.1f} s" if made.seconds else ""),
    ]
    if not isinstance(result, RecommendResult):
        use = result.threshold
        rows += [
            ("Threshold", show_score(use.threshold)),
            ("Threshold from", use.source),
            ("False alarm rate", false_alarm_rate(use)),
            ("Error budget", show_budget(use)),
            ("Expected false pairs", false_pairs(use, result.n_pairs_compared)),
        ]
    return [(name, value) for name, value in rows if value]
