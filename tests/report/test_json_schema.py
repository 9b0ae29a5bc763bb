"""The JSON Schemas in docs/schema: in step with the dataclasses, and true of real results."""

from __future__ import annotations

import copy
import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pytest
from jsonschema import Draft202012Validator, ValidationError
from small_audit import THRESHOLD, make_library, save_small_extractor, write_tune

from auditor.api.check import check
from auditor.api.compare import compare
from auditor.api.leak import find_leaks
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.ingest.splits import name_splits
from auditor.records import (
    Excess,
    GeneratedOutput,
    GeneratedResult,
    MixEntry,
    MixGap,
    Pair,
    ReferenceSide,
    Repeat,
    RepeatedTrack,
    Replication,
    TracklistResult,
    to_json,
)
from auditor.report import json_schema as schema
from auditor.workspace import open_workspace

FOLDER = Path(__file__).parents[2] / "docs/schema"


def validator(kind: str) -> Draft202012Validator:
    made = schema.result_schema(kind)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


@pytest.mark.parametrize("kind", schema.DOCUMENTS)
def test_the_files_are_those_of_the_dataclasses(kind):
    text = schema.schema_text(schema.result_schema(kind))
    assert (FOLDER / f"{kind}.schema.json").read_text(encoding="utf-8") == text, (
        "Run: python -m auditor.report.json_schema docs/schema"
    )


def test_every_kind_has_its_file_and_no_other(tmp_path):
    written = schema.write_schemas(tmp_path / "new")
    assert sorted(p.name for p in written) == sorted(p.name for p in FOLDER.iterdir())


def test_constraints_name_fields_that_exist():
    everything = json.dumps([schema.result_schema(kind) for kind in schema.DOCUMENTS])
    for where in schema.CONSTRAINTS:
        cls, _, name = where.partition(".")
        found = getattr(schema, cls, None) or __import__("auditor.records").records.__dict__[cls]
        assert name in {field.name for field in dataclasses.fields(found)}, where
    assert "``" not in everything


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, dict]:
    """A real scan and a real check, by kind."""
    folder = tmp_path_factory.mktemp("schema")
    weights = save_small_extractor(folder)
    library = make_library(folder / "music")
    (library / "text.mp3").write_text("this is no music")
    new = write_tune(folder / "new.wav", 1)
    options = Options(threshold=THRESHOLD)
    with open_workspace(folder / "ws", extractor=weights, write=True) as opened:
        first = scan(opened, [library], options=options)
        tracks = {track.id: track for track in first.tracks}
        pair = first.pairs[-1]
        opened.catalogue.decide(tracks[pair.a].sha256, tracks[pair.b].sha256, "cover", note="x")
        made = (
            scan(opened, options=options),
            check(opened, [new], options=options),
            find_leaks(opened, name_splits(str(library), f"{library}/sub"), options=options),
            compare(opened, f"@folder={library}/sub", "@codec=pcm_s16le", options=options),
        )
    checked = {field.name: getattr(made[1], field.name) for field in dataclasses.fields(made[1])}
    entry = MixEntry(made[1].pairs[0].b, 0.0, 2.0, 1.0, 3.0, 1.0, None, 0.9, 0.0, ())
    mixed = TracklistResult(
        **checked | {"kind": "tracklist"}, entries=(entry,), gaps=(MixGap(2.0, 30.0),), n_parts=1
    )
    across = made[3]
    compared = {field.name: getattr(across, field.name) for field in dataclasses.fields(across)}
    pair = across.pairs[0]
    passage = Repeat(pair.a, pair.b, "training", 0.0, 3.0, 1.0, 4.0, 1.0, None, 0.9, True)
    generated = GeneratedResult(
        **compared | {"kind": "generated"},
        statement="of 1 output …",
        excess=(Excess("recording", 10.0, 1, 0, 1.0, 0.0, 1.0, 0.0, 2.0),),
        outputs=(GeneratedOutput(pair.a, 1, 3.0, 0.0, {"prompt": "x"}),),
        repeats=(passage,),
        repeated=(RepeatedTrack(pair.b, 1, 3.0, (), "artist"),),
        sides=(ReferenceSide("training", 1, 3.0, 0, 0, 1, 1.0),),
        replications=(Replication("pasted", 0.1, 3.0, 8, 6, 0.4, 0.9),),
    )
    return {result.kind: json.loads(to_json(result)) for result in (*made, mixed, generated)}


@pytest.mark.parametrize("kind", schema.RESULTS)
def test_real_results_follow_their_schema(results, kind):
    validator(kind).validate(results[kind])
    assert results[kind]["pairs"]
    assert any(pair["decision"] == "cover" for pair in results[kind]["pairs"])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("kind",), "recommend"),
        (("schema_version",), 1),
        (("more",), 1),
        (("n_tracks",), 1.5),
        (("search",), "guess"),
        (("pairs", 0, "decision"), "fine"),
        (("pairs", 0, "score"), "high"),
        (("pairs", 0, "more"), 1),
        (("tracks", 0, "sha256"), "x"),
        (("threshold", "far"), "1e-6"),
        (("provenance",), None),
    ],
)
def test_other_results_do_not(results, place, value):
    data = copy.deepcopy(results["scan"])
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ValidationError):
        validator("scan").validate(data)


def test_a_missing_field_is_seen(results):
    for name in results["scan"]:
        data = {key: value for key, value in results["scan"].items() if key != name}
        with pytest.raises(ValidationError, match=f"'{name}' is a required property"):
            validator("scan").validate(data)


class Verdict(StrEnum):
    SAME = "same recording"
    CLEAR = "clear"


@dataclass(frozen=True)
class Span:
    """A stretch.

    Attributes
    ----------
    start_s, end_s : float
        In seconds,
        from the start.
    """

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Rich:
    """Every type that a result may have."""

    verdict: Verdict
    how: Literal["a", "b"]
    spans: tuple[Span, ...]
    best: Span | None
    both: tuple[float, int]
    tempo: float | None
    counts: dict[str, tuple[float, ...]]
    named: dict[str, Span]
    pair: Pair


def test_nested_types():
    made = schema.schema_of(Rich)
    Draft202012Validator.check_schema(made)
    check_rich = Draft202012Validator(made)
    pair = dataclasses.asdict(Pair("a", "b", 0.5))
    span = {"start_s": 0.0, "end_s": 1.5}
    good = {
        "verdict": "clear",
        "how": "a",
        "spans": [span],
        "best": None,
        "both": [0.5, 2],
        "tempo": None,
        "counts": {"x": [1.0]},
        "named": {"y": span},
        "pair": pair,
    }
    check_rich.validate(good)
    check_rich.validate({**good, "best": span, "tempo": 1})
    assert made["$defs"]["Span"]["properties"]["end_s"]["description"] == (
        "In seconds, from the start."
    )
    for name, bad in {
        "verdict": "guilty",
        "how": "c",
        "spans": [{"start_s": 0.0}],
        "best": {},
        "both": [0.5, 2, 3],
        "tempo": "1",
        "counts": {"x": 1.0},
        "named": {"y": None},
        "pair": None,
    }.items():
        with pytest.raises(ValidationError):
            check_rich.validate({**good, name: bad})


def test_a_type_without_a_schema_is_named():
    @dataclass
    class Odd:
        when: set[int]

    with pytest.raises(TypeError, match="Odd.when is a set"):
        schema.schema_of(Odd)
