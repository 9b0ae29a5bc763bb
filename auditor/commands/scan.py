"""``audit scan``: every similar pair of a catalogue."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    MAX_CHANCE_SHARE,
    MAX_REPORT_MB,
    BatchOption,
    CompositionsOption,
    DebugOption,
    Device,
    DeviceOption,
    ExcerptIndexOption,
    ExitZeroOption,
    ExtractorOption,
    FailOnOption,
    FarOption,
    FmaOption,
    Format,
    FormatOption,
    JobsOption,
    MaxChanceShareOption,
    MaxFalsePairsOption,
    NoAudioOption,
    NoReportOption,
    OpenOption,
    OutputOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RayAddressOption,
    RayStorageOption,
    RedactOption,
    ReportSizeOption,
    SameOwnerOption,
    Search,
    SearchOption,
    ShowDecidedOption,
    ThresholdFileOption,
    ThresholdOption,
    VerboseOption,
    WaitOption,
    WideScanOption,
    WorkspaceOption,
)
from auditor.commands.running import (
    check_fail_on,
    check_format,
    check_ray_options,
    check_report_options,
    command_line,
    exit_code,
    finish,
    gather_media,
    keep_for_decisions,
    make_options,
    open_for_command,
    report_path,
    workers_for,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR, GPU_BATCH
from auditor.errors import UsageError, show_path

if TYPE_CHECKING:
    from auditor.records import ScanResult
    from auditor.workspace import Workspace

EXAMPLES = """\b
Examples:
  audit scan music/
  audit scan music/ demos/ --max-false-pairs 0.1 --open
  audit scan fma_small/ --fma fma_metadata/ --workspace fma
  audit scan --threshold 0.9 --format json > pairs.json
  audit scan --wide
  audit scan --keep-drop move-copies.sh
  audit scan /shared/music --cluster auto --cluster-storage /shared/audit
  audit scan s3://bucket/music --cluster auto --cluster-storage s3://bucket/audit

