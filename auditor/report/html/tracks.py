"""Tracks as text: their names, and every field for the table of both tracks of a pair."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.errors import show_text
from auditor.records import Provenance, Track
from auditor.report.text.credentials import show_credentials
from auditor.report.text.general import (
    show_count,
    show_duration,
    show_streams,
    track_badges,
    track_facts,
)
from auditor.report.text.identifiers import show_identifiers

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
    "Label",
    "Identifiers",
    "C2PA",
)
"""Rows of the table that holds both tracks of a pair side by side."""


def provenance_rows(made: Provenance) -> list[tuple[str, str]]:
    """Return what made a result, the time it took last; values may be empty."""
    return [
        ("Command", made.command),
        ("Created", made.created),
        ("Version", f"audit {made.version}"),
        ("Extractor", made.extractor),
        ("Weights", made.weights_id),
        ("Workspace", made.workspace),
        ("Platform", made.platform),
        ("Time taken", f"{made.seconds:,.1f} s" if made.seconds else ""),
    ]


@dataclass(frozen=True)
class TrackView:
    """One track as text; ``values`` goes with ``TRACK_FIELDS``, ``brief`` tells whose it is."""

    label: str
    facts: str
    path: str
    badges: tuple[str, ...]
    values: tuple[str, ...]
    brief: tuple[str, ...] = ("", "")


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
        f"{show_duration(track.duration_s)} ({track.duration_s:,.2f} s){show_streams(track)}",
        "" if track.declared_s is None else f"{track.declared_s:,.2f} s",
        track.codec,
        track.container,
        f"{track.sample_rate_hz:,} Hz",
        f"{track.n_channels}{f' ({track.downmix})' if track.downmix else ''}",
        "" if track.bit_rate is None else f"{track.bit_rate / 1000:,.0f} kbit/s",
        f"{show_count(track.size, 'byte')}",
        track.path,
        track.sha256,
        track.source,
        ", ".join(badges) or "whole",
        track.record_label,
        show_identifiers(track.identifiers),
        show_credentials(track.c2pa),
    )
    return TrackView(
        label=show_text(track.label),
        facts=track_facts(track),
        path=show_text(track.path),
        badges=badges,
        values=tuple(show_text(value) or "–" for value in values),
        brief=_brief(track),
    )


def _brief(track: Track) -> tuple[str, ...]:
    """Return release date and licence, then what the file is, as two lines."""
    released = f"released {track.date}" if track.date else "no release date"
    licence = f"licence: {track.licence}" if track.licence else "no licence"
    rate = f"{track.bit_rate / 1000:,.0f} kbit/s" if track.bit_rate else ""
    file = (show_duration(track.duration_s), track.codec, rate)
    lines = ((released, licence), filter(None, file))
    return tuple(show_text(" · ".join(line)) for line in lines)
