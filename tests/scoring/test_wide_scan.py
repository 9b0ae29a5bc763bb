"""A scan that also hears tracks at other pitches and tempos (``scan --wide``)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from small_audit import facts
from tunes import tune

import auditor.scoring.wide_scan as wide_scan
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio.decode import write_audio
from auditor.augment.waveform import change_speed, shift_pitch, stretch_time
from auditor.embedding.config import wide_retunings
from auditor.parallel import LocalTiles
from auditor.records import Evidence, MatchedRange
from auditor.report.text.error_rates import show_compared
from auditor.scoring.base import ScoredPair
from auditor.workspace import open_workspace

DURATION_S = 20.0
FAR_COPIES = frozenset(("tune-0.wav", "higher-0.wav")), frozenset(("tune-1.wav", "slower-1.wav"))
NEAR_COPY = frozenset(("tune-2.wav", "copy-of-2.mp3"))
N_UNEXPLAINED = 4


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Three tunes: one and its copy nine semitones higher, one at half tempo, one re-encoded."""
    folder = tmp_path_factory.mktemp("library")
    music = [tune(seed, duration_s=DURATION_S) for seed in range(3)]
    for seed, one in enumerate(music):
        write_audio(folder / f"tune-{seed}.wav", one, codec="wav")
    write_audio(folder / "higher-0.wav", shift_pitch(music[0], 9.0), codec="wav")
    shutil.copy(folder / "higher-0.wav", folder / "once-more.wav")
    write_audio(folder / "slower-1.wav", stretch_time(music[1], 0.5), codec="wav")
    write_audio(folder / "copy-of-2.mp3", music[2], codec="mp3", bit_rate=64_000)
    return folder


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, library):
    """The workspace after a scan without ``--wide``, and what that said."""
    folder = tmp_path_factory.mktemp("ws")
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        result = scan(workspace, [library], options=Options(compositions=False))
    return folder, result


@pytest.fixture
def heard(monkeypatch) -> list[str]:
    """Names of the files that are heard, as they are."""
    names: list[str] = []

    def hear(path, *how):
        names.append(Path(os.fsdecode(path)).name)
        return hear_file(path, *how)

    hear_file = wide_scan.hear_file
    monkeypatch.setattr(wide_scan, "hear_file", hear)
    return names


def said(folder, *, tiles=None, on_hearing=None, **how):
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        options = Options(wide=True, compositions=False, **how)
        return scan(workspace, options=options, tiles=tiles, on_hearing=on_hearing)


def flagged(result) -> dict[frozenset[str], object]:
    names = {track.id: Path(track.path).name for track in result.tracks}
    return {
        frozenset((names[pair.a], names[pair.b])): pair
        for pair in result.pairs
        if pair.flagged and not pair.identical_file
    }


def test_a_wide_scan_finds_copies_far_away_and_hears_nothing_twice(scanned, heard):
    folder, narrow = scanned
    assert set(flagged(narrow)) == {NEAR_COPY}
    done = []
    wide = said(folder, on_hearing=lambda *n: done.append(n))
    assert set(flagged(wide)) == {NEAR_COPY, *FAR_COPIES}
    names = {track.id: Path(track.path).name for track in wide.tracks}
    higher, slower = (flagged(wide)[copy] for copy in FAR_COPIES)
    for pair, tempo, pitch in ((higher, 1.0, 9.0), (slower, 0.5, 0.0)):
        assert pair.verdict == "altered recording"
        best = pair.evidence.ranges[0]
        way = 1 if not names[pair.a].startswith("tune") else -1
        assert best.tempo == pytest.approx(tempo**way, rel=0.02)
        assert best.pitch_semitones == pytest.approx(way * pitch, abs=0.3)
        assert best.b_end_s - best.b_start_s == pytest.approx(
            best.tempo * (best.a_end_s - best.a_start_s), rel=0.05
        )
        assert pair.a < pair.b
    assert sorted(heard) == ["higher-0.wav", "slower-1.wav", "tune-0.wav", "tune-1.wav"], (
        "tracks of a flagged pair are explained, and files of the same bytes are heard once"
    )
    assert done == [(n, N_UNEXPLAINED) for n in range(1, N_UNEXPLAINED + 1)]
    heard.clear()
    assert facts(said(folder)) == facts(wide)
    assert heard == []
    shutil.rmtree(folder / "examined")
    with LocalTiles(2) as tiles:
        assert facts(said(folder, tiles=tiles)) == facts(wide), "nor does it depend on the jobs"