Exit code: 0 nothing flagged, 1 something flagged, 2 error.
"""


def scan(
    context: typer.Context,
    roots: Annotated[
        list[str] | None,  # a Path would take a slash of s3:// away
        typer.Argument(
            metavar="DIR|URL",
            help="Folders, files or URLs such as s3://BUCKET/NAME to add first; by default the "
            "catalogue is scanned as it is.",
            show_default=False,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    jobs: JobsOption = None,
    device: DeviceOption = Device.AUTO,
    batch: BatchOption = GPU_BATCH,
    ray_address: RayAddressOption = None,
    ray_storage: RayStorageOption = None,
    fma: FmaOption = None,
    reread_tags: Annotated[
        bool,
        typer.Option(
            "--reread-tags",
            help="Also read the tags of files that have not changed, as after an update of audit "
            "that reads more of them; nothing is embedded again.",
        ),
    ] = False,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    max_false_pairs: MaxFalsePairsOption = None,
    threshold_file: ThresholdFileOption = None,
    wide: WideScanOption = False,
    search: SearchOption = Search.EXACT,
    excerpt_index: ExcerptIndexOption = None,
    same_owner: SameOwnerOption = None,
    compositions: CompositionsOption = None,
    max_chance_share: MaxChanceShareOption = MAX_CHANCE_SHARE,
    show_decided: ShowDecidedOption = False,
    form: FormatOption = Format.TABLE,
    keep_drop: Annotated[
        Path | None,
        typer.Option(
            "--keep-drop",
            metavar="FILE",
            help="Also write which file of each cluster to keep and which to drop: .csv, .parquet, "
            ".m3u8 (the files to drop), or .sh (a script that moves them and deletes nothing).",
        ),
    ] = None,
    output: OutputOption = None,
    no_report: NoReportOption = False,
    no_audio: NoAudioOption = False,
    max_report_size: ReportSizeOption = MAX_REPORT_MB,
    open_report: OpenOption = False,
    redact_paths: RedactOption = False,
    fail_on: FailOnOption = None,
    exit_zero: ExitZeroOption = False,
    wait: WaitOption = False,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Find every pair of matching tracks in a collection.

    Adds new and changed audio files to the catalogue, compares all tracks with each other, and
    reports the pairs at or above the threshold.
    """
    check_report_options(no_report=no_report, output=output, open_report=open_report)
    check_format(form)
    check_fail_on(fail_on, compositions=compositions)
    if keep_drop is not None:
        from auditor.report.keep_drop import write_format

        write_format(keep_drop.suffix)
    if roots and ray_address is None:
        from auditor.audio.isolated import warm_up

        warm_up()  # it starts while the rest is imported
    options = make_options(
        threshold=threshold,
        far=far,
        threshold_file=threshold_file,
        search=search,
        same_owner=same_owner,
        max_false=max_false_pairs,
        wide=wide,
        compositions=compositions,
        max_chance_share=max_chance_share,
    )
    check_ray_options(ray_address, storage=ray_storage, jobs=jobs)
    if wide and ray_address is not None:
        raise UsageError(
            "--wide cannot be combined with --cluster: files are heard again on one machine. Scan "
            "with --cluster first, then run: audit scan --wide"
        )
    from auditor.api import scan as api
    from auditor.commands.progress import Progress
    from auditor.decisions.review import last_scan

    report = None if no_report else report_path(output, "scan")
    with (
        open_for_command(workspace, extractor=extractor, precision=precision, wait=wait) as opened,
        Progress(quiet=quiet) as progress,
        Progress(quiet=quiet, noun="candidate pairs") as comparing,
        Progress(quiet=quiet, noun="pairs as compositions") as composing,
        Progress(quiet=quiet, noun="tracks heard otherwise") as hearing,
        contextlib.ExitStack() as stack,
    ):
        if excerpt_index is not None:
            opened = dataclasses.replace(opened, excerpt_backend=excerpt_index.value)
        workers = workers_for(
            context,
            opened,
            jobs=jobs,
            device=device,
            batch=batch,
            ray_address=ray_address,
            ray_storage=ray_storage,
            roots=roots or (),
        )
        embedder, tiles = stack.enter_context(workers)
        result = api.scan(
            opened,
            roots or [],
            options=options,
            fma=fma,
            reread_tags=reread_tags,
            embedder=embedder,
            tiles=tiles,
            on_event=progress,
            on_pair=comparing.advance,
            on_composition=composing.advance,
            on_hearing=hearing.advance,
            command=command_line(context),
            last=last_scan(opened.directory),
        )
        keep_for_decisions(opened.directory, result)
        if keep_drop is not None:
            _write_keep_drop(opened, result, keep_drop, quiet=quiet)
        media = gather_media(
            opened,
            result,
            report,
            max_report_mb=max_report_size,
            audio=not no_audio,
            quiet=quiet,
        )
    finish(
        result,
        form=form,
        report=report,
        media=media,
        open_report=open_report,
        redact_paths=redact_paths,
        show_decided=show_decided,
        verbose=verbose,
        quiet=quiet,
    )
    if result.n_tracks == 0:
        raise UsageError(
            f"nothing was compared: none of the {len(result.skipped) + len(result.tracks)} files "
            "contains usable sound. Give folders of music."
        )
    if code := exit_code(result, fail_on, exit_zero=exit_zero):
        raise typer.Exit(code)


def _write_keep_drop(workspace: Workspace, result: ScanResult, file: Path, *, quiet: bool) -> None:
    """Write which files to keep and which to drop; say how many, and what the list cannot hold."""
    import sys

    from auditor.report.keep_drop import DROP, KEEP, REVIEW, keep_or_drop, list_bytes, write_format
    from auditor.report.write import write_files

    rows = keep_or_drop(result)
    paths = workspace.catalogue.paths()
    content, left_out = list_bytes(rows, write_format(file.suffix), paths)
    write_files({file: content})
    for path in left_out:
        print(f"not in the list: {show_path(path)}", file=sys.stderr)
    if not quiet:
        n = {action: sum(row.action == action for row in rows) for action in (KEEP, DROP, REVIEW)}
        print(
            f"{n[KEEP]:,} files to keep, {n[DROP]:,} to drop, {n[REVIEW]:,} to review: "
            f"{show_path(file)}",
            file=sys.stderr,
        )
