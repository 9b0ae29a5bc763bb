"""The excerpt index: what was planted is found, whatever came, left, broke or was killed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor import serialisation
from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.errors import IndexFileError
from auditor.records import Track, TrackEmbedding
from auditor.search import index_file
from auditor.search.excerpts import build as excerpt_build
from auditor.search.excerpts import shards as excerpt_shards
from auditor.search.excerpts.backends.annoy import ExcerptConfig, distinct_windows, main_axes
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptSearch, ExcerptSource, excerpt_pairs, open_excerpts
from auditor.search.excerpts.shards import ShardWriter, read_shard, sidecar_paths
from auditor.search.excerpts.votes import Hits, best_lines, vote_weights

WEIGHTS = "0a1b2c3d"
HOP_S = 0.8
N_DIMS = 32
EXACT = ExcerptConfig(n_axes=N_DIMS)
ALL_NODES = ExcerptSearch(search_k=10**6)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def walk(n: int, seed: int) -> np.ndarray:
    """Return (n, N_DIMS) unit rows, each like its neighbours, as windows that overlap are."""
    steps = np.random.default_rng(seed).normal(size=(n + 3, N_DIMS))
    return unit(sum(steps[i : n + i] for i in range(4)))


def noisy(rows: np.ndarray, seed: int, level: float = 0.1) -> np.ndarray:
    return unit(rows + level * np.random.default_rng(seed).normal(size=rows.shape))


Tracks = dict[str, np.ndarray]


def library(n: int = 12) -> Tracks:
    return {f"t{i:02}": walk(50 + 3 * i, seed=i) for i in range(n)}


def source_of(tracks: Tracks, levels: dict[str, np.ndarray] | None = None) -> ExcerptSource:
    def read(track_id: str) -> tuple[np.ndarray, np.ndarray]:
        rows = tracks[track_id].astype(np.float16)
        return rows, (levels or {}).get(track_id, np.zeros(len(rows), np.float16))

    versions = {i: zlib.crc32(rows.tobytes()) for i, rows in tracks.items()}
    return ExcerptSource(WEIGHTS, N_DIMS, versions, read)


def refresh(folder, tracks: Tracks, **how):
    return refresh_excerpts(folder, source_of(tracks), hop_s=HOP_S, **({"config": EXACT} | how))


def reopen(folder, tracks: Tracks, **how):
    return open_excerpts(folder, source_of(tracks), hop_s=HOP_S, **how)


def planted(tracks: Tracks, track_id: str = "t05", first: int = 20) -> np.ndarray:
    """Return a host of 75 windows whose windows 40 to 48 are a noisy copy: some 10 s."""
    host = walk(75, seed=99)
    host[40:49] = noisy(tracks[track_id][first : first + 9], seed=1)
    return host


@pytest.fixture
def built(tmp_path):
    """A folder with the shards of a library, and the library."""
    tracks = library()
    assert refresh(tmp_path, tracks).n_tracks == 12
    return tmp_path, tracks


# What is found.


@pytest.mark.parametrize("n_axes", [N_DIMS, 24])
@pytest.mark.parametrize("first", [20, 21])
def test_ten_seconds_planted_in_another_track_are_found_where_they_lie(tmp_path, n_axes, first):
    tracks = library()
    index = refresh(tmp_path, tracks, config=ExcerptConfig(n_axes=n_axes)).index
    best, second = index.candidates(planted(tracks, first=first))[:2]
    assert best.track_id == "t05"
    assert best.votes >= 7
    assert best.score > 2 * second.score
    middle_s = 44 * HOP_S
    assert best.offset_s + best.tempo * middle_s == pytest.approx(HOP_S * (first + 4), abs=1.7)


@pytest.mark.parametrize("tempo", [0.8, 1.0, 1.25])
def test_tempo_and_offset_of_a_long_copy_are_told(built, tempo):
    folder, tracks = built
    at = 8 + np.arange(int(60 / tempo)) * tempo
    low = np.floor(at).astype(int)
    share = (at - low)[:, None]
    query = unit((1 - share) * tracks["t11"][low] + share * tracks["t11"][low + 1])
    best = reopen(folder, tracks).candidates(query)[0]
    assert best.track_id == "t11"
    assert best.tempo == pytest.approx(tempo, rel=0.04)
    assert best.offset_s == pytest.approx(8 * HOP_S, abs=3 * HOP_S)


def test_the_query_itself_is_left_out_when_asked_and_the_next_best_is_found(built):
    folder, tracks = built
    tracks["host"] = planted(tracks)
    index = refresh(folder, tracks).index
    assert index.candidates(tracks["host"])[0].track_id == "host"
    alone = index.candidates(tracks["host"], exclude="host")
    assert alone[0].track_id == "t05"
    assert "host" not in {candidate.track_id for candidate in alone}


def test_silence_is_not_indexed_and_does_not_ask(tmp_path):
    tracks = library(4)
    hush = np.zeros(len(tracks["t01"]), np.float16)
    hush[10:30] = -110.0
    index = refresh_excerpts(tmp_path, source_of(tracks, {"t01": hush}), hop_s=HOP_S).index
    hits = index.hits(tracks["t01"], search=ALL_NODES)
    assert not set(hits.windows[hits.tracks == 1].tolist()) & set(range(10, 30))
    asked = index.hits(tracks["t01"], levels=hush, search=ALL_NODES).queries
    assert set(asked.tolist()) == set(range(len(hush))) - set(range(10, 30))
    nothing = np.zeros((5, N_DIMS), np.float32)
    assert index.candidates(nothing) == []
    assert index.candidates(nothing[:0]) == []


def test_only_the_first_repeats_of_a_loop_are_indexed():
    bar = walk(6, seed=3)
    rows = np.concatenate([np.tile(bar, (40, 1)), walk(2100, seed=4)])
    config = ExcerptConfig(step=2, n_repeats=3)
    windows, kept = distinct_windows(rows.astype(np.float16), np.zeros(len(rows)), config)
    assert windows[windows < 240].tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert np.array_equal(windows[windows >= 240], np.arange(240, len(rows), 2))
    assert np.allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-6)


def test_axes_hold_what_rows_of_few_dimensions_hold():
    rng = np.random.default_rng(0)
    rows = unit(rng.normal(size=(300, 8)) @ rng.normal(size=(8, N_DIMS)))
    axes = main_axes(rows, 8)
    assert axes.shape == (N_DIMS, 8)
    assert np.allclose(np.linalg.norm(rows @ axes, axis=1), 1, atol=1e-5)
    assert np.array_equal(main_axes(rows, 99), np.eye(N_DIMS))


# Votes.


def hits_of(rows: list[tuple[int, int, int, float]]) -> Hits:
    queries, tracks, windows, cosines = zip(*rows, strict=True)
    return Hits(*(np.array(c) for c in (queries, tracks, windows)), np.array(cosines, np.float32))


def test_a_line_outweighs_as_many_hits_here_and_there():
    line = [(q, 0, q + 30, 0.8) for q in range(10)]
    stray = [(q, 1, 17 * q % 50, 0.8) for q in range(10)]
    background = [(q, 2 + q, 5, 0.5) for q in range(10)]
    lines = best_lines(hits_of(line + stray + background), top=5)
    assert lines.tracks.tolist() == [0, 1]  # one vote is no line
    assert lines.votes[0] == 10 and lines.offsets[0] == pytest.approx(30, abs=1)
    assert lines.scores[0] > 2 * lines.scores[1]


def test_a_window_that_everything_hits_and_a_query_near_everything_say_little():
    copy = [(q, 0, q + 30, 0.8) for q in range(10)]
    hub = [(q, 1, 7, 0.8) for q in range(10)]
    background = [(q, 2 + q, 5, 0.5) for q in range(10)]
    weights = vote_weights(hits_of(copy + hub + background))
    assert weights[0] > 2 * weights[10]
    drone = [(q, t, q, 0.9) for q in range(10) for t in range(8)]
    assert vote_weights(hits_of(drone)).max() < weights[0] / 2


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_lines_do_not_depend_on_the_order_of_hits_and_count_each_window_once(data):
    whole = st.integers(0, 12)
    row = st.tuples(whole, st.integers(0, 4), whole.map(lambda w: 2 * w), st.floats(0.1, 1.0))
    rows = data.draw(st.lists(row, min_size=1, max_size=60, unique_by=lambda r: r[:3]))
    lines = best_lines(hits_of(rows), top=3)
    shuffled = best_lines(hits_of(data.draw(st.permutations(rows))), top=3)
    for a, b in zip(lines, shuffled, strict=True):
        np.testing.assert_allclose(a, b)
    for track, votes in zip(lines.tracks, lines.votes, strict=True):
        assert votes <= len({q for q, t, _, _ in rows if t == track})
    assert np.all(np.diff(lines.scores) <= 0)


def test_nothing_votes_for_nothing_and_numbers_out_of_range_are_refused():
    empty = Hits(*(np.zeros(0, np.int64),) * 3, np.zeros(0, np.float32))
    assert len(best_lines(empty, top=3).tracks) == 0
    with pytest.raises(ValueError, match="top is 0 and width 2"):
        best_lines(empty, top=0)


# What came, changed and left.


def test_built_step_by_step_it_answers_as_if_built_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(excerpt_build, "SMALL_ROWS", 64)
    tracks = library(14)
    grown: Tracks = {}
    for track_id in sorted(tracks, key=lambda i: zlib.crc32(i.encode())):
        grown[track_id] = tracks[track_id]
        step_by_step = refresh(tmp_path / "grown", grown).index
        assert step_by_step.uncovered == ()
    at_once = refresh(tmp_path / "whole", tracks).index
    assert 1 < len(step_by_step.shards) <= 6
    assert len(at_once.shards) == 1
    for query in (planted(tracks), tracks["t03"], noisy(tracks["t08"], 5, level=0.3)):
        one, other = (i.candidates(query, search=ALL_NODES) for i in (step_by_step, at_once))
        assert [dataclasses.replace(c, score=0) for c in one] == [
            dataclasses.replace(c, score=0) for c in other
        ]
        assert [c.score for c in one] == pytest.approx([c.score for c in other], abs=1e-4)


def test_tracks_are_written_a_few_times_only_and_the_files_are_those_of_the_shards(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(excerpt_build, "SMALL_ROWS", 32)
    tracks = {f"t{i:03}": walk(12, seed=i) for i in range(70)}
    n_written = 0
    for n in range(1, 71):
        refreshed = refresh(tmp_path, dict(list(tracks.items())[:n]))
        n_written += refreshed.n_tracks
    assert n_written <= 70 * 5
    assert len(refreshed.index.shards) <= 9
    assert sorted(
        i for n in range(len(refreshed.index.shards)) for i in refreshed.index.current_ids(n)
    ) == sorted(tracks)
    assert len(list(tmp_path.iterdir())) == 3 * len(refreshed.index.shards)


def test_no_shard_grows_past_its_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(excerpt_build, "MAX_ROWS", 100)
    tracks = library()
    index = refresh(tmp_path, tracks).index
    assert max(shard.sidecar.n_items for shard in index.shards) <= 100
    assert len(index.shards) >= 4
    assert refresh(tmp_path, tracks).n_shards == 0
    assert index.candidates(planted(tracks))[0].track_id == "t05"


def test_what_is_up_to_date_is_not_touched_and_the_same_tracks_give_the_same_bytes(built, tmp_path):
    folder, tracks = built
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    again = refresh(folder, tracks)
    assert (again.n_tracks, again.n_shards, again.reasons) == (0, 0, ())
    refresh(tmp_path / "twin", tracks)
    assert {path.name: path.read_bytes() for path in (tmp_path / "twin").iterdir()} == before


def test_a_track_that_left_is_passed_over_and_one_that_changed_is_written_again(built):
    folder, tracks = built
    query = planted(tracks)
    del tracks["t05"]
    tracks["t06"] = walk(40, seed=606)
    index = reopen(folder, tracks)
    assert index.uncovered == ("t06",)
    assert "t05" not in {c.track_id for c in index.candidates(query, search=ALL_NODES)}
    assert not (index.hits(query, search=ALL_NODES).tracks < 0).any()
    refreshed = refresh(folder, tracks)
    assert (refreshed.n_tracks, refreshed.n_shards) == (1, 1)
    assert refreshed.index.candidates(tracks["t06"])[0].votes == 40


def test_a_shard_more_than_half_out_of_date_is_written_again(built):
    folder, tracks = built
    few = {i: tracks[i] for i in ("t03", "t04", "t05")}
    refreshed = refresh(folder, few)
    assert refreshed.n_tracks == 3 and "half out of date" in refreshed.reasons[0]
    assert list(refreshed.index.shards[0].tracks) == ["t03", "t04", "t05"]
    assert len(list(folder.iterdir())) == 3


def test_another_config_is_another_index(built):
    folder, tracks = built
    refreshed = refresh(folder, tracks, config=ExcerptConfig(step=4, n_axes=16))
    assert refreshed.n_tracks == 12 and "step=2" in refreshed.reasons[0]
    assert refreshed.index.candidates(planted(tracks))[0].track_id == "t05"
    assert len(list(folder.iterdir())) == 3


def test_without_a_track_nothing_is_found_and_no_shard_is_lost(built):
    folder, _ = built
    source = ExcerptSource(WEIGHTS, 0, {}, lambda i: (_ for _ in ()).throw(KeyError(i)))
    refreshed = refresh_excerpts(folder, source, hop_s=HOP_S)
    assert refreshed.n_shards == 0 and len(list(folder.iterdir())) == 3
    assert refreshed.index.candidates(walk(9, 1)) == []
    assert open_excerpts(folder / "absent", source, hop_s=HOP_S).ids == ()


def test_a_track_of_silence_only_is_covered_by_no_row(tmp_path):
    tracks = library(1)
    source = source_of(tracks, {"t00": np.full(50, -120.0, np.float16)})
    for n_written in (1, 0):
        refreshed = refresh_excerpts(tmp_path, source, hop_s=HOP_S)
        assert refreshed.n_tracks == n_written and refreshed.index.uncovered == ()
    assert refreshed.index.candidates(tracks["t00"]) == []


# Damage, kills and strangers.


def only(folder, suffix):
    (path,) = folder.glob(f"*{suffix}")
    return path


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".ann", ".rows", ".json"])
@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"[" * 100_000),
        lambda path: path.unlink(),
    ],
)
def test_a_damaged_shard_is_left_out_and_written_again(built, suffix, damage):
    folder, tracks = built
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(only(folder, suffix))
    index = reopen(folder, tracks)
    assert index.uncovered == tuple(tracks)
    assert index.candidates(planted(tracks)) == []
    refreshed = refresh(folder, tracks)
    assert refreshed.n_tracks == 12
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_damage_is_told_with_its_reason(built):
    folder, tracks = built
    flip_a_byte(only(folder, ".ann"))
    message = (
        r"cannot be used: the SHA-256 of .*\.ann is not the one in the sidecar\. Run audit scan "
        rf"with the extractor of weights {WEIGHTS}: .* delete {WEIGHTS}-[0-9a-f]{{16}}\.\*$"
    )
    with pytest.raises(IndexFileError, match=message):
        read_shard(only(folder, ".json"), WEIGHTS, N_DIMS)
    assert "SHA-256" in refresh(folder, tracks).reasons[0]


def test_large_files_are_hashed_only_when_asked(built, monkeypatch):
    folder, tracks = built
    monkeypatch.setattr(excerpt_shards, "VERIFY_BYTES", 100)
    path = only(folder, ".ann")
    data = bytearray(path.read_bytes())
    data[12] ^= 1  # a mantissa bit of the first row: harmless to Annoy
    path.write_bytes(data)
    assert reopen(folder, tracks).uncovered == ()
    assert reopen(folder, tracks, verify=True).uncovered == tuple(tracks)


def forge(old, change):
    """Change a sidecar and give its shard the name that belongs to it; return the new path."""
    text = json.dumps(json.loads(old.read_bytes()) | change).encode()
    name = hashlib.sha256(text).hexdigest()[:16]
    path = old.with_name(f"{WEIGHTS}-{name}.json")
    for suffix in (".ann", ".rows"):
        old.with_suffix(suffix).rename(path.with_suffix(suffix))
    old.unlink()
    path.write_bytes(text)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 1}, "format_version is 1; 2 was expected"),
        ({"n_items": 3}, r"\.rows has [0-9,]+ bytes of [0-9,]+"),
        ({"n_dims": 0}, "n_dims is 0"),
        ({"n_dims": 16}, "it has 16 dimensions of weights 0a1b2c3d; 32 of 0a1b2c3d were expected"),
        ({"weights_id": "../x"}, "weights_id is '../x'"),
        ({"id_bytes": 0}, "n_tracks is 12 and id_bytes 0"),
        ({"n_tracks": 15, "id_bytes": 0}, "n_tracks is 15 and id_bytes 0"),
        ({"config": {"step": 0}}, "step is 0; 1 to 64 is allowed"),
        ({"extra": 1}, "unknown field 'extra'"),
        ({"data_size": 7}, "has [0-9,]+ bytes of 7"),
    ],
)
def test_a_sidecar_forged_with_its_hash_is_still_checked(built, change, message):
    folder, tracks = built
    path = forge(only(folder, ".json"), change)
    with pytest.raises(IndexFileError, match=message):
        read_shard(path, WEIGHTS, N_DIMS)
    assert refresh(folder, tracks).n_tracks == 12
    assert not path.exists()


@pytest.mark.parametrize("window", [-1, 1 << 24])
def test_windows_that_no_track_has_are_damage(tmp_path, window):
    writer = ShardWriter(tmp_path, WEIGHTS, EXACT, np.eye(N_DIMS, dtype=np.float32))
    writer.add("t", 0, np.array([4, window]), walk(2, 1))
    with pytest.raises(IndexFileError, match=r"\.rows names the windows -?[0-9]+ to [0-9]+"):
        read_shard(writer.close(), WEIGHTS, N_DIMS)


@pytest.mark.parametrize(("version", "n_left"), [(1, 0), (2, 3), (3, 3), ("x", 3)])
def test_shards_of_an_older_layout_go_with_the_next_scan_of_any_extractor(built, version, n_left):
    folder, tracks = built
    path = forge(only(folder, ".json"), {"format_version": version})
    if version == 1:
        with pytest.raises(IndexFileError, match=r"expected\. Remove it with: audit scan$"):
            read_shard(path, WEIGHTS, N_DIMS)
    other = dataclasses.replace(source_of(tracks), weights_id="9f8e7d6c")
    refresh_excerpts(folder, other, hop_s=HOP_S)
    assert len(list(folder.glob(f"{WEIGHTS}-*"))) == n_left
    assert len(list(folder.glob("9f8e7d6c-*"))) == 3


def test_shards_of_another_extractor_are_neither_read_nor_touched(built):
    folder, tracks = built
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = dataclasses.replace(source_of(tracks), weights_id="9f8e7d6c")
    assert len(open_excerpts(folder, other, hop_s=HOP_S).uncovered) == 12
    refresh_excerpts(folder, other, hop_s=HOP_S)
    assert len(list(folder.iterdir())) == 6
    assert before.items() <= {path.name: path.read_bytes() for path in folder.iterdir()}.items()


@pytest.mark.parametrize("n_files", [0, 1, 2])
def test_a_build_killed_before_its_sidecar_leaves_the_index_as_it_was(built, monkeypatch, n_files):
    folder, tracks = built
    before = reopen(folder, tracks).candidates(planted(tracks))
    put, n_calls = index_file.put_in_place, 0

    def killed(partial, path):
        nonlocal n_calls
        n_calls += 1
        if n_calls > n_files:
            raise KeyboardInterrupt
        put(partial, path)

    more = tracks | {"u": walk(60, seed=77)}
    with monkeypatch.context() as patch:
        for module in (index_file, serialisation):  # the sidecar is written by the latter
            patch.setattr(module, "put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            refresh(folder, more)
    assert reopen(folder, tracks).candidates(planted(tracks)) == before
    assert reopen(folder, more).uncovered == ("u",)
    assert refresh(folder, more).n_tracks == 1
    assert len(list(folder.iterdir())) == 6


def test_a_merge_killed_before_the_merged_shards_go_counts_no_row_twice(tmp_path, monkeypatch):
    tracks = library(8)
    for n in (2, 4, 6):
        refresh(tmp_path, dict(list(tracks.items())[:n]))
    assert len(sidecar_paths(tmp_path, WEIGHTS)) == 3

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(excerpt_build, "remove_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            refresh(tmp_path, tracks)
    assert len(sidecar_paths(tmp_path, WEIGHTS)) == 5
    index = reopen(tmp_path, tracks)
    assert index.n_current_rows[1:] == [0, 0, 0, 0]
    found = index.candidates(planted(tracks))
    refreshed = refresh(tmp_path, tracks)
    assert refreshed.n_tracks == 0 and len(sidecar_paths(tmp_path, WEIGHTS)) == 1
    assert refreshed.index.candidates(planted(tracks)) == found


def test_a_reader_goes_on_with_shards_that_are_merged_away(built):
    folder, tracks = built
    reader = reopen(folder, tracks)
    found = reader.candidates(planted(tracks))
    refresh(folder, tracks, config=ExcerptConfig(step=4))
    assert reader.candidates(planted(tracks)) == found


# Pairs of a catalogue.


def test_pairs_of_a_catalogue_hold_the_planted_ones_with_their_lines(built):
    folder, tracks = built
    tracks["a-host"] = planted(tracks, "t05", 20)
    tracks["z-host"] = planted(tracks, "t07", 30)
    source = source_of(tracks)
    index = refresh_excerpts(folder, source, hop_s=HOP_S, config=EXACT).index
    seen = []
    pairs = excerpt_pairs(index, source, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (14, 14)
    assert np.all(pairs.rows_a < pairs.rows_b)
    names = [(pairs.ids[a], pairs.ids[b]) for a, b in zip(pairs.rows_a, pairs.rows_b, strict=True)]
    assert names == sorted(set(names))
    by_score = [names[i] for i in np.argsort(-pairs.scores)]
    # The hosts share all but nine windows.
    assert by_score[0] == ("a-host", "z-host")
    assert set(by_score[1:3]) == {("a-host", "t05"), ("t07", "z-host")}
    for pair, at_a, at_b in ((("a-host", "t05"), 44, 24), (("t07", "z-host"), 34, 44)):
        i = names.index(pair)
        there = pairs.offsets_s[i] + pairs.tempos[i] * at_a * HOP_S
        assert there == pytest.approx(at_b * HOP_S, abs=2.5)
    some = excerpt_pairs(index, source, ids=["z-host"], search=ExcerptSearch(query_step=2, top=3))
    assert 1 <= len(some.rows_a) <= 3
    assert {pairs.ids[b] for b in some.rows_b} == {"z-host"}
    assert len(excerpt_pairs(index, source, ids=[]).rows_a) == 0
    with pytest.raises(ValueError, match="the track 'nobody' is not in the index"):
        excerpt_pairs(index, source, ids=["nobody"])


def test_a_real_catalogue_is_indexed_as_it_grows_and_shrinks(tmp_path):
    tracks = library(5) | {"t09": planted(library(9))}
    with Catalogue.open(tmp_path / "catalogue.sqlite3") as catalogue:
        for i, (track_id, rows) in enumerate(tracks.items()):
            mean = unit(rows.mean(axis=0))
            levels = np.zeros(len(rows), np.float16)
            track = Track(
                id=track_id,
                path=f"/{track_id}",
                sha256=f"{i:064x}",
                size=1,
                duration_s=60.0,
                declared_s=None,
                truncated=False,
                silent=False,
                codec="flac",
                container="flac",
                sample_rate_hz=44_100,
                n_channels=2,
                bit_rate=None,
            )
            catalogue.put(
                track,
                path_bytes=os.fsencode(track.path),
                stamp=FileStamp(1, i),
                embeddings={WEIGHTS: TrackEmbedding(mean, rows, levels)},
            )
        source = ExcerptSource.of(catalogue, WEIGHTS)
        index = refresh_excerpts(tmp_path / "excerpts", source, hop_s=HOP_S).index
        assert index.ids == tuple(sorted(tracks))
        assert index.candidates(tracks["t02"])[0].track_id == "t02"
        catalogue.remove(["t02"])
        source = ExcerptSource.of(catalogue, WEIGHTS)
        index = open_excerpts(tmp_path / "excerpts", source, hop_s=HOP_S)
        assert "t02" not in {c.track_id for c in index.candidates(tracks["t02"])}
        catalogue.mark_missing([*list(tracks)[:2], "t03", "t04", "t09"])
        gone = ExcerptSource.of(catalogue, WEIGHTS)
        assert refresh_excerpts(tmp_path / "excerpts", gone, hop_s=HOP_S).index.ids == ()
        assert len(sidecar_paths(tmp_path / "excerpts", WEIGHTS)) == 1


# Callers' mistakes.


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"step": 0}, "step is 0; 1 to 64 is allowed"),
        ({"n_axes": 0}, "n_axes is 0"),
        ({"n_trees": 0}, "n_trees is 0"),
        ({"repeat_cosine": float("nan")}, "repeat_cosine is nan"),
        ({"backend": "x"}, r"backend is 'x'; one of \['annoy', 'faiss', 'usearch'\]"),
    ],
)
def test_a_config_out_of_range_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        ExcerptConfig(**how)


@pytest.mark.parametrize("how", [{"per_window": 0}, {"query_step": 0}, {"search_k": 0}, {"top": 0}])
def test_a_search_out_of_range_is_refused(how):
    with pytest.raises(ValueError, match=f"{next(iter(how))} is 0; it must be at least 1"):
        ExcerptSearch(**how)


def test_a_query_of_another_shape_and_a_weights_id_that_is_a_path_are_refused(built):
    folder, tracks = built
    with pytest.raises(ValueError, match=r"the query is \(3, 16\); \(n_query, 32\) was expected"):
        reopen(folder, tracks).candidates(np.ones((3, 16), np.float32))
    with pytest.raises(ValueError, match=r"weights_id is '../x'; letters and digits are needed"):
        ExcerptSource("../x", 1, {}, source_of(tracks).read)
