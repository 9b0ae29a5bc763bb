"""``audit case``: one pair as evidence that stands alone, and the check of such a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    DebugOption,
    ExtractorOption,
    Precision,
    PrecisionOption,
    QuietOption,
    WorkspaceOption,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.errors import ResultError, UsageError, show_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from auditor.ingest.submissions import Submission
    from auditor.records import CheckResult, Pair, ScanResult, Track
    from auditor.report.case_file import CaseHearing, OpenedCase, SideArrays
    from auditor.report.media.model import Media
    from auditor.workspace import Workspace

EXAMPLES = """\b
Examples:
  audit case 5e9ae866
  audit case 5e9ae866 --output for-the-lawyer.zip
  audit case --verify case-5e9ae866.zip
  audit case --verify case-5e9ae866.zip --file a.mp3 --file b.mp3

Exit code: 0 written, or unchanged and replayed; 1 changed, or the replay differs; 2 error.
"""

EXIT_CHANGED = 1
_MAX_CLIP_BYTES = 32 << 20


def case(
    pair: Annotated[
        str,
        typer.Argument(
            metavar="PAIR",
            help="A pair id of the last scan or check (or of --result).",
            show_default=False,
        ),
    ] = "",
    result: Annotated[
        Path | None,
        typer.Option(
            "--result",
            metavar="FILE.json",
            help="Look the pair up in this scan or check instead of the last ones.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.zip",
            help="Where to write it; case-PAIR.zip by default.",
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            "--verify", metavar="FILE.zip", help="Check every byte of a case, and replay it."
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            metavar="AUDIO",
            help="With --verify: embed this recording of the case anew; repeatable.",
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write one pair as evidence that stands alone, or verify such a file.

    The ZIP file holds a page to print, both clips, and what is compared, with the SHA-256 of both
    recordings, of the weights, the calibration and the code. It can be verified and replayed
    without the catalogue and the recordings.
    """
    if bool(pair) == (verify is not None):
        raise UsageError("give either a pair id, or --verify FILE.zip.")
    if verify is not None:
        if result is not None or output is not None:
            raise UsageError("--result and --output cannot be combined with --verify.")
        if not _verify(verify, file or [], extractor=extractor, precision=precision):
            raise typer.Exit(EXIT_CHANGED)
        return
    if file:
        raise UsageError("--file requires --verify.")
    if output is not None and output.suffix.lower() != ".zip":
        raise UsageError(f"{show_path(output)}: a case is a ZIP file. Give a name ending in .zip.")
    target = output or Path(f"case-{pair}.zip")
    content = _make(pair, result, target, workspace, extractor=extractor, precision=precision)
    import hashlib

    from auditor.report.write import write_files

    write_files({target: content})
    digest = hashlib.sha256(content).hexdigest()
    print(f"{show_path(target)}  {len(content) / 1e6:.1f} MB  SHA-256 {digest}")
    if not quiet:
        print(f"verify it: audit case --verify {show_path(target)}", file=sys.stderr)


def _make(
    name: str,
    result: Path | None,
    target: Path,
    directory: Path | None,
    *,
    extractor: str,
    precision: Precision,
) -> bytes:
    """Return the bytes of the case of a pair."""
    import dataclasses
    import shlex

    from auditor.commands.decide import results_of
    from auditor.commands.running import open_for_command
    from auditor.decisions.apply import apply_decisions, in_order
    from auditor.report import case_file
    from auditor.scoring.examined import code_id

    kept, pair = _find(name, results_of(directory, result))
    alone = case_file.single_case(kept, pair)
    a, b = case_file.sides_of(alone)
    with open_for_command(
        directory, extractor=extractor, precision=precision, write=False
    ) as opened:
        if kept.provenance.weights_id != opened.weights_id:
            raise UsageError(
                f"pair {name} was found with weights {kept.provenance.weights_id}, and "
                f"{opened.extractor.name} has {opened.weights_id}. Give its --extractor."
            )
        if pair.evidence is None:
            raise UsageError(f"pair {name} was not aligned, so there is nothing to replay.")
        submissions = _submission(opened, alone)
        arrays = tuple(_arrays(opened, track, submissions) for track in (a, b))
        decisions = opened.catalogue.decisions(in_order(a.sha256, b.sha256))
        tracks = {a.id: a, b.id: b}
        if decisions:
            alone = dataclasses.replace(alone, pairs=apply_decisions([pair], tracks, decisions))
        threshold_file, threshold_hash = _calibration(opened, alone)
        manifest = case_file.CaseManifest(
            pair_id=pair.pair_id,
            command=f"audit case --verify {shlex.quote(target.name)} --file A --file B",
            code=code_id(),
            extractor=opened.extractor.name,
            weights_id=opened.weights_id,
            weights_sha256=_weights_hash(extractor),
            threshold_file=threshold_file,
            threshold_sha256=threshold_hash,
            hop_s=opened.hop_s,
            window_s=opened.window_s,
            threshold=case_file.threshold_of(alone),
            a=case_file.stored_side(a, arrays[0]),
            b=case_file.stored_side(b, arrays[1]),
            catalogue_sha256=alone.catalogue_sha256,
            decisions=tuple(decisions),
        )
        made = case_file.OpenedCase(manifest, alone, (arrays[0], arrays[1]))
        if not case_file.replay(made).agrees:
            made = _heard_otherwise(opened, made, submissions)
        media = _media(opened, alone, submissions, target)
    return case_file.write_case(alone, made.manifest, media, made.arrays)


