"""benchmarks/fetch_corpus.py: it says what it downloads before it does."""

from __future__ import annotations

import argparse

from fetch_corpus import read_corpus, what_to_fetch


def test_the_size_of_what_is_not_there_yet_is_told(tmp_path):
    args = argparse.Namespace(into=tmp_path, package=None)
    rows = [row for row in read_corpus() if row["role"] == "val"]
    assert len(rows) > 1
    total = sum(float(row["download_MB"] or 0) for row in rows)
    first = float(rows[0]["download_MB"] or 0)
    said = what_to_fetch(rows, args)
    assert said.startswith(f"{len(rows)} of {len(rows)} packages to download: {total:,.0f} MB, ")
    (tmp_path / "val" / rows[0]["package"]).mkdir(parents=True)
    (tmp_path / "val" / rows[0]["package"] / ".complete").write_text("")
    said = what_to_fetch(rows, args)
    assert said.startswith(f"{len(rows) - 1} of {len(rows)} packages to download: ")
    assert f": {total - first:,.0f} MB, " in said
