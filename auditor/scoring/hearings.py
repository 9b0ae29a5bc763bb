"""A submission asked as it is and as it was heard at other pitches and tempos (``check --wide``).

Each way is examined as a submission of its own, and what it finds is told in the submission's own
time and pitch.  Of each track the highest score of all ways counts.  So many ways are so many
comparisons: what a submission as it is does not tell counts by as much less as keeps the budget.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from auditor.embedding.config import Retuning
from auditor.evidence.alignment.ranges import covered_s
from auditor.ingest.submissions import Submission
from auditor.records import Evidence
from auditor.scoring.base import ScoredPair

SURE = 0.7
"""Match score from which a way is sure."""


def ways_of(query: Submission) -> list[Submission]:
    """Return a submission as it is, and one for each way it was heard, ids told apart."""
    ways = [dataclasses.replace(query, hearings=())]
    for n, hearing in enumerate(query.hearings, 1):
        track = dataclasses.replace(
            query.track, id=f"{query.track.id}~{n}", sha256="", duration_s=hearing.duration_s
        )
        ways.append(
            Submission(
                query.path,
                track,
                hearing.made.embedding,
                hearing.made.dvectors,
                hearing.made.levels,
                hearing.spectrum,
                query.own_id,
            )
        )
    return ways


def best_of_ways(
    pairs: Iterable[ScoredPair], queries: Sequence[Submission], costs: Mapping[str, float]
) -> tuple[ScoredPair, ...]:
    """Return the best pair of each submission and track, told in the submission's own time.

    Parameters
    ----------
    pairs : iterable of ScoredPair
    queries : sequence of Submission
    costs : mapping of id to float
        What is taken off the scores that a submission reaches as it was heard otherwise; 0 where
        it is not named.
    """
    asked = {
        way.track.id: (query, retuning)
        for query in queries
        for way, retuning in zip(
            ways_of(query),
            [Retuning(), *(hearing.retuning for hearing in query.hearings)],
            strict=True,
        )
    }
    best: dict[tuple[str, str], ScoredPair] = {}
    highest: dict[tuple[str, str], float] = {}
    charged = []
    for pair in pairs:
        query, retuning = asked[pair.a]
        cost = costs.get(query.track.id, 0.0) if retuning != Retuning() else 0.0
        charged.append(dataclasses.replace(pair, score=pair.score - cost) if cost else pair)
    for pair in sorted(charged, key=_how_sure):
        query, retuning = asked[pair.a]
        key = query.track.id, pair.b
        highest[key] = max(highest.get(key, -2.0), pair.score)
        if key in best:
            continue
        evidence = pair.evidence
        if evidence is not None and retuning != Retuning():
            evidence = as_submitted(evidence, retuning, query.track.duration_s)
        best[key] = dataclasses.replace(pair, a=key[0], evidence=evidence)
    chosen = (dataclasses.replace(pair, score=highest[key]) for key, pair in best.items())
    return tuple(sorted(chosen, key=lambda pair: (-pair.score, pair.a, pair.b)))


def _how_sure(pair: ScoredPair) -> tuple[float, float, str, str]:
    """Return what pairs are sorted by, the surest first.

    Notes an octave apart have partials in common, so that more than one way may be sure: the
    spectra tell which is right.
    """
    ranges = pair.evidence.ranges if pair.evidence is not None else ()
    correlation = (ranges[0].correlation or 0.0) if ranges else 0.0
    return -min(pair.score, SURE), -correlation, pair.a, pair.b


def as_submitted(evidence: Evidence, retuning: Retuning, duration_s: float) -> Evidence:
    """Return evidence of a submission that was heard otherwise, in its own time and pitch.

    Parameters
    ----------
    evidence : Evidence
        Its a is the submission as it was heard.
    retuning : Retuning
    duration_s : float
        Of the submission.
    """
    ranges = tuple(
        dataclasses.replace(
            found,
            a_start_s=min(found.a_start_s / retuning.tempo + retuning.skip_s, duration_s),
            a_end_s=min(found.a_end_s / retuning.tempo + retuning.skip_s, duration_s),
            tempo=found.tempo * retuning.tempo,
            pitch_semitones=None
            if found.pitch_semitones is None
            else found.pitch_semitones + retuning.semitones,
        )
        for found in evidence.ranges
    )
    return dataclasses.replace(
        evidence,
        ranges=ranges,
        share_a=covered_s([(r.a_start_s, r.a_end_s) for r in ranges]) / max(duration_s, 1e-3),
        tempo=ranges[0].tempo if ranges else 1.0,
    )
