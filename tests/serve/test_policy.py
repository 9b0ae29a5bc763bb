"""How severe a verdict is: defaults, the operator's file, and what it allows."""

from __future__ import annotations

import pytest

from auditor.errors import UsageError
from auditor.records import CompositionVerdict, Verdict
from auditor.serve.policy import DEFAULT_SEVERITY, Policy, load_policy


def finding(verdict="same recording", **fields):
    values = {"pair_id": "5e9ae866", "kind": "recording", "verdict": verdict, "score": 0.9}
    values |= {"flagged": True, "decision": "", "track_id": "t1", "track_path": "/m/t1.mp3"}
    values |= {"artist": "Ana", "album": "", "label": "Example Records", "licence": "CC0"}
    return values | fields


def judge(policy, *findings, owner="acct"):
    return policy.judge(findings, owner=owner, owner_of=lambda track: f"owner of {track}")


@pytest.fixture
def write(tmp_path):
    def write_it(text):
        path = tmp_path / "policy.toml"
        path.write_text(text)
        return path

    return write_it


def test_every_verdict_has_a_severity():
    assert set(DEFAULT_SEVERITY) == {*Verdict, *CompositionVerdict}


def test_the_worst_finding_counts():
    severity, reasons = judge(Policy(), finding("shared excerpt"), finding("identical file"))
    assert severity == "block"
    assert [r["severity"] for r in reasons] == ["block", "warn"]
    assert judge(Policy()) == ("pass", [])
    assert judge(Policy(), finding("shared excerpt"))[0] == "warn"


def test_what_was_decided_not_to_matter_passes():
    severity, (reason,) = judge(Policy(), finding(flagged=False, decision="licensed"))
    assert (severity, reason["decision"], reason["severity"]) == ("pass", "licensed", "pass")


def test_a_file_sets_severities(write):
    policy = load_policy(
        write('[severity]\n"shared excerpt" = "block"\n"altered recording" = "pass"')
    )
    assert judge(policy, finding("shared excerpt"))[0] == "block"
    assert judge(policy, finding("altered recording"))[0] == "pass"
    assert judge(policy, finding("same recording"))[0] == "block"


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ('licence = "cc0"', True),
        ('licence = "CC-BY"', False),
        ('owner = "acct"\nlicence = "CC0"', True),
        ('owner = "another"\nlicence = "CC0"', False),
        ('owner = "*"\nartist = " ana "', True),
        ('track_owner = "owner of t1"', True),
        ('album = "Hits"', False),
        ('label = "example records"', True),
        ('label = "Others"\nlicence = "CC0"', False),
    ],
)
def test_a_rule_allows_what_has_all_that_it_names(write, rule, allowed):
    policy = load_policy(write(f'[[allow]]\n{rule}\nreason = "a contract"'))
    severity, (reason,) = judge(policy, finding())
    assert severity == ("pass" if allowed else "block")
    assert reason["allowed_by"] == ("a contract" if allowed else "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[severity", "is not TOML"),
        ("[other]", "neither severity nor allow"),
        ('[severity]\n"same recording" = "stop"', "a severity one of"),
        ('[severity]\n"same song" = "block"', "a verdict is one of"),
        ('severity = "block"', "a severity one of"),
        ('[[allow]]\nowner = "*"', "at least one of"),
        ('[[allow]]\nlicence = ""', "at least one of"),
        ('[[allow]]\nlicence = "CC0"\nother = "x"', "at least one of"),
        ('[allow]\nlicence = "CC0"', r"under \[\[allow\]\]"),
    ],
)
def test_a_file_with_mistakes_is_refused(write, text, message):
    with pytest.raises(UsageError, match=message):
        load_policy(write(text))


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path, write):
    with pytest.raises(UsageError, match="No such file"):
        load_policy(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="1 MiB"):
        load_policy(write("#" * ((1 << 20) + 1)))
