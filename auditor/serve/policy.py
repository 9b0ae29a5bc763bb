"""How severe a verdict is, by the operator's policy file: ``block``, ``warn`` or ``pass``.

::

    [severity]
    "shared excerpt" = "block"
    "same composition" = "pass"

    [[allow]]
    owner = "label-17"            # of the submission; "*" stands for any
    licence = "CC0-1.0"           # of the track of the catalogue
    label = "Example Records"     # likewise
    reason = "in the public domain"

The worst of a submission's findings counts.  A rule allows what has all that it names.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from auditor.catalogue.sources import normalise_tag
from auditor.errors import UsageError, show_path, show_text
from auditor.records import CompositionVerdict, Verdict

SEVERITIES = ("pass", "warn", "block")
"""From the least to the worst."""

DEFAULT_SEVERITY: Mapping[str, str] = {
    verdict: verdict.severity for verdict in (*Verdict, *CompositionVerdict)
}
TRACK_FIELDS = ("artist", "album", "label", "licence", "track_owner")
"""What a rule may ask of the track: its tags, ``label`` is the record label, and ``track_owner``,
the account whose job added it."""

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class AllowRule:
    """Matches that are allowed.

    Attributes
    ----------
    wanted : mapping of str to str
        ``owner`` of the submission, and of ``TRACK_FIELDS`` what the track must have.
    reason : str
    """

    wanted: Mapping[str, str]
    reason: str = ""

    def allows(self, facts: Mapping[str, str]) -> bool:
        """Say whether everything that the rule names is as it asks."""
        return all(
            value == "*"
            or (value != "" and normalise_tag(facts.get(name, "")) == normalise_tag(value))
            for name, value in self.wanted.items()
        )


@dataclass(frozen=True)
class Policy:
    """Severities by verdict, and matches that are allowed.

    Attributes
    ----------
    severity : mapping of str to str
        Verdict to one of ``SEVERITIES``.
    allow : tuple of AllowRule
    """

    severity: Mapping[str, str] = field(default_factory=lambda: DEFAULT_SEVERITY)
    allow: tuple[AllowRule, ...] = ()

    def judge(
        self,
        findings: Sequence[Mapping[str, Any]],
        *,
        owner: str,
        owner_of: Callable[[str], str],
    ) -> tuple[str, list[dict[str, Any]]]:
        """Return the severity of a submission, and that of each finding, the worst first.

        Parameters
        ----------
        findings : sequence of mappings
            Flagged pairs, with ``verdict``, ``flagged``, ``track_id`` and the tags of the track.
        owner : str
            Account of the submission.
        owner_of : callable
            Takes a track id and returns the account whose job added it, or "".
        """
        reasons = []
        for found in findings:
            facts = {name: str(found.get(name, "")) for name in TRACK_FIELDS}
            facts |= {"owner": owner, "track_owner": owner_of(str(found["track_id"]))}
            rule = next((rule for rule in self.allow if rule.allows(facts)), None)
            severity = self.severity.get(found["verdict"], "warn") if found["flagged"] else "pass"
            names = ("pair_id", "kind", "verdict", "score", "track_id", "track_path", "decision")
            reason = {name: found[name] for name in names}
            reason["severity"] = "pass" if rule is not None else severity
            reason["allowed_by"] = rule.reason if rule is not None and found["flagged"] else ""
            reasons.append(reason)
        reasons.sort(key=lambda r: (-SEVERITIES.index(r["severity"]), -r["score"], r["pair_id"]))
        return (reasons[0]["severity"] if reasons else "pass"), reasons


def load_policy(path: str | os.PathLike[str]) -> Policy:
    """Read a policy file.

    Raises
    ------
    UsageError
        If it cannot be read, is no TOML, or names what there is not.
    """
    shown = show_path(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{shown} is larger than 1 MiB, the limit for a policy.")
        values = tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"{shown} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown} is not TOML: {error}.") from None
    if unknown := sorted(set(values) - {"severity", "allow"}):
        raise UsageError(f"{shown}: {show_text(unknown[0])!r:.60} is neither severity nor allow.")
    severity = dict(DEFAULT_SEVERITY)
    given = values.get("severity", {})
    for verdict, word in given.items() if isinstance(given, dict) else [("", given)]:
        if verdict not in severity or word not in SEVERITIES:
            raise UsageError(
                f"{shown}: severity {show_text(verdict)!r:.60} = {word!r:.60}; a verdict is one of "
                f"{', '.join(severity)}, a severity one of {', '.join(SEVERITIES)}."
            )
        severity[verdict] = word
    rules = values.get("allow", [])
    if not isinstance(rules, list):
        raise UsageError(f"{shown}: write each rule under [[allow]].")
    return Policy(severity, tuple(_rule(rule, shown) for rule in rules))


def _rule(rule: Any, shown: str) -> AllowRule:
    known = ("owner", *TRACK_FIELDS)
    if (
        not isinstance(rule, dict)
        or set(rule) - {*known, "reason"}
        or not all(isinstance(value, str) and value for value in rule.values())
        or not any(rule.get(name, "*") != "*" for name in known)
    ):
        raise UsageError(
            f"{shown}: a rule of [[allow]] names at least one of {', '.join(known)} that is not "
            f"'*', and a reason, each a text. It is {rule!r:.200}"
        )
    wanted = {name: rule[name] for name in known if name in rule}
    return AllowRule(wanted, rule.get("reason", "allowed by the policy"))
