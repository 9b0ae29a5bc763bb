"""Pairs as cases: what one reads, hears and sees of a pair before deciding it.

A case is a row of a table, a section of the dossier that is printed, and what the page's dialog
shows.  The first two are made here for the templates, the third by ``case_data`` for the script.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from auditor.errors import show_text
from auditor.records import MatchedRange, Pair, Track
from auditor.report.html.shapes import (
    Line,
    Mark,
    Ribbon,
    draw_lines,
    draw_ribbon,
    draw_ruler,
    draw_wave,
    raise_peaks,
    thin_peaks,
)
from auditor.report.html.tracks import TRACK_FIELDS, TrackView, track_view
from auditor.report.media.model import Clip, Media, PairMedia, TrackMedia
from auditor.report.text.error_rates import pair_meaning
from auditor.report.text.evidence import (
    FACT_NOTES,
    FACTS,
    coding_words,
    evidence_facts,
    show_times,
    verdict_name,
    verdict_sentence,
    what_differs,
)
from auditor.report.text.general import (
    is_set_aside,
    pair_badges,
    show_decider,
    show_duration,
    show_kind,
    show_score,
)
from auditor.scoring.originals import which_first

N_COLOURS = 6
"""Colours of ranges, taken in turn; every range has its number too."""

GROUPS = ("flagged", "decided", "not flagged")
"""Kinds of cases in the order of the page; the second were flagged until somebody decided them."""

Row = tuple[Pair, Track, Track]
_NO_TRACK = TrackMedia("")

NO_MEDIA = "No clips: this page was rendered without a .media.json file, or none were made."


@dataclass(frozen=True)
class ClipView:
    """A clip as the source of an audio element, and where it lies in its track, in seconds."""

    range: int
    side: str
    start_s: float
    end_s: float
    source: str


@dataclass(frozen=True)
class MediaView:
    """Clips and matrix of a pair, as data URLs; ``lacking`` says which clips are not there, why."""

    clips: tuple[ClipView, ...] = ()
    matrix: str = ""
    matrix_a_s: float = 0.0
    matrix_b_s: float = 0.0
    lacking: str = ""


@dataclass(frozen=True)
class RangeView:
    """A matched range; ``number`` counts from 1, ``colour`` from 0."""

    number: int
    colour: int
    in_a: str
    in_b: str
    changed: str
    ribbon: Ribbon
    clips: tuple[ClipView, ...] = ()


@dataclass(frozen=True)
class SideView:
    """One track of a case: its texts, its waveform as an SVG path, where its file lies.

    ``place`` is ``link`` as one reads it.
    """

    track: TrackView
    wave: str = ""
    n_peaks: int = 0
    end: str = ""
    ruler: tuple[Mark, ...] = ()
    link: str = ""
    place: str = ""


@dataclass(frozen=True)
class CaseView:
    """One case; ``number`` counts from 1 in the order of the page, ``cluster`` may be empty.

    ``group`` is one of ``GROUPS``.  ``said`` is the finding, ``coded`` how both files are coded,
    ``origin`` which of them was first.
    ``decided`` says who decided and when.  A fact is its name, what that means, and its value.
    """

    number: int
    group: str
    pair_id: str
    score: str
    verdict: str
    said: str
    coded: str
    meaning: str
    flagged: bool
    badges: tuple[str, ...]
    decision: str
    decided: str
    note: str
    cluster: str
    origin: str
    a: SideView
    b: SideView
    facts: tuple[tuple[str, str, str], ...]
    ranges: tuple[RangeView, ...] = ()
    media: MediaView = MediaView()
    matrix_a: str = ""
    matrix_b: str = ""
    lines: tuple[Line, ...] = ()

    @property
    def cells(self) -> dict[str, str]:
        """Texts of a row, by the ``data-f`` of their elements; the script fills rows with them."""
        title = self.verdict[:1].upper() + self.verdict[1:]
        return {"score": self.score, "title": title, "said": self.said}


@dataclass(frozen=True)
class MediaLookup:
    """Media of a result, found by track id and by the ids of a pair."""

    tracks: Mapping[str, TrackMedia]
    pairs: Mapping[tuple[str, str], PairMedia]

    @classmethod
    def of(cls, media: Media | None) -> MediaLookup:
        """Return the media of a result, or an empty shelf."""
        return cls(media.by_track(), media.by_pair()) if media else cls({}, {})

    def pair(self, pair: Pair) -> MediaView:
        """Return what there is to hear and see of a pair."""
        found = self.pairs.get((pair.a, pair.b))
        if found is None:
            has_ranges = pair.evidence is not None and pair.evidence.ranges
            return MediaView(lacking=NO_MEDIA if has_ranges else "")
        return MediaView(
            clips=tuple(clip_view(clip) for clip in found.clips),
            matrix=f"data:image/png;base64,{found.matrix}" if found.matrix else "",
            matrix_a_s=found.matrix_a_s,
            matrix_b_s=found.matrix_b_s,
            lacking=show_text(found.lacking),
        )

    def track(self, track_id: str) -> TrackMedia:
        """Return the waveform and the link of a track; both empty where there are none."""
        return self.tracks.get(track_id, _NO_TRACK)


def case_order(row: Row) -> tuple[object, ...]:
    """Return a key that sorts by ``GROUPS``, then by licences and score."""
    pair, a, b = row
    group = GROUPS.index(case_group(pair))
    return group, not pair.licences_differ, -pair.score, a.id, b.id


def case_group(pair: Pair) -> str:
    """Return which of ``GROUPS`` a pair belongs to."""
    return "decided" if is_set_aside(pair) else "flagged" if pair.flagged else "not flagged"


def case_view(
    number: int,
    row: Row,
    *,
    sides: tuple[str, str],
    n_counted: int | None = None,
    cluster: str = "",
    suggested: str = "",
    new: bool = False,
) -> CaseView:
    """Return a pair as a case, without its media: a row of a table needs none.

    Parameters
    ----------
    number : int
        Place in the page, from 1.
    row : (Pair, Track, Track)
    sides : (str, str)
        What the tracks are called in badges.
    n_counted : int or None
        Unrelated pairs that were counted (``records.ThresholdUse``).
    cluster : str
        Name of the cluster that holds both tracks; empty for none.
    suggested : str
        Which track of the cluster was probably the original, and why; empty where nobody knows.
    new : bool
        Whether the last scan did not flag it.
    """
    pair, a, b = row
    return CaseView(
        number=number,
        group=case_group(pair),
        pair_id=pair.pair_id,
        score=show_score(pair.score),
        verdict=verdict_name(pair),
        said=verdict_sentence(pair),
        coded=coding_words(pair, a, b),
        meaning=pair_meaning(pair, n_counted),
        flagged=pair.flagged,
        badges=(*(("new",) if new else ()), *_badges(pair, a, b, sides)),
        decision=show_kind(pair.decision),
        decided=show_decider(pair),
        note=show_text(" / ".join(pair.decision_note.splitlines())),
        cluster=cluster,
        origin=_origin(row, suggested),
        a=SideView(track_view(a)),
        b=SideView(track_view(b)),
        facts=_facts(evidence_facts(pair)),
    )


def with_media(case: CaseView, row: Row, shelf: MediaLookup) -> CaseView:
    """Return a case with its ranges drawn, its waveforms, clips and matrix, for the dossier."""
    pair, a, b = row
    media = shelf.pair(pair)
    ranges = pair.evidence.ranges if pair.evidence else ()
    return dataclasses.replace(
        case,
        a=_side(case.a.track, a, shelf.track(a.id)),
        b=_side(case.b.track, b, shelf.track(b.id)),
        ranges=tuple(_range(i, heard, a, b, media.clips) for i, heard in enumerate(ranges)),
        media=media,
        matrix_a=show_duration(media.matrix_a_s) if media.matrix else "",
        matrix_b=show_duration(media.matrix_b_s) if media.matrix else "",
        lines=draw_lines(ranges, media.matrix_a_s, media.matrix_b_s) if media.matrix else (),
    )


def blank_case() -> CaseView:
    """Return the case whose markup the page's script fills in."""
    side = SideView(TrackView("", "", "", (), ("",) * len(TRACK_FIELDS)))
    return CaseView(
        *(0, "", "", "", "", "", "", "", True, (), "", "", "", "", "", side, side),
        facts=_facts(("",) * len(FACTS)),
    )


