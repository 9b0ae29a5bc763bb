"""What a C2PA manifest says, in the terminal, on the page and in the JSON, with hostile names."""

from __future__ import annotations

import dataclasses
import io

from html_page import Page
from rich.console import Console
from small_report import HOSTILE, make_check

from auditor.records import CheckResult, result_from_json, to_json
from auditor.report.html.page import render_html
from auditor.report.terminal import print_table


def check_with(*marks: str) -> CheckResult:
    result = make_check("same recording")
    submission = dataclasses.replace(result.submissions[0], c2pa=marks)
    return dataclasses.replace(result, submissions=(submission,))


def printed(result: CheckResult) -> str:
    file = io.StringIO()
    print_table(result, Console(file=file, width=500))
    return file.getvalue()


def test_what_the_file_says_is_shown_as_that():
    marks = ("state:valid", "signer:Machine Ltd", "source:trainedAlgorithmicMedia")
    result = check_with(*marks)
    assert "file says: made by AI (C2PA)" in printed(result)
    page = Page(render_html(result)).text
    assert "the file says: made by AI; signed by Machine Ltd; unchanged since it was" in page
    assert "signer not verified" in page
    assert result_from_json(to_json(result)).submissions[0].c2pa == marks


def test_a_file_without_a_manifest_says_nothing():
    result = check_with()
    assert "the file says" not in Page(render_html(result)).text
    assert "C2PA" not in printed(result)


def test_hostile_names_are_text():
    result = check_with("state:invalid", f"signer:{HOSTILE}\x1b[2J", "source:unheard-of", "odd")
    assert "\x1b[2J" not in printed(result)
    assert "C2PA manifest invalid" in printed(result)
    assert not Page(render_html(result)).all("img")
