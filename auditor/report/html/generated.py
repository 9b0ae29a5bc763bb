"""What the template of generated music is given beside what it shares with a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditor.errors import show_text
from auditor.records import GeneratedOutput, GeneratedResult, Repeat, Track, find_track
from auditor.report.html.cases import Row
from auditor.report.html.tracks import TrackView, track_view
from auditor.report.text.general import show_duration, show_score
from auditor.report.text.generated import (
    duplicates_line,
    excess_rows,
    excluded_words,
    power_rows,
    repeat_changes,
    side_rows,
)

N_SHOWN = 200
"""Rows of each table; the JSON and the CSV beside the page have them all."""


@dataclass(frozen=True)
class PassageView:
    """A passage of an output; ``row`` is that of its case, counted from 0, -1 for none."""

    when: str
    track: TrackView
    in_track: str
    changes: str
    score: str
    counted: bool
    row: int


@dataclass(frozen=True)
class OutputView:
    """An output with what it repeats."""

    track: TrackView
    sha256: str
    columns: tuple[tuple[str, str], ...]
    repeats: str
    share: str
    passages: tuple[PassageView, ...]


def generated_view(result: GeneratedResult, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the variables of the template that only generated music has.

    Parameters
    ----------
    result : GeneratedResult
    rows : sequence of (Pair, Track, Track)
        In the order of the page.

    Raises
    ------
    ResultError
        If a passage names a track that the result does not list.
    """
    tracks = {track.id: track for track in result.tracks}
    place = {(pair.a, pair.b): i for i, (pair, _, _) in enumerate(rows)}
    of_output: dict[str, list[Repeat]] = {}
    for one in result.repeats:
        of_output.setdefault(one.output, []).append(one)
    ordered = sorted(result.outputs, key=lambda one: (-one.training_s, -one.heldout_s))
    repeating = [one for one in ordered if one.training_s > 0.0 or one.heldout_s > 0.0]
    headings, power = power_rows(result)
    return {
        "statement": result.statement,
        "twice": duplicates_line(result),
        "side_rows": side_rows(result),
        "excess_rows": excess_rows(result),
        "segment_s": f"{result.segment_s:g}",
        "step_s": f"{result.step_s:g}",
        "n_repeating": len(repeating),
        "repeating": [
            _output(one, tracks, of_output.get(one.track, []), place) for one in repeating[:N_SHOWN]
        ],
        "n_quiet": len(ordered) - len(repeating),
        "n_repeated": len(result.repeated),
        "repeated": [
            (
                track_view(find_track(tracks, one.track)),
                f"{one.n_outputs:,}",
                show_duration(one.repeated_s),
                [track_view(find_track(tracks, i)) for i in one.copies[:N_SHOWN]],
                excluded_words(one),
            )
            for one in result.repeated[:N_SHOWN]
        ],
        "power_headings": headings,
        "power_rows": power,
    }


def _output(
    output: GeneratedOutput,
    tracks: dict[str, Track],
    repeats: Sequence[Repeat],
    place: dict[tuple[str, str], int],
) -> OutputView:
    track = find_track(tracks, output.track)
    share = output.training_s / track.duration_s if track.duration_s else 0.0
    columns = tuple((show_text(k), show_text(v)) for k, v in output.columns.items() if v)
    passages = [
        (
            one.side,
            PassageView(
                when=f"{show_duration(one.start_s)}–{show_duration(one.end_s)}",
                track=track_view(find_track(tracks, one.track)),
                in_track=f"{show_duration(one.track_start_s)}–{show_duration(one.track_end_s)}",
                changes=repeat_changes(one),
                score=show_score(one.score),
                counted=one.counted,
                row=place.get((one.output, one.track), -1) if one.side == "training" else -1,
            ),
        )
        for one in repeats[:N_SHOWN]
    ]
    passages.sort(key=lambda pair: pair[0] == "heldout")
    return OutputView(
        track=track_view(track),
        sha256=track.sha256,
        columns=columns,
        repeats=show_duration(output.training_s),
        share=f"{100 * min(1.0, share):.0f} %",
        passages=tuple(passage for _, passage in passages),
    )