def _heard_otherwise(
    workspace: Workspace, made: OpenedCase, submissions: Sequence[Submission]
) -> OpenedCase:
    """Return a case with the way of ``--wide`` that found its pair; as it is where none did."""
    from auditor.report.case_file import hearing_of

    found = hearing_of(made, _ways(workspace, made, submissions))
    if found is None:
        print(
            "note: comparing both tracks anew, also at other pitches and tempos, does not give "
            "what the result says, so --verify will differ. Run the scan or check again.",
            file=sys.stderr,
        )
    return found or made


def _ways(
    workspace: Workspace, made: OpenedCase, submissions: Sequence[Submission]
) -> Iterator[tuple[CaseHearing, SideArrays]]:
    """Yield the ways in which a wide run hears the tracks of a case that it hears."""
    from auditor.audio.object_store import fetched
    from auditor.embedding.config import Retuning, wide_retunings
    from auditor.embedding.hearing import hear_file
    from auditor.report.case_file import CaseHearing, SideArrays, sides_of
    from auditor.scoring.wide_scan import files_to_hear

    tracks = dict(zip("ab", sides_of(made.case), strict=True))
    if submissions:
        files = {"a": (submissions[0].path, submissions[0].track.size)}
    else:
        found, _ = files_to_hear(workspace, list(tracks.values()), {})
        of_track = {file.track.id: (file.path, file.size) for file in found}
        files = {side: of_track[t.id] for side, t in tracks.items() if t.id in of_track}
    for side, arrays in zip("ab", made.arrays, strict=True):
        if side in files:
            yield CaseHearing(side, Retuning(), tracks[side].duration_s, brief_cost=0.0), arrays
    for side, (path, size) in files.items() if workspace.extractor.config.is_log else ():
        with fetched(path, size=size) as local:
            ways = hear_file(local, workspace.extractor, wide_retunings(tracks[side].duration_s))
        for way in ways:
            yield (
                CaseHearing(side, way.retuning, way.duration_s),
                SideArrays(way.made.dvectors, way.made.levels, way.spectrum),
            )


def _find(
    name: str, results: Sequence[ScanResult | CheckResult]
) -> tuple[ScanResult | CheckResult, Pair]:
    """Return the result that lists a pair, and the pair."""
    for found in results:
        for pair in found.pairs:
            if pair.pair_id == name:
                return found, pair
    raise UsageError(
        f"no pair {show_path(name)} is in the last scan or check. Give the id that the report "
        "shows, or --result FILE.json."
    )


def _submission(workspace: Workspace, alone: ScanResult | CheckResult) -> list[Submission]:
    """Return the submission of a check anew; nothing of a scan.

    Raises
    ------
    UsageError
        If its file is gone or has changed.
    """
    from auditor.decisions.review import find_file
    from auditor.ingest.submissions import embed_submissions
    from auditor.records import CheckResult

    if not isinstance(alone, CheckResult):
        return []
    track = alone.submissions[0]
    path = find_file(workspace.catalogue, track)
    if not path:
        raise UsageError(
            f"{show_path(track.path)}: the submission is gone or has changed, so there is nothing "
            "to replay. Put it back, or check it again."
        )
    return embed_submissions(workspace, [path]).items


def _arrays(workspace: Workspace, track: Track, submissions: Sequence[Submission]) -> SideArrays:
    from auditor.report.case_file import SideArrays

    for submission in submissions:
        if submission.track.sha256 == track.sha256:
            return SideArrays(submission.dvectors, submission.levels, submission.spectrum)
    dvectors, levels = workspace.catalogue.dvectors(track.id, workspace.weights_id)
    return SideArrays(dvectors, levels, workspace.catalogue.spectrum(track.sha256))


