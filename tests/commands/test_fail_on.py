"""Exit codes of scan and check: recordings count unless told otherwise, compositions on request."""

from __future__ import annotations

import dataclasses

import pytest
from small_compositions import check_with_compositions, scan_with_compositions
from small_report import make_scan
from typer.testing import CliRunner

from auditor.cli import app
from auditor.commands.options import MAX_CHANCE_SHARE, FailOn, Search
from auditor.commands.running import check_fail_on, exit_code, make_options
from auditor.errors import UsageError
from auditor.records import IdentifierConflicts, ScanResult, SharedIdentifier
from auditor.scoring import composition

RECORDING, COMPOSITION = FailOn.RECORDING, FailOn.COMPOSITION


def unflagged(result: ScanResult, *, recordings: bool, compositions: bool) -> ScanResult:
    """Return a result with the flags of either kind taken away."""
    changes: dict[str, object] = {}
    if recordings:
        changes["pairs"] = tuple(dataclasses.replace(p, flagged=False) for p in result.pairs)
    if compositions:
        found = result.compositions
        assert found is not None
        lines = tuple(dataclasses.replace(m, flagged=False) for m in found.matches)
        changes["compositions"] = dataclasses.replace(found, matches=lines)
    return dataclasses.replace(result, **changes)


@pytest.mark.parametrize(
    ("fail_on", "recordings", "compositions", "code"),
    [
        (None, True, True, 1),
        (None, False, True, 0),
        ([COMPOSITION], False, True, 1),
        ([COMPOSITION], True, False, 0),
        ([RECORDING], True, False, 1),
        ([RECORDING, COMPOSITION], False, True, 1),
        ([RECORDING, COMPOSITION], True, False, 1),
        ([RECORDING, COMPOSITION], False, False, 0),
    ],
)
def test_what_is_flagged_and_what_counts_decide(fail_on, recordings, compositions, code):
    result = unflagged(
        scan_with_compositions(), recordings=not recordings, compositions=not compositions
    )
    assert exit_code(result, fail_on) == code
    assert exit_code(result, fail_on, exit_zero=True) == 0


def test_identifiers_that_disagree_count_on_request():
    result = unflagged(make_scan(), recordings=True, compositions=False)
    shared = SharedIdentifier("isrc:USRC17607839", (("t00000",), ("t00001",)))
    conflicts = IdentifierConflicts(2, (shared,))
    assert exit_code(result, [FailOn.IDENTIFIER]) == 0
    result = dataclasses.replace(result, identifiers=conflicts)
    assert exit_code(result, [FailOn.IDENTIFIER]) == 1
    assert exit_code(result) == 0
    assert exit_code(check_with_compositions(), [FailOn.IDENTIFIER]) == 0
    found = dataclasses.replace(check_with_compositions(), identifiers=conflicts)
    assert (exit_code(found, [FailOn.IDENTIFIER]), exit_code(found)) == (1, 0)


def test_a_result_without_compositions_has_none_to_fail_on():
    assert exit_code(make_scan(), [COMPOSITION]) == 0


def test_a_check_counts_as_a_scan_does():
    assert exit_code(check_with_compositions()) == 0
    assert exit_code(check_with_compositions(), [COMPOSITION]) == 1


def test_compositions_to_fail_on_must_be_compared():
    check_fail_on([COMPOSITION], compositions=True)
    check_fail_on(None, compositions=False)
    with pytest.raises(UsageError, match="cannot be combined"):
        check_fail_on([RECORDING, COMPOSITION], compositions=False)


def test_options_reach_the_run():
    plain = {"threshold": None, "far": None, "threshold_file": None, "search": Search.EXACT}
    assert not make_options(**plain).compositions
    made = make_options(**plain, compositions=True, max_chance_share=0.3)
    assert (made.compositions, made.max_chance_share) == (True, 0.3)


def test_the_default_share_is_that_of_the_scorer():
    assert MAX_CHANCE_SHARE == composition.MAX_CHANCE_SHARE


@pytest.mark.parametrize("command", ["scan", "check"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-compositions", "--fail-on", "composition"], "cannot be combined"),
        (["--max-chance-share", "0"], "a share lies in (0, 1]"),
        (["--max-chance-share", "1.5"], "Invalid value for '--max-chance-share'"),
        (["--fail-on", "everything"], "'everything' is not one of 'recording', 'composition'"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_read(tmp_path, command, arguments, said):
    run = CliRunner().invoke(app, [command, str(tmp_path), *arguments])
    assert run.exit_code == 2
    assert said in " ".join(run.output.replace("│", " ").split())
    assert not (tmp_path / ".audit").exists()


def test_compare_has_no_compositions_to_fail_on(tmp_path):
    where = (tmp_path, tmp_path, "-w", tmp_path / "ws", "--fail-on", "composition")
    run = CliRunner().invoke(app, ["compare", *map(str, where)])
    assert run.exit_code == 2
    assert "audit compare does not compare compositions" in run.output
    assert not (tmp_path / "ws").exists()
