"""What outputs of a model repeat as compositions: the same piece, whatever recording it is.

Each output is compared with the tracks of either side by the composition match
(``scoring.composition``), at one false alarm rate for all pairs of both sides.  A piece that is on
both sides, in whatever recording, counts on neither.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auditor.api.compare import SideFiles
from auditor.api.excess import CountedSide, Repeated, measure_excess
from auditor.api.run import Options
from auditor.decisions.apply import apply_to_compositions
from auditor.parallel import OnProgress
from auditor.records import (
    CompositionMatch,
    Compositions,
    CompositionVerdict,
    Excess,
    NotComparable,
    Track,
)
from auditor.scoring.composition import (
    LOOSEST_FAR,
    MAX_CHANCE_SHARE,
    ComparableTracks,
    CompositionReader,
    open_rates,
    search_track,
)
from auditor.workspace import Workspace

N_LISTED = 40
"""Lines of one output and side that are looked at."""


@dataclass(frozen=True)
class CompositionRepeats:
    """What outputs repeat as compositions.

    Attributes
    ----------
    compositions : Compositions
        Outputs with training tracks, of files.
    excess : tuple of Excess
    """

    compositions: Compositions
    excess: tuple[Excess, ...]


def find_compositions(
    workspace: Workspace,
    files: Sequence[SideFiles],
    tracks: Mapping[str, Track],
    sides: tuple[CountedSide, CountedSide],
    *,
    options: Options,
    limits: Sequence[float],
    max_false: float,
    seed: int,
    on_track: OnProgress | None = None,
    on_output: OnProgress | None = None,
) -> CompositionRepeats:
    """Return what outputs repeat as compositions, beyond held-out music.

    Parameters
    ----------
    workspace : Workspace
        Opened for writing.
    files : sequence of SideFiles
        Outputs, training music, held-out music.
    tracks : mapping of id to Track
    sides : tuple of CountedSide
        What counts of training and held-out music.
    options : Options
    limits : sequence of float
        Seconds of a piece from which an output counts.
    max_false : float
        Pairs of both sides that chance may raise in all.
    seed : int
        Of the intervals.
    on_track, on_output : callables, optional
        Progress of reading pitches, and of outputs.
    """
    every = sorted({content for side in files for content in side.by_content})
    outputs = sorted(files[0].by_content)
    n_pairs = len(outputs) * sum(len(side.by_content) for side in files[1:])
    max_far = min(LOOSEST_FAR, max_false / max(1, n_pairs))
    excluded: list[NotComparable] = []
    found: tuple[list[CompositionMatch], list[CompositionMatch]] = ([], [])
    with contextlib.closing(CompositionReader(workspace)) as reader:
        reader.bring_up_to_date([tracks[i] for i in every], on_track=on_track)
        rates = open_rates(reader.model.id, workspace.threshold_directories)
        comparable = [_comparable(reader, side, tracks) for side in files[1:]]

        def matches(content: str, side: int) -> Compositions:
            sha256 = tracks[content].sha256
            return search_track(
                reader,
                (content, sha256, reader.stored(sha256)),
                comparable[side],
                known=lambda _a, _b: False,
                rates=rates,
                max_chance_share=1.0,
                n_listed=N_LISTED,
            )

        n_compared, note, source = 0, "", ""
        for n_done, output in enumerate(outputs, start=1):
            problem = reader.stored(tracks[output].sha256).problem
            if problem:
                excluded.append(NotComparable(files[0].by_content[output][0], problem))
            for side in () if problem else (0, 1):
                listed = matches(output, side)
                n_compared += listed.n_compared
                note, source = listed.note, listed.source
                found[side].extend(m for m in listed.matches if _counts(m, max_far))
            if on_output is not None:
                on_output(n_done, len(outputs))
        on_both: set[str] = set()
        for side in (0, 1):
            for content in sorted({match.b for match in found[side]}):
                others = matches(content, 1 - side).matches
                shared = {m.b for m in others if _counts(m, max_far)}
                on_both |= shared | ({content} if shared else set())
        model_id = reader.model.id
    counted = tuple(
        dataclasses.replace(
            side, source_of={c: s for c, s in side.source_of.items() if c not in on_both}
        )
        for side in sides
    )
    repeated = _seconds(found[0]), _seconds(found[1])
    lines = _of_files(found[0], files, workspace, tracks, options)
    return CompositionRepeats(
        Compositions(
            lines,
            max((line.chance_share or 0.0 for line in lines), default=0.0) or MAX_CHANCE_SHARE,
            n_pairs,
            n_compared,
            model_id,
            source,
            tuple(excluded),
            note,
        ),
        tuple(
            measure_excess(
                outputs,
                repeated,
                (counted[0], counted[1]),
                min_s=min_s,
                what="composition",
                seed=seed,
            )
            for min_s in limits
        ),
    )


def _comparable(
    reader: CompositionReader, side: SideFiles, tracks: Mapping[str, Track]
) -> ComparableTracks:
    id_of = {tracks[content].sha256: content for content in side.by_content}
    contents = [
        (sha256, summaries)
        for sha256, problem, summaries in reader.store.rows()
        if sha256 in id_of and not problem
    ]
    return ComparableTracks(contents, id_of, "")


def _counts(match: CompositionMatch, max_far: float) -> bool:
    same = match.verdict == CompositionVerdict.SAME_COMPOSITION
    return same and match.far is not None and match.far <= max_far


def _seconds(matches: Sequence[CompositionMatch]) -> Repeated:
    seconds: dict[str, dict[str, float]] = {}
    for match in matches:
        seconds.setdefault(match.a, {})[match.b] = match.a_end_s - match.a_start_s
    return seconds


def _of_files(
    matches: Sequence[CompositionMatch],
    files: Sequence[SideFiles],
    workspace: Workspace,
    tracks: Mapping[str, Track],
    options: Options,
) -> tuple[CompositionMatch, ...]:
    """Return lines of contents as those of their first files, best first, with decisions."""
    made = [
        dataclasses.replace(
            match,
            a=files[0].by_content[match.a][0],
            b=files[1].by_content[match.b][0],
            flagged=True,
        )
        for match in matches
    ]
    made.sort(key=lambda match: (-match.score, match.a, match.b))
    n_pairs = len(files[0].by_content) * len(files[1].by_content)
    for place, match in enumerate(made):
        expected = (match.far or 0.0) * n_pairs
        made[place] = dataclasses.replace(
            match,
            expected_by_chance=expected,
            chance_share=min(1.0, expected / (place + 1)),
            chance_share_low=None,
            chance_share_high=None,
        )
    decisions = workspace.catalogue.decisions()
    return apply_to_compositions(tuple(made), tracks, decisions, options.same_owner)
