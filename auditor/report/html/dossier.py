"""The dossier: the first cases in full, for readers without scripts and for print.

The media of the other cases stand in the page as well, inert, for the page's dialog.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from auditor.catalogue.decisions import MAX_BY, MAX_NOTE
from auditor.records import DECISION_KEYS, DecisionKind, Detection, Verdict
from auditor.report.html.cases import CaseView, MediaLookup, Row, blank_case, with_media
from auditor.report.text.evidence import UNHEARD_MEANING
from auditor.report.text.general import show_kind

N_DOSSIER = 50
"""Cases in full in the HTML itself."""

_FIRST = (DecisionKind.CONFIRMED, DecisionKind.FALSE_ALARM)
KINDS = tuple(
    (kind.value, show_kind(kind).capitalize(), DECISION_KEYS[kind], kind.meaning)
    for kind in sorted(DecisionKind, key=lambda kind: (kind not in _FIRST, not kind.flagged))
)
"""What can be decided in the page: kind, what the button says, key, what it means."""


def dossier_view(
    rows: Sequence[Row], cases: Sequence[CaseView], shelf: MediaLookup
) -> dict[str, Any]:
    """Return the flagged and the decided cases in full, and the media of all others.

    Parameters
    ----------
    rows : sequence of (Pair, Track, Track)
    cases : sequence of CaseView
        The same pairs in the same order, what is to be decided first.
    shelf : MediaLookup
    """
    both = zip(cases, rows, strict=True)
    wanted = [(case, row) for case, row in both if case.flagged or case.decision]
    dossier = [with_media(case, row, shelf) for case, row in wanted[:N_DOSSIER]]
    in_full = {case.number for case in dossier}
    others = [case for case in cases if case.number not in in_full]
    further = [(case.number, shelf.pair(rows[case.number - 1][0])) for case in others]
    heard = [(number, media) for number, media in further if media.clips or media.matrix]
    return {
        "dossier": dossier,
        "dossier_numbers": in_full,
        "further_media": heard,
        "blank": blank_case(),
        "kinds": KINDS,
        "max_note": MAX_NOTE,
        "max_by": MAX_BY,
        "verdict_meanings": [(name.capitalize(), said) for name, said in _meanings(cases)],
    }


def detection_view(detection: Sequence[Detection]) -> list[tuple[str, str, str, str]]:
    """Return alteration, share found, its 95 % interval, and counts, as text; – if not measured."""
    rows = []
    for kind in detection:
        if not kind.n_copies:
            rows.append((kind.alteration, "not measured", "–", "–"))
            continue
        share = kind.n_found / kind.n_copies
        interval = f"{_per_cent(kind.low)}–{_per_cent(kind.high)} %"
        found = f"{kind.n_found:,} of {kind.n_copies:,}"
        rows.append((kind.alteration, f"{_per_cent(share)} %", interval, found))
    return rows


def _per_cent(share: float) -> str:
    text = f"{100.0 * share:.1f}"
    return text.removesuffix(".0")


def _meanings(cases: Sequence[CaseView]) -> list[tuple[str, str]]:
    """Return the meaning of every verdict; of a high score only where a case has no verdict."""
    meanings = [(verdict.value, verdict.meaning) for verdict in Verdict]
    if any(case.verdict == "high score" for case in cases):
        meanings.append(("high score", UNHEARD_MEANING))
    return meanings
