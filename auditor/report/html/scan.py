"""What the template of a scan is given: cases, clusters, histogram, tracks not wholly compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.errors import show_text
from auditor.records import (
    Cluster,
    CompareResult,
    GeneratedResult,
    IdenticalFiles,
    LeakResult,
    Pair,
    ScanResult,
    Track,
    find_track,
    pairs_with_tracks,
)
from auditor.report.html import histogram as chart
from auditor.report.html.case_json import cases_data
from auditor.report.html.cases import (
    GROUPS,
    CaseView,
    MediaLookup,
    Row,
    case_group,
    case_order,
    case_view,
)
from auditor.report.html.dossier import dossier_view
from auditor.report.html.generated import generated_view
from auditor.report.html.identifiers import identifiers_view
from auditor.report.html.leak import leak_view
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.text.evidence import (
    is_denied_pair,
    is_of_two_performances,
    matches_by_loop,
)
from auditor.report.text.general import (
    cluster_name,
    comparison_gaps,
    count_set_aside,
    identical_line,
    is_set_aside,
    new_pairs,
    not_wholly_compared,
    show_count,
    show_duration,
    show_score,
    since_line,
)
from auditor.scoring.originals import NOTHING_TELLS, first_released

N_STATIC_PAIRS = 200
"""Pairs in the HTML itself, for readers without scripts; the others are in the JSON block."""

N_STATIC_CLUSTERS = 200
"""Clusters in the HTML, the largest first; the table and the JSON hold the others, too."""

N_OPEN = 12
"""Clusters shown at once, and tracks of one cluster; the others unfold."""


@dataclass(frozen=True)
class ClusterView:
    """One cluster with its tracks; ``original`` is the label of the suggested one, or empty."""

    name: str
    n_tracks: str
    highest_score: str
    tracks: tuple[tuple[TrackView, bool], ...]
    original: str
    why: str


def scan_view(result: ScanResult, shelf: MediaLookup) -> dict[str, Any]:
    """Return the variables of the template of a scan.

    Raises
    ------
    ResultError
        If a pair or cluster names a track that the result does not list, or the histogram is
        not consistent.
    """
    listed = {track.id: track for track in result.tracks}
    clusters = [
        _cluster(cluster_name(number), cluster, listed)
        for number, cluster in enumerate(result.clusters[:N_STATIC_CLUSTERS], start=1)
    ]
    numbers = {
        track_id: number
        for number, cluster in enumerate(result.clusters, start=1)
        for track_id in cluster.tracks
    }
    new = new_pairs(result)
    rows = sorted(
        pairs_with_tracks(result),
        key=lambda row: (
            GROUPS.index(case_group(row[0])),
            row[0].pair_id not in new,
            case_order(row),
        ),
    )
    cases = [
        _case(number, row, _shared_cluster(row[0], numbers), result, new)
        for number, row in enumerate(rows, start=1)
    ]
    groups = {name: [case for case in cases if case.group == name] for name in GROUPS}
    flagged, set_aside, alike = (groups[name] for name in GROUPS)
    filled = chart.bins(result.histogram)
    threshold = result.threshold.threshold
    lines = result.compositions.matches if result.compositions is not None else ()
    leak = leak_view(result) if isinstance(result, LeakResult) else {}
    own = generated_view(result, rows) if isinstance(result, GeneratedResult) else leak
    return own | {
        "identical": [_identical(group, listed) for group in result.identical[:N_STATIC_CLUSTERS]],
        "since": since_line(result),
        "identical_line": identical_line(result),
        "n_identical": len(result.identical),
        "cases": flagged[:N_STATIC_PAIRS],
        "n_cases": len(flagged),
        "set_aside": set_aside[:N_STATIC_PAIRS],
        "set_aside_count": count_set_aside(result.pairs),
        "n_set_aside": len(set_aside),
        "alike": alike[:N_STATIC_PAIRS],
        "n_alike": len(alike),
        "alike_why": _why_alike([pair for pair, _, _ in rows if case_group(pair) == GROUPS[2]]),
        "cases_data": cases_data(result, rows, cases, shelf) if rows or lines else None,
        **dossier_view(rows, cases, shelf),
        "side_names": side_names(result),
        "clusters": clusters,
        "n_clusters": len(result.clusters),
        "n_open": N_OPEN,
        **identifiers_view(result),
        "gaps": [
            (track_view(track), comparison_gaps(track))
            for track in not_wholly_compared(result.tracks)
        ],
        "charts": [chart.draw(filled, threshold, width=w) for w in (1040, 350)] if filled else [],
        "collections": _collections(result),
        "reaching": _reaching(result),
        "bins": [(show_score(low), show_score(high), f"{n:,}") for low, high, n in filled],
    }


def side_names(result: ScanResult) -> tuple[str, str]:
    """Return what either track of a pair is called."""
    generated = isinstance(result, GeneratedResult)
    return ("A (output)", "B (training)") if generated else ("Track A", "Track B")


def _collections(result: ScanResult) -> list[tuple[str, str, str, str]]:
    """Return side, name, files and length of the collections that were compared; none of a scan."""
    if not isinstance(result, CompareResult):
        return []
    return [
        (
            side,
            show_text(collection.name),
            show_count(collection.n_tracks, "file"),
            show_duration(collection.duration_s),
        )
        for side, collection in zip("AB", result.collections, strict=False)
    ]


def _case(number: int, row: Row, cluster: int, result: ScanResult, new: frozenset[str]) -> CaseView:
    return case_view(
        number,
        row,
        sides=("A", "B"),
        n_counted=result.threshold.n_counted,
        cluster=cluster_name(cluster),
        suggested=_suggested(row, result.clusters[cluster - 1]) if cluster else "",
        new=row[0].flagged and row[0].pair_id in new,
    )


def _suggested(row: Row, cluster: Cluster) -> str:
    """Return the suggested original of a cluster, where it tells more than the dates of a pair."""
    _, a, b = row
    first, why = cluster.original, cluster.original_why
    side = {a.id: "track A", b.id: "track B"}.get(first, f"another track in the cluster, {first}")
    if not first or why == NOTHING_TELLS or (first in (a.id, b.id) and first_released(a, b)):
        return ""
    return f"Suggested original: {side}{f' ({why})' if why else ''}."


def _why_alike(pairs: Sequence[Pair]) -> str:
    """Return by what the pairs that are not flagged were picked from all others."""
    why = []
    alone = [
        pair
        for pair in pairs
        if not matches_by_loop(pair)
        and not is_denied_pair(pair)
        and not is_of_two_performances(pair)
    ]
    least = min((p.similarity for p in alone if p.similarity is not None), default=None)
    if least is not None:
        why.append(
            "their embeddings, which summarise how a whole track sounds, are unusually similar "
            f"({least:.2f} or more here, regardless of score)"
        )
    if any(map(matches_by_loop, pairs)):
        why.append("only a loop or a drone matches")
    if any(map(is_denied_pair, pairs)):
        why.append("the spectra of the aligned passages do not match")
    if any(map(is_of_two_performances, pairs)):
        why.append("the aligned passages are two performances of the same notes")
    return f"They are listed because {', or because '.join(why)}." if why else ""


def _reaching(result: ScanResult) -> str:
    """Return how many pairs of the histogram reach the threshold, and why not all are flagged."""
    high = [pair for pair in result.pairs if pair.score >= result.threshold.threshold]
    kinds = [("flagged", sum(pair.flagged for pair in high))]
    kinds.append(("set aside by a decision", sum(is_set_aside(pair) for pair in high)))
    left = [pair for pair in high if not pair.flagged and not is_set_aside(pair)]
    kinds.append(("with spectra that do not match", sum(map(is_denied_pair, left))))
    kinds.append(("two performances of the same notes", sum(map(is_of_two_performances, left))))
    kinds.append(("a loop or a drone", len(high) - sum(n for _, n in kinds)))
    counts = ", ".join(f"{n:,} {what}" for what, n in kinds if n)
    return f"{show_count(len(high), 'pair')} at or above the threshold: {counts}." if high else ""


def _shared_cluster(pair: Pair, numbers: dict[str, int]) -> int:
    number = numbers.get(pair.a, 0)
    return number if number == numbers.get(pair.b, 0) else 0


def _identical(group: IdenticalFiles, listed: dict[str, Track]) -> tuple[str, list[TrackView]]:
    """Return how many files a group of identical ones holds, and their tracks."""
    tracks = [track_view(find_track(listed, track_id)) for track_id in group.tracks]
    return show_count(len(tracks), "file"), tracks


def _cluster(name: str, cluster: Cluster, listed: dict[str, Track]) -> ClusterView:
    tracks = [find_track(listed, track_id) for track_id in cluster.tracks]
    known = cluster.original and cluster.original_why != NOTHING_TELLS
    original = find_track(listed, cluster.original) if known else None
    return ClusterView(
        name=name,
        n_tracks=show_count(len(tracks), "track"),
        highest_score=show_score(cluster.highest_score),
        tracks=tuple((track_view(track), track is original) for track in tracks),
        original=track_view(original).label if original else "",
        why=cluster.original_why,
    )
