"""``audit doctor``: whether the installation and the workspace are sound."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from auditor.commands.options import (
    DebugOption,
    ExtractorOption,
    ListFormat,
    ListFormatOption,
    WorkspaceOption,
)
from auditor.embedding.config import DEFAULT_EXTRACTOR

if TYPE_CHECKING:
    from auditor.api.doctor import Diagnosis

EXAMPLES = """\b
Examples:
  audit doctor
  audit doctor --workspace /music/.audit --problems
  audit doctor --format json

Exit code: 0 no problems, 2 problems found.
"""

EXIT_PROBLEMS = 2


def doctor(
    workspace: WorkspaceOption = None,
    extractor: ExtractorOption = DEFAULT_EXTRACTOR,
    problems: Annotated[
        bool, typer.Option("--problems", help="Leave out what is in order.")
    ] = False,
    form: ListFormatOption = ListFormat.TABLE,
    debug: DebugOption = False,
) -> None:
    """Check the installation, the machine and the workspace, and say what to do."""
    from auditor.api.doctor import State, diagnose

    found = diagnose(workspace, extractor=extractor)
    if form is ListFormat.JSON:
        import dataclasses
        import json

        print(json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=1))
    else:
        _print_table(found, problems_only=problems)
    if found.count(State.PROBLEM):
        raise typer.Exit(EXIT_PROBLEMS)


def _print_table(found: Diagnosis, *, problems_only: bool) -> None:
    from auditor.api.doctor import State
    from auditor.errors import show_text
    from auditor.report.text.general import show_count

    findings = [f for f in found.findings if not (problems_only and f.state is State.OK)]
    width = max((len(f.part) for f in findings), default=0)
    for finding in findings:
        print(f"{finding.state:<8} {finding.part:<{width}}  {show_text(finding.text)}")
        if finding.remedy:
            print(f"{'':<8} {'':<{width}}  {show_text(finding.remedy)}.")
    sys.stdout.flush()
    n_problems, n_notes = found.count(State.PROBLEM), found.count(State.NOTE)
    said = show_count(n_problems, "problem") if n_problems else "no problems found"
    if n_notes:
        said += f", {show_count(n_notes, 'note')}"
    print(said, file=sys.stderr)