def _media(
    workspace: Workspace,
    alone: ScanResult | CheckResult,
    submissions: Sequence[Submission],
    target: Path,
) -> Media:

    from auditor.report import case_file
    from auditor.report.media.build import make_media

    own = {track.sha256: track.id for track in case_file.sides_of(alone)}
    paths = workspace.catalogue.paths()
    paths |= {own[s.track.sha256]: s.path for s in submissions if s.track.sha256 in own}
    arrays = {
        track.id: _arrays(workspace, track, submissions) for track in case_file.sides_of(alone)
    }
    return make_media(
        alone,
        paths=paths,
        dvectors=lambda track_id: (arrays[track_id].dvectors, arrays[track_id].levels),
        hop_s=workspace.hop_s,
        window_s=workspace.window_s,
        folder=target.absolute().parent,
        max_bytes=_MAX_CLIP_BYTES,
    ).without_links()


def _weights_hash(extractor: str) -> str:
    from auditor.audio.files import hash_file
    from auditor.embedding.extractor import find_weights

    return hash_file(find_weights(extractor))


def _calibration(workspace: Workspace, alone: ScanResult | CheckResult) -> tuple[str, str]:
    """Return the name of the calibration of a result, and its SHA-256 if it is still there."""
    import re

    from auditor.audio.files import hash_file

    found = re.search(r"([^\s/]+\.json)", alone.threshold.source)
    name = found[1] if found else ""
    for folder in workspace.threshold_directories if name else ():
        if (folder / name).is_file():
            return name, hash_file(folder / name)
    return name, ""


def _verify(path: Path, files: Sequence[Path], *, extractor: str, precision: Precision) -> bool:
    """Say what is true of a case file; return whether all of it is."""
    from auditor.report.case_file import (
        MAX_BYTES,
        ChangedCaseError,
        hearing_words,
        read_case,
        replay,
    )
    from auditor.report.text.general import show_score
    from auditor.scoring.examined import code_id
    from auditor.serialisation import read_bytes

    shown = show_path(path)
    try:
        data = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise ResultError(f"{shown}: {error}. Give one of audit case.") from None
    try:
        opened = read_case(data)
    except ChangedCaseError as error:
        print(f"CHANGED: {error}")
        return False
    except ResultError as error:
        raise ResultError(f"{shown}: {error}") from None
    print(f"unchanged: {len(opened.manifest.parts) + 1} files of pair {opened.manifest.pair_id}")
    if opened.manifest.code != code_id():
        print(f"note: it was made by {opened.manifest.code}; this is {code_id()}")
    if opened.manifest.hearing is not None:
        print(f"heard: {hearing_words(opened.manifest.hearing)}")
    fresh = _fresh(opened, files, extractor=extractor, precision=precision) if files else {}
    done = replay(opened, fresh=fresh)
    print(
        f"{'replayed' if done.agrees else 'DIFFERENT'}, from {done.what}: {done.verdict}, score "
        f"{show_score(done.score)}; the case says {done.stored_verdict}, "
        f"{show_score(done.stored_score)}"
    )
    return done.agrees


def _fresh(
    opened: OpenedCase, files: Sequence[Path], *, extractor: str, precision: Precision
) -> Mapping[str, SideArrays]:
    """Return what is embedded of recordings of a case now, by the SHA-256 of their files.

    Raises
    ------
    UsageError
        If a file is none of the case, or the extractor is another one.
    """
    from auditor.audio.files import hash_file
    from auditor.embedding.embed import embed_file
    from auditor.embedding.extractor import load_extractor
    from auditor.embedding.hearing import hear_file
    from auditor.report.case_file import SideArrays

    loaded = load_extractor(extractor, precision=precision.value)
    if loaded.weights_id != opened.manifest.weights_id:
        raise UsageError(
            f"the case was made with weights {opened.manifest.weights_id}, and {loaded.name} has "
            f"{loaded.weights_id}. Give its --extractor, or leave --file out."
        )
    wanted = {opened.manifest.a.sha256, opened.manifest.b.sha256}
    fresh = {}
    for path in files:
        try:
            sha256 = hash_file(path)
        except OSError as error:
            raise UsageError(f"{show_path(path)} cannot be read: {error.strerror}.") from None
        if sha256 not in wanted:
            raise UsageError(
                f"{show_path(path)} is neither recording of the case: its SHA-256 is {sha256}."
            )
        way = opened.manifest.hearing
        if way is not None and way.brief_cost is None and sha256 == opened.heard_sha256:
            (found,) = hear_file(path, loaded, [way.retuning])
            fresh[sha256] = SideArrays(found.made.dvectors, found.made.levels, found.spectrum)
            continue
        embedded = embed_file(path, [loaded])
        made = embedded.embeddings[loaded.weights_id]
        fresh[sha256] = SideArrays(made.dvectors, made.levels, embedded.spectrum)
    return fresh