def _origin(row: Row, suggested: str) -> str:
    """Return which way a match was copied, as far as anything tells."""
    pair, a, b = row
    if case_group(pair) == GROUPS[2]:
        return ""
    return show_text(f"{which_first(a, b)} {suggested}".strip())


def _facts(values: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    return tuple((name, FACT_NOTES.get(name, ""), v) for name, v in zip(FACTS, values, strict=True))


def _badges(pair: Pair, a: Track, b: Track, sides: tuple[str, str]) -> tuple[str, ...]:
    said = verdict_name(pair)
    return tuple(badge for badge in pair_badges(pair, a, b, sides=sides) if badge != said)


def _side(view: TrackView, track: Track, media: TrackMedia) -> SideView:
    peaks = raise_peaks(thin_peaks(media.peaks))
    return SideView(
        track=view,
        wave=draw_wave(peaks),
        n_peaks=len(peaks),
        end=show_duration(track.duration_s),
        ruler=draw_ruler(track.duration_s),
        link=media.link,
        place=show_text(unquote(media.link)),
    )


def _range(
    place: int, heard: MatchedRange, a: Track, b: Track, clips: Sequence[ClipView]
) -> RangeView:
    return RangeView(
        number=place + 1,
        colour=place % N_COLOURS,
        in_a=show_times(heard.a_start_s, heard.a_end_s),
        in_b=show_times(heard.b_start_s, heard.b_end_s),
        changed=what_differs(heard),
        ribbon=draw_ribbon(heard, a.duration_s, b.duration_s),
        clips=tuple(clip for clip in clips if clip.range == place),
    )


def clip_view(clip: Clip) -> ClipView:
    """Return a clip as the source of an audio element."""
    mime = clip.mime.replace("; ", ";")
    source = f"data:{mime};base64,{clip.audio}"
    return ClipView(clip.range, clip.side, clip.start_s, clip.end_s, source)
