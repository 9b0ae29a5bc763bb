"""What the template of leaks is given beside what it shares with a scan."""

from __future__ import annotations

from typing import Any

from auditor.errors import show_text
from auditor.records import LeakResult, Pair, Track, find_track
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.text.evidence import best_range
from auditor.report.text.general import show_count, show_duration, show_score
from auditor.report.text.leaks import leak_kinds, split_rows

N_SHOWN = 200
"""Rows of each table; the JSON beside the page has them all."""


def leak_view(result: LeakResult) -> dict[str, Any]:
    """Return the variables of the template that only leaks have.

    Raises
    ------
    ResultError
        If a group names a track that the result does not list.
    """
    listed = {track.id: track for track in result.tracks}
    groups = [group for group in result.groups if group.leak]
    return {
        "split_rows": split_rows(result),
        "first_split": result.splits[0].name if result.splits else "",
        "leak_kinds": leak_kinds(result),
        "n_groups": len(groups),
        "leak_groups": [
            (
                number,
                ", ".join(group.splits),
                show_count(len(group.tracks), "file"),
                show_score(group.highest_score),
                [(result.split_of.get(i, ""), _view(listed, i)) for i in group.tracks[:N_SHOWN]],
            )
            for number, group in enumerate(groups[:N_SHOWN], start=1)
        ],
        "listed_twice": [
            (_view(listed, track_id), ", ".join(splits))
            for track_id, splits in list(result.listed_twice.items())[:N_SHOWN]
        ],
        "n_duplicates": len(result.duplicates),
        "duplicates": [_duplicate(result, listed, pair) for pair in result.duplicates[:N_SHOWN]],
        "n_held": len(result.held),
        "held": [
            (_view(listed, one.track), one.split, _seconds(one.held_s), _seconds(one.duration_s))
            for one in result.held[:N_SHOWN]
        ],
        "n_same_track": len(result.same_track),
        "same_track": [
            (
                show_text(" – ".join(filter(None, (clips.artist, clips.title, clips.album)))),
                [(result.split_of.get(i, ""), _view(listed, i)) for i in clips.tracks[:N_SHOWN]],
            )
            for clips in result.same_track[:N_SHOWN]
        ],
    }


def _view(listed: dict[str, Track], track_id: str) -> TrackView:
    return track_view(find_track(listed, track_id))


def _duplicate(
    result: LeakResult, listed: dict[str, Track], pair: Pair
) -> tuple[str, str, str, TrackView, TrackView, str]:
    split = result.split_of.get(pair.a, "")
    a, b = _view(listed, pair.a), _view(listed, pair.b)
    return split, show_score(pair.score), pair.verdict, a, b, best_range(pair)


def _seconds(seconds: float) -> str:
    return show_duration(seconds)
