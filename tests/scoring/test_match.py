"""Scan and check with the shipped excerpt extractor: the second witness decides."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from small_audit import facts
from tunes import tune
from typer.testing import CliRunner

import auditor.ingest.prepare
from auditor.api.check import check
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import write_audio
from auditor.augment.waveform import change_speed, plant
from auditor.cli import app
from auditor.errors import IndexFileError
from auditor.evidence.match_score import LOWEST_THRESHOLD, MIN_SCORE_TO_CONFIRM
from auditor.ingest.session import ingest
from auditor.parallel import LocalTiles
from auditor.scoring.track_reader import CatalogueReader
from auditor.search.all_pairs import nearest_rows, similar_rows
from auditor.search.exact import find_pairs, nearest
from auditor.workspace import open_workspace

OPTIONS = Options(threshold=0.45, compositions=False)
N_TRACKS = 6


def music(seed: int) -> np.ndarray:
    return tune(seed, duration_s=40.0)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Six tunes, and of some of them a copy, a copy of the file, and ten seconds in another one."""
    folder = tmp_path_factory.mktemp("library")
    for seed in range(N_TRACKS):
        write_audio(folder / f"tune-{seed}.wav", music(seed), codec="wav")
    write_audio(folder / "copy-of-0.mp3", music(0), codec="mp3", bit_rate=64_000)
    shutil.copy(folder / "tune-1.wav", folder / "again-1.wav")
    excerpt = music(2)[12 * SAMPLE_RATE_HZ : 24 * SAMPLE_RATE_HZ]
    write_audio(folder / "holds-2.flac", plant(excerpt, music(50), position_s=20.0), codec="flac")
    return folder


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, library):
    folder = tmp_path_factory.mktemp("ws")
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        result = scan(workspace, [library], options=OPTIONS)
    return folder, result


def named(result, tracks=None) -> dict[frozenset[str], object]:
    of = {t.id: Path(t.path).name for t in (*result.tracks, *(tracks or ()))}
    return {frozenset((of[p.a], of[p.b])): p for p in result.pairs}


def test_a_scan_says_what_each_pair_shares(scanned):
    _, result = scanned
    pairs = named(result)
    flagged = {names: pair.verdict for names, pair in pairs.items() if pair.flagged}
    assert flagged == {
        frozenset(("tune-0.wav", "copy-of-0.mp3")): "same recording",
        frozenset(("tune-1.wav", "again-1.wav")): "identical file",
        frozenset(("tune-2.wav", "holds-2.flac")): "shared excerpt",
    }
    pair = pairs[frozenset(("tune-2.wav", "holds-2.flac"))]
    of = {t.id: Path(t.path).name for t in result.tracks}
    best = pair.evidence.ranges[0]
    times = (best.a_start_s, best.a_end_s), (best.b_start_s, best.b_end_s)
    in_original, in_host = times if of[pair.a] == "tune-2.wav" else times[::-1]
    assert in_original == pytest.approx((12.0, 24.0), abs=1.5)
    assert in_host == pytest.approx((20.0, 32.0), abs=1.5)
    assert best.correlation > 0.4
    assert best.pitch_semitones == pytest.approx(0.0, abs=0.2)
    assert pair.similarity < 0.95
    assert pair.score >= pair.evidence.score


