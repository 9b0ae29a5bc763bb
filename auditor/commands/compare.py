"""``audit compare``: every similar pair across two collections."""

from __future__ import annotations

from typing import Annotated

import typer

from auditor.commands.options import (
    MAX_REPORT_MB,
    BatchOption,
    DebugOption,
    Device,
    DeviceOption,
    ExitZeroOption,
    ExtractorOption,
    FailOn,
    FailOnOption,
    FarOption,
    FmaOption,
    Format,
    FormatOption,
    JobsOption,
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
    ShowDecidedOption,
    ThresholdFileOption,
    ThresholdOption,
    VerboseOption,
    WaitOption,
    WorkspaceOption,
)
from auditor.commands.running import (
    check_format,
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
from auditor.errors import UsageError

EXAMPLES = """\b
Examples:
  audit compare catalogue/ incoming/
  audit compare train.csv test.csv --format parquet > pairs.parquet
  audit compare @artist=Ana @genre=rock
  audit compare other/.audit new/ --max-false-pairs 0.1

A collection is a folder, a list of paths (csv, tsv, parquet, m3u, txt), a workspace, or a part of
one: [WORKSPACE]@NAME=VALUE, where NAME is artist, album, title, genre, date, licence, codec,
folder or id.

Exit code: 0 nothing flagged, 1 something flagged (see --fail-on), 2 error.
"""


def compare(
    context: typer.Context,
    first: Annotated[
        str, typer.Argument(metavar="A", help="A collection of music.", show_default=False)
    ],
    second: Annotated[
        str, typer.Argument(metavar="B", help="Another collection.", show_default=False)
    ],
    within: Annotated[
        bool, typer.Option("--within", help="Also compare the pairs inside A and inside B.")
    ] = False,
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    precision: PrecisionOption = Precision.FLOAT32,
    jobs: JobsOption = None,
    device: DeviceOption = Device.AUTO,
    batch: BatchOption = GPU_BATCH,
    ray_address: RayAddressOption = None,
    ray_storage: RayStorageOption = None,
    fma: FmaOption = None,
    threshold: ThresholdOption = None,
    far: FarOption = None,
    max_false_pairs: MaxFalsePairsOption = None,
    threshold_file: ThresholdFileOption = None,
    same_owner: SameOwnerOption = None,
    show_decided: ShowDecidedOption = False,
    form: FormatOption = Format.TABLE,
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
    """Find every pair of matching tracks across two collections.

    Adds new and changed files of both to the catalogue, compares each track of A with each of B,
    and reports the pairs at or above the threshold. A file that is in both is not compared with
    itself.
    """
    check_report_options(no_report=no_report, output=output, open_report=open_report)
    check_format(form)
    if FailOn.COMPOSITION in (fail_on or ()):
        raise UsageError(
            "--fail-on composition: audit compare does not compare compositions. audit scan and "
            "audit check do."
        )
    from auditor.audio.isolated import warm_up

    warm_up()  # it starts while the rest is imported
    options = make_options(
        threshold=threshold,
        far=far,
        threshold_file=threshold_file,
        search=Search.EXACT,
        same_owner=same_owner,
        max_false=max_false_pairs,
    )
    from auditor.api import compare as api
    from auditor.commands.progress import Progress

    report = None if no_report else report_path(output, "compare")
    with (
        open_for_command(workspace, extractor=extractor, precision=precision, wait=wait) as opened,
        Progress(quiet=quiet) as progress,
        Progress(quiet=quiet, noun="candidate pairs") as comparing,
        workers_for(
            context,
            opened,
            jobs=jobs,
            device=device,
            batch=batch,
            ray_address=ray_address,
            ray_storage=ray_storage,
        ) as (embedder, tiles),
    ):
        result = api.compare(
            opened,
            first,
            second,
            options=options,
            within=within,
            fma=fma,
            embedder=embedder,
            tiles=tiles,
            on_event=progress,
            on_pair=comparing.advance,
            command=command_line(context),
        )
        keep_for_decisions(opened.directory, result)
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
    if code := exit_code(result, fail_on, exit_zero=exit_zero):
        raise typer.Exit(code)
