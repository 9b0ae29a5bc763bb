"""The timeline of a mix in words: times, changes of tempo and pitch, crossfades, gaps."""

from __future__ import annotations

import re

from auditor.errors import show_text
from auditor.records import MixEntry, MixGap, Track, TracklistResult, find_track
from auditor.report.text.general import show_count, show_duration

FRAMES_PER_S = 75
"""Frames of a second in a CUE sheet."""


def timeline_headline(result: TracklistResult) -> str:
    """Return what was found in a mix, in one line.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> mix = SimpleNamespace(duration_s=3600.0)
    >>> none = SimpleNamespace(submissions=(mix,), entries=(), gaps=(), n_tracks=50)
    >>> timeline_headline(none)
    'No track of the catalogue (50 tracks) was found in a mix of 1:00:00'
    """
    mix = show_duration(result.submissions[0].duration_s)
    catalogue = f"the catalogue ({show_count(result.n_tracks, 'track')})"
    n_tracks = len({entry.track for entry in result.entries})
    if not n_tracks:
        return f"No track of {catalogue} was found in a mix of {mix}"
    verb = "was" if n_tracks == 1 else "were"
    return f"{show_count(n_tracks, 'track')} of {catalogue} {verb} found in a mix of {mix}"


def entry_changes(entry: MixEntry) -> str:
    """Return how tempo and pitch of an entry differ from the track; empty if they do not.

    Examples
    --------
    >>> entry = MixEntry("x", 0.0, 60.0, 0.0, 63.0, 1.05, 0.84, 0.9, 0.0, ())
    >>> entry_changes(entry)
    'tempo +5.0 %, pitch +0.8'
    """
    said = []
    if abs(entry.tempo - 1.0) >= 0.005:
        said.append(f"tempo {100 * (entry.tempo - 1.0):+.1f} %")
    if entry.pitch_semitones is not None and abs(entry.pitch_semitones) >= 0.1:
        said.append(f"pitch {entry.pitch_semitones:+.1f}")
    return ", ".join(said).replace("-", "−")


def timeline_rows(
    result: TracklistResult,
) -> list[tuple[float, MixEntry | MixGap, Track | None]]:
    """Return entries and gaps in order of time, with the second each begins at and its track.

    Raises
    ------
    ResultError
        If an entry names a track that the result does not list.
    """
    tracks = {track.id: track for track in result.tracks}
    rows: list[tuple[float, MixEntry | MixGap, Track | None]] = [
        (entry.start_s, entry, find_track(tracks, entry.track)) for entry in result.entries
    ]
    rows += [(gap.start_s, gap, None) for gap in result.gaps]
    return sorted(rows, key=lambda row: row[0])


def timeline_lines(result: TracklistResult) -> list[str]:
    """Return the timeline as lines of text."""
    lines = []
    for start_s, one, track in timeline_rows(result):
        when = f"{show_duration(start_s):>8}–{show_duration(one.end_s):<8}"
        if isinstance(one, MixGap) or track is None:
            lines.append(f"{when} no track of the catalogue")
            continue
        facts = [f"from {show_duration(one.track_start_s)}", entry_changes(one)]
        if one.overlap_s >= 1.0:
            facts.append(f"{one.overlap_s:.0f} s with the next")
        if one.alternatives:
            facts.append(show_count(len(one.alternatives), "alternative"))
        lines.append(f"{when} {show_text(track.label)} ({'; '.join(filter(None, facts))})")
    return lines


def to_cue(result: TracklistResult) -> str:
    """Return the timeline as a CUE sheet: one TRACK for each entry, with its start in the mix.

    Quotation marks and controls in tags become plain signs, since the format has no escapes.
    """
    mix = result.submissions[0]
    name = mix.path.rsplit("/", 1)[-1]
    kind = "WAVE" if name.lower().endswith((".wav", ".aiff", ".flac")) else "MP3"
    lines = [f'TITLE "{_plain(mix.title or name)}"', f'FILE "{_plain(name)}" {kind}']
    tracks = {track.id: track for track in result.tracks}
    for number, entry in enumerate(result.entries, start=1):
        track = find_track(tracks, entry.track)
        title = track.title or track.path.rsplit("/", 1)[-1]
        lines += [f"  TRACK {number:02} AUDIO", f'    TITLE "{_plain(title)}"']
        if track.artist:
            lines.append(f'    PERFORMER "{_plain(track.artist)}"')
        lines.append(f"    INDEX 01 {cue_time(entry.start_s)}")
    return "\r\n".join(lines) + "\r\n"


def cue_time(seconds: float) -> str:
    """Return a time as CUE sheets write it: minutes, seconds, frames.

    Examples
    --------
    >>> cue_time(3725.2)
    '62:05:15'
    """
    frames = round(seconds * FRAMES_PER_S)
    minutes, rest = divmod(frames, 60 * FRAMES_PER_S)
    return f"{minutes:02}:{rest // FRAMES_PER_S:02}:{rest % FRAMES_PER_S:02}"


def _plain(text: str) -> str:
    return re.sub(r'["\x00-\x1f]+', "'", show_text(text))
