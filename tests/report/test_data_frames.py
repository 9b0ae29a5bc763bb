"""Results in a notebook: dicts, data frames with the columns of the CSV, and a table of HTML."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest
from small_report import HOSTILE, make_check, make_scan

from auditor.errors import UsageError
from auditor.records import to_json
from auditor.report.data_frames import to_notebook
from auditor.report.results_csv import result_table


def make_flagged_check():
    return make_check("same recording", "sounds alike")


@pytest.mark.parametrize("make", [make_scan, make_flagged_check])
def test_a_dict_is_what_the_json_says(make):
    result = make()
    assert result.to_dict() == json.loads(to_json(result))
    assert isinstance(result.to_dict()["pairs"], list)


@pytest.mark.parametrize("make", [make_scan, make_flagged_check])
def test_pandas_has_every_column_with_its_type(make):
    pytest.importorskip("pandas")
    result = make()
    frame = result.to_pandas()
    names, rows = result_table(result)
    assert list(frame.columns) == list(names)
    assert len(frame) == len(rows)
    kinds = {name: str(frame[name].dtype) for name in ("score", "flagged", "n_ranges", "a_genres")}
    assert kinds == {
        "score": "float64",
        "flagged": "boolean",
        "n_ranges": "Int64",
        "a_genres": "object",
    }
    assert frame["score"].tolist() == [row[0] for row in rows]
    assert frame[frame.flagged].shape[0] == sum(pair.flagged for pair in result.pairs)
    without = dataclasses.replace(result, pairs=()).to_pandas()
    assert without.empty
    assert (without.dtypes == frame.dtypes).all()


@pytest.mark.parametrize("make", [make_scan, make_flagged_check])
def test_polars_has_every_column_with_its_type(make):
    pl = pytest.importorskip("polars")
    result = make()
    frame = result.to_polars()
    names, rows = result_table(result)
    assert frame.columns == list(names)
    assert frame.height == len(rows)
    kinds = [frame.schema[name] for name in ("score", "flagged", "n_ranges", "a_genres")]
    assert kinds == [pl.Float64, pl.Boolean, pl.Int64, pl.List(pl.String)]
    assert frame.filter(pl.col("flagged")).height == sum(pair.flagged for pair in result.pairs)
    assert dataclasses.replace(result, pairs=()).to_polars().schema == frame.schema


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_missing_library_is_named(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        UsageError, match=rf"requires {library}.*pip install 'auditor\[{library}\]'"
    ):
        getattr(make_scan(), f"to_{library}")()


def test_a_notebook_shows_the_first_rows_and_says_how_many_more():
    result = make_scan()
    html = result._repr_html_()
    assert html == to_notebook(result)
    assert html.count("<tr>") == 1 + len(result.pairs)
    short = to_notebook(result, n_rows=1)
    assert short.count("<tr>") == 2
    assert f"{len(result.pairs) - 1} more rows" in short


def test_a_notebook_shows_hostile_tags_as_text():
    result = make_scan()
    tracks = tuple(dataclasses.replace(track, title=HOSTILE) for track in result.tracks)
    html = to_notebook(dataclasses.replace(result, tracks=tracks))
    assert "<img" not in html
    assert "&lt;img" in html
