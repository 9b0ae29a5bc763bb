"""Results as JSON and back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from auditor.errors import ResultError
from auditor.records import (
    CheckResult,
    Cluster,
    Pair,
    Provenance,
    Recommended,
    RecommendResult,
    ScanResult,
    Skipped,
    ThresholdUse,
    Track,
    result_from_json,
    to_json,
)

TRACK = Track(
    id="abcdefgh",
    path="music/a <b>.mp3",
    sha256="0" * 64,
    size=12,
    duration_s=1.5,
    declared_s=None,
    truncated=False,
    silent=False,
    codec="mp3",
    container="mp3",
    sample_rate_hz=44_100,
    n_channels=2,
    bit_rate=128_000,
    title="Nächte",
    genres=("Rock", "Punk"),
)
PROVENANCE = Provenance(
    "0.1.0", "audit scan", "2026-01-01T00:00:00Z", "track", "01234567", ".audit"
)
THRESHOLD = ThresholdUse(0.8, "thresholds/track.json", 1e-6, 0.0, 1e-5, 0.2)
SCAN = ScanResult(
    tracks=(TRACK,),
    pairs=(Pair("a", "b", 0.9, identical_file=True),),
    clusters=(Cluster(("a", "b"), 0.9),),
    skipped=(Skipped("c.mp3", "is empty"),),
    n_tracks=3,
    n_pairs_compared=3,
    search="exact",
    index_recall=None,
    histogram={"edges": (0.0, 1.0), "counts": (3.0,)},
    threshold=THRESHOLD,
    provenance=PROVENANCE,
)
CHECK = CheckResult(
    submissions=(TRACK,),
    tracks=(),
    pairs=(Pair("a", "b", 0.1, flagged=False),),
    skipped=(),
    n_tracks=3,
    n_pairs_compared=3,
    search="annoy",
    index_recall=0.99,
    threshold=THRESHOLD,
    provenance=PROVENANCE,
)
RECOMMEND = RecommendResult(
    query={"like": ("a",), "dislike": ()},
    recommendations=(Recommended(TRACK, 0.5, nearest_to="a"),),
    n_tracks=3,
    provenance=PROVENANCE,
    notes=("one",),
)


@pytest.mark.parametrize("result", [SCAN, CHECK, RECOMMEND], ids=lambda r: r.kind)
def test_results_survive_json(result):
    text = to_json(result)
    assert result_from_json(text) == result
    assert to_json(result_from_json(text)) == text


def test_json_refuses_what_is_no_number():
    broken = dataclasses.replace(SCAN, index_recall=float("nan"))
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json(broken)


def changed(**values) -> str:
    return json.dumps(json.loads(to_json(SCAN)) | values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the result is not JSON"),
        ("[" * 100_000, "the result is not JSON"),
        ("[]", "kind None and schema_version None"),
        (
            "{}",
            "kind None and schema_version None; this version reads scan, check, recommend, compare",
        ),
        (changed(kind="audit"), "kind 'audit' and schema_version 2"),
        (changed(kind=[]), r"kind \[\] and schema_version 2"),
        (changed(schema_version=1), "kind 'scan' and schema_version 1; this version reads .* 2"),
        (changed(n_tracks="3"), r"does not follow its schema: scan\.n_tracks is '3'"),
        (changed(surprise=1), "scan has the unknown field 'surprise'"),
        (changed(pairs=[{"a": "x"}]), r"scan\.pairs\[0\] lacks the field 'b'"),
    ],
)
def test_what_is_no_result_is_refused(text, message):
    with pytest.raises(ResultError, match=message):
        result_from_json(text)


def test_a_result_of_objects_only_is_refused_before_it_fills_the_memory():
    with pytest.raises(ResultError, match="not JSON: its 30,000,002 characters hold values"):
        result_from_json(f"[{'{},' * 10_000_000}]")


def test_label_of_a_track():
    assert TRACK.label == "Nächte"
    assert dataclasses.replace(TRACK, artist="Wir").label == "Wir – Nächte"
    assert dataclasses.replace(TRACK, title="", artist="Wir").label == "a <b>.mp3"
    assert dataclasses.replace(TRACK, title="", path="m/a\\nb.wav").label == "a\\nb.wav"
