"""Results as Parquet: the columns of the CSV with their types, whatever the rows hold."""

from __future__ import annotations

import dataclasses
import io
import sys

import pytest
from small_report import make_check, make_scan

from auditor.errors import UsageError
from auditor.report.results_csv import result_table
from auditor.report.results_parquet import to_parquet

pq = pytest.importorskip("pyarrow.parquet")


def read(result):
    return pq.read_table(io.BytesIO(to_parquet(result)))


@pytest.mark.parametrize("make", [make_scan, make_check])
def test_every_column_is_there_with_its_type(make):
    result = make()
    table = read(result)
    names, rows = result_table(result)
    assert table.column_names == list(names)
    assert table.num_rows == len(rows)
    assert str(table.schema.field("score").type) == "double"
    assert table.schema.metadata[b"audit.kind"] == result.kind.encode()
    assert to_parquet(result) == to_parquet(result)


def test_the_types_do_not_depend_on_the_rows():
    result = make_scan()
    assert read(dataclasses.replace(result, pairs=())).schema == read(result).schema


def test_a_lone_surrogate_is_written_as_an_escape():
    result = make_scan()
    first, *others = result.tracks
    odd = dataclasses.replace(first, title="=x\ud800")
    table = read(dataclasses.replace(result, tracks=(odd, *others)))
    assert "=x\\ud800" in {*table["a_title"].to_pylist(), *table["b_title"].to_pylist()}


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="requires pyarrow.*pip install 'auditor\\[parquet\\]'"):
        to_parquet(make_scan())
