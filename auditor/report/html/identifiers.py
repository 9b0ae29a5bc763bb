"""What the templates are given of identifiers that disagree with the sound."""

from __future__ import annotations

import itertools
from typing import Any

from auditor.records import CheckResult, ScanResult
from auditor.report.text.identifiers import (
    DIFFERING,
    SHARED,
    differing_rows,
    identifiers_hint,
    shared_rows,
)

N_STATIC = 200
"""Entries of either report in the HTML; the JSON holds the others, too."""


def identifiers_view(result: ScanResult | CheckResult) -> dict[str, Any]:
    """Return the variables of the section on identifiers; None where nothing disagrees.

    Raises
    ------
    ResultError
        If a pair names a track that the result does not list.
    """
    found = result.identifiers
    if found is None or not (found.shared or found.differing):
        return {"identifiers": None}
    return {
        "identifiers": {
            "hint": identifiers_hint(result),
            "shared_title": SHARED,
            "shared": list(itertools.islice(shared_rows(result), N_STATIC)),
            "n_shared": len(found.shared),
            "differing_title": DIFFERING,
            "differing": list(itertools.islice(differing_rows(result), N_STATIC)),
            "n_differing": len(found.differing),
        }
    }