def test_a_wide_scan_counts_its_ways_as_comparisons(scanned):
    folder, narrow = scanned
    wide, n = said(folder), narrow.threshold.n_comparisons
    assert wide.threshold.n_comparisons == 2 * n, "half of the budget is for tracks as they are"
    assert show_compared(wide) == show_compared(narrow), "though the pairs are no more"
    assert wide.threshold.expected_false_pairs == pytest.approx(
        2 * narrow.threshold.expected_false_pairs
    )
    assert f"{N_UNEXPLAINED} tracks without a flagged pair" in wide.threshold.note
    n_ways = len(wide_retunings(DURATION_S)) + 1
    by_rate = said(folder, far=1e-3)
    assert by_rate.threshold.n_comparisons == n + N_UNEXPLAINED * n_ways * 5
    assert by_rate.threshold.n_pairs == n
    with open_workspace(folder, extractor="excerpt", write=True) as workspace:
        as_it_is = scan(workspace, options=Options(far=1e-3, compositions=False))
    assert by_rate.threshold.threshold == as_it_is.threshold.threshold
    strict = said(folder, max_false=0.001)
    for copy in FAR_COPIES:
        lowered = flagged(by_rate)[copy].score - flagged(strict)[copy].score
        assert 0.02 < lowered < 0.2
        assert f"lowered by {lowered:.2f}" in strict.threshold.note
    assert flagged(strict)[NEAR_COPY].score == flagged(by_rate)[NEAR_COPY].score


def test_a_killed_wide_scan_goes_on_where_it_was(scanned, heard):
    folder, _ = scanned
    wide = said(folder)
    shutil.rmtree(folder / "examined")
    heard.clear()

    def stop(n_done, _):
        if n_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        said(folder, on_hearing=stop)
    assert len(heard) == 3
    assert facts(said(folder)) == facts(wide)
    assert len(heard) == len(set(heard)) == N_UNEXPLAINED


def test_what_is_remembered_is_of_the_same_catalogue(scanned, library, tmp_path, heard):
    """A scan after something was added says what a scan of all of it from nothing says."""
    folder, _ = scanned
    shutil.copytree(folder, tmp_path / "grown")
    said(tmp_path / "grown")
    lower = tmp_path / "lower-2.wav"
    write_audio(lower, change_speed(tune(2, duration_s=DURATION_S), 0.5), codec="wav")
    results = []
    for place in ("grown", "new"):
        heard.clear()
        with open_workspace(tmp_path / place, extractor="excerpt", write=True) as workspace:
            options = Options(wide=True, compositions=False)
            results.append(scan(workspace, [library, lower], options=options))
        assert len(heard) == N_UNEXPLAINED + 1
    assert facts(results[0]) == facts(results[1])
    assert flagged(results[0]).keys() > {NEAR_COPY, *FAR_COPIES}


def test_a_file_that_has_changed_is_named_and_left_out(scanned, library, tmp_path):
    folder, _ = scanned
    shutil.copytree(folder, tmp_path / "ws")
    stat = (library / "slower-1.wav").stat()
    os.utime(library / "slower-1.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    try:
        wide = said(tmp_path / "ws")
    finally:
        os.utime(library / "slower-1.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (skipped,) = wide.skipped
    assert (Path(skipped.path).name, skipped.code) == ("slower-1.wav", "changed")
    assert "1 further ones could not be" in wide.threshold.note
    assert FAR_COPIES[1] in flagged(wide), "the other one was heard"


def test_of_two_ways_round_the_better_one_counts():
    found = MatchedRange(10.0, 20.0, 5.0, 25.0, 2.0, 0.4, 12.0, 0.0, 0.8, 0.9)
    evidence = Evidence(0.4, (found,), 0.5, 0.25, 2.0, 0.1)
    pairs = [ScoredPair("b", "a", 0.1, evidence, 0.9), ScoredPair("a", "b", 0.2, evidence, 0.8)]
    (best,) = wide_scan.best_of_both(pairs)
    assert (best.a, best.b, best.score, best.similarity) == ("a", "b", 0.9, 0.1)
    (turned,) = best.evidence.ranges
    assert (turned.a_start_s, turned.a_end_s) == (5.0, 25.0)
    assert (turned.tempo, turned.pitch_semitones) == (0.5, -12.0)
    assert (best.evidence.share_a, best.evidence.tempo) == (0.25, 0.5)
