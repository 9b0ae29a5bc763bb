"""Tracks and pairs as the text of table rows, for the templates and for the page's script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.records import Pair, Track
from auditor.wording import (
    pair_badges,
    show_count,
    show_duration,
    show_score,
    show_text,
    track_badges,
    track_facts,
)

TRACK_FIELDS = (
    "Id",
    "Title",
    "Artist",
    "Album",
    "Date",
    "Genre",
    "Licence",
    "Duration",
    "Duration declared",
    "Codec",
    "Container",
    "Sample rate",
    "Channels",
    "Bit rate",
    "Size",
    "Path",
    "SHA-256",
    "Tags from",
    "Condition",
)
"""Rows of the table that holds both tracks of a pair side by side."""


@dataclass(frozen=True)
class TrackView:
    """One track as text; ``values`` goes with ``TRACK_FIELDS``."""

    label: str
    facts: str
    path: str
    badges: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class PairView:
    """One row of a table of pairs."""

    score: str
    flagged: bool
    badges: tuple[str, ...]
    a: TrackView
    b: TrackView
    note: str = ""


def track_view(track: Track) -> TrackView:
    """Return a track as text."""
    badges = track_badges(track)
    values = (
        track.id,
        track.title,
        track.artist,
        track.album,
        track.date,
        " / ".join(track.genres) or track.genre,
        track.licence,
        f"{show_duration(track.duration_s)} ({track.duration_s:,.2f} s)",
        "" if track.declared_s is None else f"{track.declared_s:,.2f} s",
        track.codec,
        track.container,
        f"{track.sample_rate_hz:,} Hz",
        str(track.n_channels),
        "" if track.bit_rate is None else f"{track.bit_rate / 1000:,.0f} kbit/s",
        f"{show_count(track.size, 'byte')}",
        track.path,
        track.sha256,
        track.source,
        ", ".join(badges) or "whole",
    )
    return TrackView(
        label=show_text(track.label),
        facts=track_facts(track),
        path=show_text(track.path),
        badges=badges,
        values=tuple(show_text(value) or "–" for value in values),
    )


def pair_view(
    pair: Pair, a: Track, b: Track, views: tuple[TrackView, TrackView], *, sides: tuple[str, str]
) -> PairView:
    """Return a pair as one row; ``sides`` names its tracks in the badges."""
    badges = pair_badges(pair, a, b, sides=sides)
    note = show_text(" / ".join(pair.decision_note.splitlines()))
    badges = (*badges, f"pair {pair.pair_id}") if pair.pair_id else badges
    return PairView(show_score(pair.score), pair.flagged, badges, *views, note)


def pairs_data(
    pairs: Sequence[Pair],
    pair_views: Sequence[PairView],
    tracks: dict[str, Track],
    views: dict[str, TrackView],
) -> dict[str, Any]:
    """Return what the script builds rows from; tracks are named by their place in ``tracks``."""
    place = {track_id: i for i, track_id in enumerate(tracks)}
    return {
        "tracks": [
            [views[i].label, views[i].facts, track.duration_s, views[i].values]
            for i, track in tracks.items()
        ],
        "pairs": [
            [view.score, place[pair.a], place[pair.b], view.badges, view.note]
            for pair, view in zip(pairs, pair_views, strict=True)
        ],
    }
