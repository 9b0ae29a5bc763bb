"""``audit decide``: what a person says of a pair, kept for later scans."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import DebugOption, WorkspaceOption
from auditor.errors import UsageError, show_path
from auditor.records import DecisionKind

if TYPE_CHECKING:
    from auditor.catalogue.catalogue import Catalogue
    from auditor.decisions.apply import Hashes
    from auditor.records import CheckResult, ScanResult

EXAMPLES = """\b
Examples:
  audit decide 5e9ae866 --as licensed --note "contract of 3 May"
  audit decide mjq2hx5a b3wz7kqd --as false-alarm
  audit decide new.mp3 mjq2hx5a --as confirmed --by Ana
  audit decide 5e9ae866                          show the decisions so far
  audit decide 5e9ae866 --undo
  audit decide --export decisions.csv
  audit decide --import decisions.csv
"""


ByOption = Annotated[
    str, typer.Option("--by", metavar="NAME", envvar="AUDIT_BY", help="Who decides.")
]


def decide(
    pair: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PAIR",
            help="A pair id from the last scan or check (or from --result), or two tracks: ids, "
            "files or SHA-256 hashes.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        DecisionKind | None, typer.Option("--as", help="The decision.", show_default=False)
    ] = None,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="Why.")] = "",
    by: ByOption = "",
    undo: Annotated[bool, typer.Option("--undo", help="Undo the decision on the pair.")] = False,
    result: Annotated[
        Path | None,
        typer.Option(
            "--result",
            metavar="FILE.json",
            help="Look up pair ids in this scan or check instead of the last ones.",
        ),
    ] = None,
    import_file: Annotated[
        Path | None,
        typer.Option("--import", metavar="FILE.csv", help="Import decisions from a file."),
    ] = None,
    export_file: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FILE.csv", help="Write all decisions to a file; - for stdout."
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    debug: DebugOption = False,
) -> None:
    """Decide a pair, for this and all later scans.

    Pairs decided as false-alarm, licensed, same-owner or cover are no longer flagged; confirmed
    pairs stay flagged. Without --as, shows the decisions on the pair so far.
    """
    asked = [bool(pair), import_file is not None, export_file is not None]
    if sum(asked) != 1:
        raise UsageError("give exactly one of a pair, --import FILE.csv and --export FILE.csv.")
    if not pair and (kind or undo or note or result):
        raise UsageError("--as, --note, --undo and --result need a pair. Give the pair.")
    if kind and undo:
        raise UsageError("--as and --undo cannot be combined. Give one of them.")
    if note and not (kind or undo):
        raise UsageError("a --note needs a decision. Give --as, or --undo.")
    if import_file is not None:
        _import(import_file, workspace)
    elif export_file is not None:
        _export(export_file, workspace)
    else:
        from auditor.records import UNDO

        writes = kind is not None or undo
        with open_catalogue(workspace, write=writes) as catalogue:
            hashes = _find(pair or [], catalogue, workspace, result)
            if writes:
                _decide(catalogue, hashes, kind.value if kind else UNDO, note=note, by=by)
            else:
                _show_history(catalogue, hashes)


def open_catalogue(workspace: Path | None, *, write: bool) -> Catalogue:
    """Open the catalogue of a workspace, and refuse to make one.

    No lock is taken: a decision is one short transaction, so one can decide while a scan runs.
    """
    from auditor.catalogue.catalogue import Catalogue
    from auditor.workspace import workspace_directory

    file = workspace_directory(workspace) / "catalogue.sqlite3"
    return Catalogue.open(file, read_only=not (write and file.exists()))


def results_of(workspace: Path | None, result: Path | None) -> list[ScanResult | CheckResult]:
    """Return the result that was named, else the last scan, check and comparison, if kept."""
    from auditor.decisions.review import last_check, last_comparison, last_scan, load_result
    from auditor.workspace import workspace_directory

    if result is not None:
        return [load_result(result)]
    directory = workspace_directory(workspace)
    kept = (last_scan(directory), last_check(directory), last_comparison(directory))
    return [found for found in kept if found is not None]


def name_tracks(catalogue: Catalogue, hashes: Hashes) -> str:
    """Return both tracks of a pair as one line, those not in the catalogue by their hashes."""
    from auditor.errors import show_text

    names = []
    for sha256 in hashes:
        ids = [track_id for track_id, _ in catalogue.ids_by_sha256(sha256)]
        label = show_text(catalogue.track(ids[0]).label) if ids else f"{sha256[:12]}…"
        names.append(f"{label} ({show_text(', '.join(ids)) or 'not in the catalogue'})")
    return " | ".join(names)


def _find(
    words: list[str], catalogue: Catalogue, workspace: Path | None, result: Path | None
) -> Hashes:
    from auditor.decisions.apply import find_pair
    from auditor.decisions.review import known_pairs
    from auditor.workspace import workspace_directory

    known = known_pairs(workspace_directory(workspace)) if result is None else ()
    return find_pair(words, catalogue, results_of(workspace, result), known)


def _decide(catalogue: Catalogue, hashes: Hashes, kind: str, *, note: str, by: str) -> None:
    from auditor.decisions.apply import pair_id, standing
    from auditor.records import UNDO

    name = pair_id(*hashes)
    if kind == UNDO and hashes not in standing(catalogue.decisions(hashes)):
        raise UsageError(f"pair {name} has no decision. Run: audit decide {name} --as KIND")
    try:
        catalogue.decide(*hashes, kind, note=note, by=by)
    except ValueError as error:
        raise UsageError(f"{error}. Nothing was stored; fix this and decide again.") from None
    said = "no longer decided" if kind == UNDO else kind
    print(f"{name}  {said}  {name_tracks(catalogue, hashes)}")


def _show_history(catalogue: Catalogue, hashes: Hashes) -> None:
    from auditor.decisions.apply import pair_id
    from auditor.errors import show_text

    name = pair_id(*hashes)
    print(f"{name}  {name_tracks(catalogue, hashes)}")
    history = catalogue.decisions(hashes)
    for made in history:
        words = (made.when[:19] + "Z", made.kind, made.by, " / ".join(made.note.splitlines()))
        print("  " + show_text("  ".join(word for word in words if word)))
    if not history:
        print(f"there is no decision yet. Run: audit decide {name} --as KIND", file=sys.stderr)


def _import(file: Path, workspace: Path | None) -> None:
    from auditor.decisions.apply import pair_id
    from auditor.decisions.csv_file import read_csv
    from auditor.report.text.general import show_count

    made = read_csv(file)
    with open_catalogue(workspace, write=True) as catalogue:
        n_new = catalogue.import_decisions(made)
        known = {track.sha256 for track in catalogue.tracks()}
    strange = {
        pair_id(d.sha256_a, d.sha256_b): None
        for d in made
        if d.sha256_a not in known or d.sha256_b not in known
    }
    said = f"{show_count(n_new, 'decision')} imported, {len(made) - n_new:,} already known"
    print(said, file=sys.stderr)
    if strange:
        some = ", ".join(list(strange)[:5]) + (", …" if len(strange) > 5 else "")
        print(
            f"{show_count(len(strange), 'pair')} with a track that is not in the catalogue, "
            f"stored until it is added: {some}",
            file=sys.stderr,
        )


def _export(file: Path, workspace: Path | None) -> None:
    from auditor.decisions.apply import report_orders
    from auditor.decisions.csv_file import to_csv, write_csv
    from auditor.errors import show_text
    from auditor.report.text.general import show_count

    damaged: list[str] = []
    with open_catalogue(workspace, write=False) as catalogue:
        made = catalogue.decisions(damaged=damaged)
        wanted = {sha256 for d in made for sha256 in (d.sha256_a, d.sha256_b)}
        names = {
            track.sha256: show_text(f"{track.id} {track.label}")
            for track in reversed(catalogue.tracks())
            if track.sha256 in wanted
        }
    text = to_csv(made, names, report_orders(results_of(workspace, None)))
    if str(file) == "-":
        sys.stdout.write(text)
    else:
        write_csv(text, file)
        print(f"{show_count(len(made), 'decision')}: {show_path(file)}", file=sys.stderr)
    for problem in damaged:
        print(f"left out: {problem}", file=sys.stderr)
    if damaged:
        raise typer.Exit(2)