def test_a_scan_counts_what_it_examined(scanned):
    _, result = scanned
    n = N_TRACKS + 2
    assert result.n_tracks == n + 1, "two of them are one content"
    assert 0 < result.n_pairs_compared <= n * (n - 1) // 2
    assert sum(result.histogram["counts"]) == result.n_pairs_compared
    assert result.threshold.n_comparisons in (None, n * (n - 1) // 2)
    assert {cluster.original_why for cluster in result.clusters} != {""}


def test_a_second_scan_says_the_same(scanned):
    folder, result = scanned
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        again = scan(workspace, options=OPTIONS)
    assert again.pairs == result.pairs
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        annoy = scan(workspace, options=Options(threshold=0.45, search="annoy", compositions=False))
    assert [p for p in annoy.pairs if p.flagged] == [p for p in result.pairs if p.flagged]


def test_a_result_does_not_depend_on_tiles_nor_on_jobs(scanned, monkeypatch):
    folder, result = scanned
    monkeypatch.setattr("auditor.search.all_pairs.TILE_ROWS", 2)
    monkeypatch.setattr("auditor.scoring.candidates.TILE_TRACKS", 2)
    monkeypatch.setattr("auditor.scoring.examine.TILE_PAIRS", 4)
    for jobs in (1, 2):
        done = []
        shutil.rmtree(folder / "examined")  # or nothing is left to examine
        with (
            open_workspace(folder, extractor="excerpt", write=True) as workspace,
            LocalTiles(jobs) as tiles,
        ):
            again = scan(
                workspace,
                options=OPTIONS,
                tiles=tiles,
                on_pair=lambda n, n_total, done=done: done.append((n, n_total)),
            )
        assert facts(again) == facts(result)
        n = result.n_pairs_compared
        assert (done[0], done[1], done[-1]) == ((0, n), (4, n), (n, n))


def test_the_nearest_of_tiles_are_those_of_one_comparison(monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    embeddings[30:] = embeddings[:20]  # equal scores go by row
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    reader = CatalogueReader(Path(), None, "w", hop_s=0.8, window_s=3.2, tracks=([], embeddings))
    monkeypatch.setattr("auditor.search.all_pairs.TILE_ROWS", 7)
    for top in (1, 6, 50, 60):
        with LocalTiles(2) as tiles:
            rows = nearest_rows(tiles, reader, 50, top=top)
        np.testing.assert_array_equal(rows, nearest(embeddings, embeddings, top)[0])


def test_the_pairs_of_tiles_are_those_of_one_comparison(monkeypatch):
    embeddings = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    reader = CatalogueReader(Path(), None, "w", hop_s=0.8, window_s=3.2, tracks=([], embeddings))
    one = find_pairs(embeddings, 0.9, block=16)
    monkeypatch.setattr("auditor.search.all_pairs.TILE_ROWS", 64)
    with LocalTiles(2) as tiles:
        found = similar_rows(tiles, reader, 300, 0.9)
    for name in ("rows_a", "rows_b", "scores"):
        np.testing.assert_array_equal(getattr(found, name), getattr(one, name))
    assert found.n_compared == one.n_compared == found.histogram.sum()
    best = similar_rows(LocalTiles(), reader, 300, 0.9, max_pairs=40)
    assert best.n_left_out == len(one.scores) - 40
    for name in ("rows_a", "rows_b", "scores"):
        np.testing.assert_array_equal(getattr(best, name), getattr(one, name)[:40])


def test_a_check_finds_an_altered_copy_and_an_excerpt(scanned, tmp_path):
    folder, _ = scanned
    from auditor.augment.waveform import change_speed

    write_audio(tmp_path / "fast-3.wav", change_speed(music(3), 1.06), codec="wav")
    excerpt = music(4)[5 * SAMPLE_RATE_HZ : 17 * SAMPLE_RATE_HZ]
    write_audio(tmp_path / "with-4.wav", plant(excerpt, music(60), position_s=3.0), codec="wav")
    write_audio(tmp_path / "new.wav", music(70), codec="wav")
    with open_workspace(folder, extractor="excerpt", write=False) as workspace:
        result = check(workspace, [tmp_path], options=OPTIONS)
    pairs = named(result, result.submissions)
    fast = pairs[frozenset(("fast-3.wav", "tune-3.wav"))]
    assert (fast.verdict, fast.flagged) == ("altered recording", True)
    assert fast.evidence.ranges[0].tempo == pytest.approx(1.06, rel=0.01)
    assert fast.evidence.ranges[0].pitch_semitones == pytest.approx(1.0, abs=0.3)
    part = pairs[frozenset(("with-4.wav", "tune-4.wav"))]
    assert (part.verdict, part.flagged) == ("shared excerpt", True)
    of = {s.id: Path(s.path).name for s in result.submissions}
    nearest = [p for p in result.pairs if of[p.a] == "new.wav"]
    assert nearest
    assert {p.verdict for p in nearest} <= {"clear", "sounds alike"}
    assert sum(p.flagged for p in result.pairs) == 2


def test_a_long_submission_has_more_candidates(scanned, tmp_path, monkeypatch):
    folder, _ = scanned
    monkeypatch.setattr("auditor.scoring.match.N_NEAREST", 1)
    monkeypatch.setattr("auditor.scoring.match.N_CHECKED", 1)
    monkeypatch.setattr("auditor.scoring.match.CHECKED_S", 15.0)
    parts = [music(n)[5 * SAMPLE_RATE_HZ : 20 * SAMPLE_RATE_HZ] for n in (3, 4, 5)]
    write_audio(tmp_path / "one.wav", parts[0], codec="wav")
    write_audio(tmp_path / "mix.wav", np.concatenate(parts), codec="wav")
    with open_workspace(folder, extractor="excerpt", write=False) as workspace:
        one = check(workspace, [tmp_path / "one.wav"], options=OPTIONS)
        mix = check(workspace, [tmp_path / "mix.wav"], options=OPTIONS)
    assert one.n_pairs_compared <= 2
    assert 3 <= mix.n_pairs_compared <= 4
    heard = {name for names in named(mix, mix.submissions) for name in names}
    assert {f"tune-{n}.wav" for n in (3, 4, 5)} <= heard


def test_a_submission_that_is_in_the_catalogue_has_as_many_neighbours(
    scanned, library, tmp_path, monkeypatch
):
    folder, _ = scanned
    monkeypatch.setattr("auditor.scoring.match.N_NEAREST", 3)
    monkeypatch.setattr(
        "auditor.search.excerpts.index.ExcerptIndex.candidates", lambda *_, **__: []
    )
    shutil.copy(library / "tune-3.wav", tmp_path / "new.wav")
    with open(tmp_path / "new.wav", "ab") as file:
        file.write(bytes(2))  # other bytes, the same music
    with open_workspace(folder, extractor="excerpt", write=False) as workspace:
        inside = check(workspace, [library / "tune-3.wav"], options=OPTIONS)
        outside = check(workspace, [tmp_path / "new.wav"], options=OPTIONS)
    assert (inside.n_pairs_compared, outside.n_pairs_compared) == (3, 3)


def test_a_submission_is_not_compared_with_itself_but_with_its_twin(scanned, library):
    folder, _ = scanned
    with open_workspace(folder, extractor="excerpt", write=False) as workspace:
        result = check(workspace, [library / "tune-1.wav"], options=OPTIONS)
    (flagged,) = [p for p in result.pairs if p.flagged]
    of = {t.id: Path(t.path).name for t in result.tracks}
    assert (of[flagged.b], flagged.verdict) == ("again-1.wav", "identical file")


def test_without_index_or_audio_a_check_still_finds(scanned, tmp_path):
    folder, _ = scanned
    moved = tmp_path / "ws"
    shutil.copytree(folder, moved)
    shutil.rmtree(moved / "index")  # then every track is examined
    write_audio(tmp_path / "copy.mp3", music(5), codec="mp3", bit_rate=64_000)
    with open_workspace(moved, extractor="excerpt", write=False) as workspace:
        result = check(workspace, [tmp_path / "copy.mp3"], options=OPTIONS)
    assert [p.verdict for p in result.pairs if p.flagged] == ["same recording"]
    assert result.n_pairs_compared == N_TRACKS + 2


def test_an_index_that_is_far_behind_is_told(scanned, tmp_path, monkeypatch):
    folder, _ = scanned
    moved = tmp_path / "ws"
    shutil.copytree(folder, moved)
    shutil.rmtree(moved / "index")
    monkeypatch.setattr("auditor.scoring.match.MAX_UNCOVERED_TRACKS", 3)
    write_audio(tmp_path / "new.wav", music(70), codec="wav")
    with (
        open_workspace(moved, extractor="excerpt", write=False) as workspace,
        pytest.raises(
            IndexFileError, match=r"lacks 8 tracks\. Bring it up to date with: audit scan"
        ),
    ):
        check(workspace, [tmp_path / "new.wav"], options=OPTIONS)


def test_spectra_of_an_older_catalogue_are_made_of_the_files(scanned, tmp_path):
    folder, result = scanned
    older = tmp_path / "ws"
    shutil.copytree(folder, older)
    with open_workspace(older, extractor="excerpt", write=True) as workspace:
        workspace.catalogue._connection.execute("DELETE FROM spectra")
        again = scan(workspace, options=OPTIONS)
        stored = workspace.catalogue.spectrum(again.tracks[0].sha256)
    assert [p for p in again.pairs if p.flagged] == [p for p in result.pairs if p.flagged]
    assert stored is not None


def test_weak_evidence_is_not_kept(scanned):
    _, result = scanned
    assert all(p.score >= MIN_SCORE_TO_CONFIRM or p.verdict == "sounds alike" for p in result.pairs)


def test_one_track_and_silence_have_no_pairs(tmp_path):
    (tmp_path / "music").mkdir()
    write_audio(tmp_path / "music" / "silence.wav", np.zeros(80_000, np.float32), codec="wav")
    with open_workspace(tmp_path / "ws", extractor="excerpt", write=True) as workspace:
        none = scan(workspace, [tmp_path / "music"], options=OPTIONS)
        write_audio(tmp_path / "music" / "one.wav", music(1)[:160_000], codec="wav")
        one = scan(workspace, [tmp_path / "music"], options=OPTIONS)
    assert (none.n_tracks, none.pairs, none.n_pairs_compared) == (0, (), 0)
    assert (one.n_tracks, one.pairs, one.n_pairs_compared) == (1, (), 0)


def test_a_damaged_spectrum_is_made_anew(scanned, tmp_path):
    folder, result = scanned
    damaged = tmp_path / "ws"
    shutil.copytree(folder, damaged)
    with open_workspace(damaged, extractor="excerpt", write=True) as workspace:
        workspace.catalogue._connection.execute("UPDATE spectra SET frames = x'00ff'")
        again = scan(workspace, options=OPTIONS)
    assert [p for p in again.pairs if p.flagged] == [p for p in result.pairs if p.flagged]


def test_the_spectrum_of_a_file_that_changed_is_not_kept_for_the_old_one(library, tmp_path):
    music_folder = tmp_path / "music"
    shutil.copytree(library, music_folder)
    with open_workspace(tmp_path / "ws", extractor="excerpt", write=True) as workspace:
        scan(workspace, [music_folder], options=OPTIONS)
        workspace.catalogue._connection.execute("DELETE FROM spectra")
        track = next(t for t in workspace.catalogue.tracks() if t.path.endswith("tune-0.wav"))
        write_audio(music_folder / "tune-0.wav", music(30), codec="wav")
        result = scan(workspace, options=OPTIONS)
        assert workspace.catalogue.spectrum(track.sha256) is None
    pairs = named(result)
    assert pairs[frozenset(("tune-0.wav", "copy-of-0.mp3"))].evidence.ranges[0].correlation is None


def test_a_check_beside_a_scan_bears_with_tracks_that_come_and_go(library, tmp_path):
    folder = tmp_path / "ws"
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        scan(workspace, [library], options=OPTIONS)
    write_audio(tmp_path / "new.wav", music(2), codec="wav")
    write_audio(tmp_path / "later.wav", music(80), codec="wav")

    def meanwhile(_event):
        with open_workspace(folder, extractor="excerpt", write=True) as other:
            ids = {Path(t.path).name: t.id for t in other.catalogue.tracks()}
            if "tune-5.wav" in ids:
                other.catalogue.remove([ids["tune-5.wav"]])
                ingest(other, [tmp_path / "later.wav"])

    with open_workspace(folder, extractor="excerpt", write=False) as workspace:
        result = check(workspace, [tmp_path / "new.wav"], options=OPTIONS, on_event=meanwhile)
    assert "tune-2.wav" in {Path(t.path).name for t in result.tracks}


def test_a_small_catalogue_keeps_to_the_lowest_threshold_unless_told(scanned):
    folder, _ = scanned
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        by_budget = scan(workspace, options=Options(max_false=1.0)).threshold
        by_hand = scan(workspace, options=Options(threshold=0.2, compositions=False)).threshold
        by_rate = scan(workspace, options=Options(far=0.005)).threshold
    assert (by_budget.threshold, by_budget.budget) == (LOWEST_THRESHOLD, 1.0)
    assert by_budget.expected_false_pairs < 1.0
    assert by_budget.source.startswith("excerpt-")
    assert by_hand.threshold == 0.2
    assert by_rate.threshold < LOWEST_THRESHOLD
    assert by_rate.far == pytest.approx(0.005, rel=1e-3)


def test_verify_finds_damaged_spectra_and_shards(scanned, tmp_path):
    folder = shutil.copytree(scanned[0], tmp_path / "ws")
    verify = ["catalogue", "verify", "--workspace", str(folder)]
    runner = CliRunner()
    assert runner.invoke(app, verify).exit_code == 0
    shard = next((folder / "index" / "excerpts").glob("*.ann"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    found = runner.invoke(app, verify)
    assert found.exit_code == 1
    assert shard.stem in found.stdout.replace("\n", "")
    with contextlib.closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        sha256 = connection.execute("SELECT min(sha256) FROM spectra").fetchone()[0]
        connection.execute("UPDATE spectra SET frames = x'00ff' WHERE sha256 = ?", (sha256,))
        connection.commit()
    found = runner.invoke(app, verify)
    assert found.exit_code == 1
    assert f"the spectrum of the content {sha256[:12]} is damaged" in found.stdout.replace(
        "\n", " "
    )


def test_spectra_of_an_older_catalogue_are_kept_whatever_the_jobs(scanned, tmp_path):
    folder = shutil.copytree(scanned[0], tmp_path / "ws")
    with contextlib.closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection:
        n = connection.execute("SELECT count(*) FROM spectra").fetchone()[0]
        connection.execute("DELETE FROM spectra")
        connection.commit()
    assert n > 0
    with (
        open_workspace(folder, extractor="excerpt", write=True) as workspace,
        LocalTiles(2) as tiles,
    ):
        again = scan(workspace, options=OPTIONS, tiles=tiles)
        assert 0 < len(workspace.catalogue.spectra()) <= n
    assert again.pairs == scanned[1].pairs


def test_hundreds_of_equal_files_are_one_group_and_hide_nothing(tmp_path, monkeypatch):
    """640 placeholders are embedded once, and the one copy beside them is found."""
    music_folder = tmp_path / "music"
    music_folder.mkdir()
    write_audio(music_folder / "jingle-000.mp3", tune(7, duration_s=4.0), codec="mp3")
    for i in range(1, 640):
        shutil.copy(music_folder / "jingle-000.mp3", music_folder / f"jingle-{i:03}.mp3")
    write_audio(music_folder / "real.wav", music(0), codec="wav")
    write_audio(music_folder / "real-copy.mp3", music(0), codec="mp3", bit_rate=64_000)
    decoded = []
    embed = auditor.ingest.prepare.embed_file
    monkeypatch.setattr(
        auditor.ingest.prepare, "embed_file", lambda *a: decoded.append(a) or embed(*a)
    )
    with open_workspace(tmp_path / "ws", extractor="excerpt", write=True) as workspace:
        result = scan(workspace, [music_folder], options=OPTIONS)
        assert len(decoded) == 3
        again = scan(workspace, options=OPTIONS, tiles=LocalTiles(2))
        checked = check(workspace, [music_folder / "jingle-001.mp3"], options=OPTIONS)
    assert facts(again) == facts(result)
    (group,) = result.identical
    assert len(group.tracks) == 640
    assert {track.id for track in result.tracks} >= set(group.tracks)
    by_verdict = {pair.verdict: pair for pair in result.pairs}
    assert set(by_verdict) == {"identical file", "same recording"}
    assert all(pair.flagged for pair in result.pairs)
    same, real = by_verdict["identical file"], by_verdict["same recording"]
    assert (same.a, same.n_files_a, same.n_files_b) == (group.tracks[0], 640, 640)
    assert (real.n_files_a, real.n_files_b) == (1, 1)
    assert sorted(len(cluster.tracks) for cluster in result.clusters) == [2, 640]
    assert [(p.verdict, p.n_files_b) for p in checked.pairs if p.flagged] == [
        ("identical file", 639)
    ]


def test_a_pair_says_how_many_files_stand_behind_its_tracks(tmp_path, library):
    """The copies of one file would otherwise fill the places of all candidates."""
    music_folder = tmp_path / "music"
    music_folder.mkdir()
    for i in range(12):
        shutil.copy(library / "tune-0.wav", music_folder / f"a-{i}.wav")
        shutil.copy(library / "copy-of-0.mp3", music_folder / f"b-{i}.mp3")
    with open_workspace(tmp_path / "ws", extractor="excerpt", write=True) as workspace:
        result = scan(workspace, [music_folder], options=OPTIONS)
    assert sorted(pair.verdict for pair in result.pairs) == [
        "identical file",
        "identical file",
        "same recording",
    ]
    assert {(pair.n_files_a, pair.n_files_b) for pair in result.pairs} == {(12, 12)}
    assert [len(group.tracks) for group in result.identical] == [12, 12]
    assert [len(cluster.tracks) for cluster in result.clusters] == [24]


def flip(folder: Path, sql: str, track_id: str) -> None:
    """Change one bit in the middle of a blob of a track."""
    with (
        contextlib.closing(sqlite3.connect(folder / "catalogue.sqlite3")) as connection,
        connection,
    ):
        table, column = sql.split(".")
        where = f"FROM {table} WHERE track_id = ?"
        (blob,) = connection.execute(f"SELECT {column} {where}", (track_id,)).fetchone()
        middle = len(blob) // 2
        changed = blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]
        statement = f"UPDATE {table} SET {column} = ? WHERE track_id = ?"
        connection.execute(statement, (changed, track_id))


@pytest.mark.parametrize(
    "where", ["dvectors.dvectors", "dvectors.levels", "embeddings.embedding", "tracks"]
)
def test_a_flipped_bit_is_named_and_the_run_goes_on_without_that_track(
    scanned, library, tmp_path, where
):
    folder, _ = scanned
    moved = tmp_path / "ws"
    shutil.copytree(folder, moved)
    with open_workspace(moved, extractor="excerpt", write=False) as workspace:
        ids = {Path(track.path).name: track.id for track in workspace.catalogue.tracks()}
    victim = ids["tune-2.wav"]
    if where == "tracks":
        with contextlib.closing(sqlite3.connect(moved / "catalogue.sqlite3")) as connection:
            connection.execute("UPDATE tracks SET duration_s = 39 WHERE id = ?", (victim,))
            connection.commit()
    else:
        flip(moved, where, victim)
    write_audio(tmp_path / "new.mp3", music(2), codec="mp3", bit_rate=64_000)

    def named(result) -> list[str]:
        return [s.reason for s in result.skipped if s.path.endswith("tune-2.wav")]

    with open_workspace(moved, extractor="excerpt", write=False) as workspace:
        assert [p for p in workspace.catalogue.verify() if victim in p]
        checked = check(workspace, [tmp_path / "new.mp3"], options=OPTIONS)
        itself = check(workspace, [library / "tune-2.wav"], options=OPTIONS)
    (reason,) = named(checked)
    assert victim in reason and "Run" in reason
    assert victim not in {pair.b for pair in checked.pairs}
    host = ids["holds-2.flac"]
    assert host in {pair.b for pair in itself.pairs if pair.flagged}, "its file is still good"
    with open_workspace(moved, extractor="excerpt", write=True) as workspace:
        result = scan(workspace, options=OPTIONS, tiles=LocalTiles(2))
        assert named(result) and victim in named(result)[0]
        assert victim not in {track.id for track in result.tracks}
        assert {pair.verdict for pair in result.pairs if pair.flagged} >= {"identical file"}
        again = scan(workspace, options=OPTIONS)
        assert named(again), "until it is mended"
        mended = scan(workspace, [library], options=OPTIONS)
        assert named(mended) == []
        assert victim in {pair.a for pair in mended.pairs} | {pair.b for pair in mended.pairs}
        assert workspace.catalogue.verify() == []


def test_the_scores_of_scans_and_checks_are_held_against_the_calibration(
    scanned, library, monkeypatch
):
    folder, _ = scanned
    seen = []

    def note(_, pairs, use):
        seen.append({(a, b): score for a, b, score in pairs})
        return f"Of {use.n_comparisons} pairs."

    monkeypatch.setattr("auditor.calibration.choose.score_note", note)
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        result = scan(workspace, options=OPTIONS)
        checked = check(workspace, [library / "tune-2.wav"], options=OPTIONS)
        wide = check(workspace, [library / "tune-2.wav"], options=Options(wide=True))
    for found, scores in ((result, seen[0]), (checked, seen[1])):
        assert found.threshold.note.startswith(f"Of {found.threshold.n_comparisons} pairs.")
        alike = [pair for pair in found.pairs if pair.flagged and not pair.identical_file]
        assert alike and all(scores[pair.a, pair.b] == pair.score for pair in alike)
    assert wide.threshold.note and seen[2] == {}, "nothing was calibrated on the best of many ways"


def test_a_wide_check_hears_a_copy_an_octave_higher_and_twice_as_fast(scanned, tmp_path):
    folder, _ = scanned
    write_audio(tmp_path / "twice.wav", change_speed(music(3), 2.0), codec="wav")

    def said(**how):
        with open_workspace(folder, extractor="excerpt") as workspace:
            return check(workspace, [tmp_path / "twice.wav"], options=Options(**how))

    narrow, wide = said(), said(wide=True)
    assert not any(pair.flagged for pair in narrow.pairs)
    (pair,) = [pair for pair in wide.pairs if pair.flagged]
    (track,) = [track for track in wide.tracks if track.id == pair.b]
    assert track.path.endswith("tune-3.wav")
    assert pair.verdict == "altered recording"
    best = pair.evidence.ranges[0]
    assert best.tempo == pytest.approx(2.0, rel=0.01)
    assert best.pitch_semitones == pytest.approx(12.0, abs=0.5)
    assert (best.a_start_s, best.a_end_s) == pytest.approx((0.0, 20.0), abs=1.0)
    assert (best.b_start_s, best.b_end_s) == pytest.approx((0.0, 40.0), abs=2.0)
    # Half of the budget is for the submission as it is, half for the seven other ways.
    n = narrow.threshold.n_comparisons
    assert wide.threshold.n_comparisons == wide.thresholds[0].n_comparisons == 2 * n
    assert wide.n_pairs_compared == wide.threshold.n_pairs == n, "in eight ways, but n pairs"
    assert wide.threshold.expected_false_pairs == pytest.approx(
        2 * narrow.threshold.expected_false_pairs
    )
    by_rate = said(wide=True, far=1e-3).threshold
    assert by_rate.n_comparisons == 8 * n
    assert by_rate.threshold == said(far=1e-3).threshold.threshold
    assert "--wide" in wide.threshold.note
    planned = said(wide=True, catalogue_size=1000)
    assert planned.threshold.threshold > said(catalogue_size=1000).threshold.threshold
    assert "lowered by up to 0.0" in planned.threshold.note
    (lowered,) = [pair for pair in planned.pairs if pair.flagged]
    assert 0.02 < pair.score - lowered.score < 0.1


def test_a_wide_check_finds_three_seconds_alone(scanned, tmp_path):
    folder, _ = scanned
    clip = music(4)[round(17.3 * SAMPLE_RATE_HZ) :][: 3 * SAMPLE_RATE_HZ]
    write_audio(tmp_path / "clip.wav", clip, codec="wav")
    with open_workspace(folder, extractor="excerpt") as workspace:
        narrow, wide = (
            check(workspace, [tmp_path / "clip.wav"], options=Options(wide=wide))
            for wide in (False, True)
        )
    assert not any(pair.flagged for pair in narrow.pairs)
    (pair,) = [pair for pair in wide.pairs if pair.flagged]
    assert pair.evidence.ranges[0].b_start_s == pytest.approx(17.3, abs=0.3)
    (track,) = [track for track in wide.tracks if track.id == pair.b]
    assert track.path.endswith("tune-4.wav")
