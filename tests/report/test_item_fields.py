"""What a scan says of each file for library managers."""

from __future__ import annotations

import dataclasses

from small_report import make_scan

from auditor.records import (
    Cluster,
    DifferingIdentifiers,
    IdenticalFiles,
    IdentifierConflicts,
    SharedIdentifier,
)
from auditor.report.item_fields import FIELDS, item_fields
from auditor.scoring.originals import NOTHING_TELLS


def test_flagged_tracks_have_verdict_pairs_group_and_original():
    result = make_scan()
    fields = item_fields(result)
    altered, excerpt, identical, alike = result.pairs
    assert fields[altered.a] == {
        "audit_verdict": "altered recording",
        "audit_group": "C1",
        "audit_original": "yes",
        "audit_pairs": altered.pair_id,
    }
    assert "audit_original" not in fields[altered.b]
    assert fields[excerpt.b]["audit_verdict"] == "shared excerpt"
    assert fields[identical.b]["audit_group"] == "C3"
    assert alike.a not in fields
    assert {name for own in fields.values() for name in own} < set(FIELDS)


def test_the_strongest_verdict_counts_and_copies_have_that_of_their_first():
    result = make_scan()
    weak, strong = result.pairs[1], result.pairs[0]
    weak = dataclasses.replace(weak, a=strong.a, score=1.0)
    copy = result.tracks[9].id
    changed = dataclasses.replace(
        result,
        pairs=(weak, strong),
        identical=(IdenticalFiles("0" * 64, (strong.a, copy)),),
        clusters=(Cluster((strong.a, strong.b), 0.9, strong.a, NOTHING_TELLS),),
    )
    fields = item_fields(changed)
    assert fields[strong.a]["audit_verdict"] == "altered recording"
    assert fields[strong.a]["audit_pairs"] == f"{strong.pair_id} {weak.pair_id}"
    assert fields[copy]["audit_pairs"] == fields[strong.a]["audit_pairs"]
    assert not any("audit_original" in own for own in fields.values())


def test_identifiers_that_disagree_are_named():
    result = make_scan(pairs=(), clusters=())
    a, b, c, d = (track.id for track in result.tracks[:4])
    shared = SharedIdentifier("isrc:USRC17607839", ((a,), (b,)))
    differing = DifferingIdentifiers("0" * 8, c, d, ("isrc:x",), ("isrc:y",))
    conflicts = IdentifierConflicts(4, (shared,), (differing,))
    fields = item_fields(dataclasses.replace(result, identifiers=conflicts))
    assert {i: own["audit_identifiers"] for i, own in fields.items()} == {
        **dict.fromkeys((a, b), "shared"),
        **dict.fromkeys((c, d), "differing"),
    }
