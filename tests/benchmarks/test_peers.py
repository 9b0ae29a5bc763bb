"""Tests of the peers: fingerprints, their scores, and what is said of absent ones."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import audfprint_peer
import numpy as np
import peer_files
import peers
import pytest
import recipe
import torch
from copies import copies_folder, write_wav
from evaluation import Scores
from hypothesis import given, settings
from hypothesis import strategies as st
from tunes import tune

from auditor.audio import SAMPLE_RATE_HZ
from auditor.augment.bands import alter_windows
from auditor.embedding.config import ExtractorConfig
from auditor.embedding.frames import LogBands, normalise_windows
from auditor.embedding.network import Network
from auditor.errors import UsageError


def codes(seed: int, n: int) -> np.ndarray:
    """Return random fingerprint codes, (n,) uint32."""
    return np.random.default_rng(seed).integers(0, 2**32, n, dtype=np.uint32)


def similarity_by_hand(a: np.ndarray, b: np.ndarray) -> float:
    """Return the share of equal bits at the best offset, one offset after another."""
    if min(len(a), len(b)) == 0:
        return 0.0
    best, enough = 0.0, min(peers.MIN_OVERLAP, len(a), len(b))
    for offset in range(-len(a) + 1, len(b)):
        x, y = a[max(0, -offset) :], b[max(0, offset) :]
        n = min(len(x), len(y))
        if n >= enough:
            different = np.unpackbits((x[:n] ^ y[:n]).view(np.uint8)).sum()
            best = max(best, 1.0 - different / (32.0 * n))
    return best


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 200), min_size=2, max_size=4),
    seed=st.integers(0, 1000),
)
def test_bit_similarity_is_that_of_every_offset_tried(lengths, seed):
    prints = [codes(seed + i, n) for i, n in enumerate(lengths)]
    found = peers.bit_similarity(prints, prints)
    expected = [[similarity_by_hand(a, b) for b in prints] for a in prints]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bit_similarity_finds_an_excerpt_and_counts_its_errors():
    track, other = codes(0, 700), codes(1, 700)
    excerpt = track[300:420].copy()
    excerpt[::10] ^= np.uint32(0b1111)  # 12 codes of 4 wrong bits
    found = peers.bit_similarity([excerpt], [other, track])
    assert found[0, 1] == pytest.approx(1 - 48 / (32 * 120))
    assert 0.5 < found[0, 0] < 0.6


def test_bit_similarity_does_not_depend_on_the_batch(monkeypatch):
    prints = [codes(i, 90 + 7 * i) for i in range(7)]
    at_once = peers.bit_similarity(prints, prints)
    monkeypatch.setattr(peers, "QUERIES_AT_ONCE", 2)
    np.testing.assert_array_equal(peers.bit_similarity(prints, prints), at_once)


def test_silence_at_an_end_shares_all_its_bits_with_silence_at_a_beginning():
    silence = np.full(peers.MIN_OVERLAP, 627964279, np.uint32)
    a, b = np.concatenate([codes(0, 300), silence]), np.concatenate([silence, codes(1, 300)])
    assert peers.bit_similarity([a], [b])[0, 0] == 1.0


def test_standardised_cosine_is_blind_to_the_scale_of_a_dimension():
    rng = np.random.default_rng(0)
    known = list(rng.normal(size=(6, 5)))
    asked = list(rng.normal(size=(3, 5)))
    scale = np.array([1.0, 1e3, 1e-3, 5.0, 2.0])
    found = peers.standardised_cosine(asked, known)
    scaled = peers.standardised_cosine(
        [v * scale + 7 for v in asked], [v * scale + 7 for v in known]
    )
    np.testing.assert_allclose(found, scaled, atol=1e-9)
    assert np.abs(found).max() <= 1 + 1e-12
    np.testing.assert_allclose(np.diag(peers.standardised_cosine(known, known)), 1.0)


def test_a_file_without_fingerprint_gets_the_lowest_score():
    empty, some = np.zeros(0, np.float32), np.ones(4, np.float32)
    assert peers.cosine([empty, some], [some, empty]).tolist() == [[-1.0, -1.0], [1.0, -1.0]]
    assert peers.bit_similarity([codes(0, 0)], [codes(1, 9)]).tolist() == [[0.0]]


def test_aligned_counts_takes_the_best_alignment_and_zero_for_the_rest():
    line = "Matched queries/eq/0004.afpt 86.4 sec 5000 raw hashes as references/original/{}.afpt"
    said = "\n".join(
        [
            "Mon Nov 23 2026 Reading hash table originals.pklz",
            line.format("0002") + " at    0.0 s with    17 of   120 common hashes at rank  0",
            line.format("0002") + " at   12.5 s with     6 of   120 common hashes at rank  0",
            line.format("0004") + " at   -0.1 s with  1234 of  1300 common hashes at rank  1",
            "NOMATCH queries/eq/0000.afpt 10.0 sec 3 raw hashes",
        ]
    )
    found = audfprint_peer.aligned_counts(said, np.array([0, 4]), 5)
    assert found.tolist() == [[0, 0, 0, 0, 0], [0, 0, 17, 0, 1234]]


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Return a folder with corpus/test and with copies, half of them altered."""
    folder = copies_folder(tmp_path / "copies", "test", 90)
    for kind in ("original", "eq", "mp3-32k"):
        (folder / kind).mkdir(parents=True)
    (tmp_path / "corpus" / "test").mkdir(parents=True)
    for row in range(4):
        waveform = tune(row, duration_s=6.0)
        write_wav(tmp_path / "corpus" / "test" / f"{row}.wav", waveform)
        write_wav(folder / "original" / f"{row:04d}.wav", waveform)
        if row % 2 == 0:
            write_wav(folder / "eq" / f"{row:04d}.wav", np.diff(waveform, prepend=0.0))
    return tmp_path


def run_main(monkeypatch, corpus: Path, *arguments: str) -> int:
    common = ["--copies", str(corpus / "copies"), "--cache", str(corpus / "peers")]
    monkeypatch.setattr(sys, "argv", ["peers.py", str(corpus / "corpus"), *common, *arguments])
    monkeypatch.delenv("AUDFPRINT", raising=False)
    return peers.main()


def test_read_wav_returns_what_was_written(tmp_path):
    waveform = tune(0, duration_s=1.0)
    write_wav(tmp_path / "a.wav", waveform)
    np.testing.assert_allclose(peer_files.read_wav(tmp_path / "a.wav"), waveform, atol=2e-5)
    assert peer_files.duration_s(tmp_path / "a.wav") == 1.0


def test_main_scores_what_is_there_and_says_what_is_missing(monkeypatch, capsys, corpus):
    assert run_main(monkeypatch, corpus, "--peer", "audfprint", "--peer", "mfcc") == 0
    printed = capsys.readouterr()
    assert "audfprint: skipped: no audfprint.py in None. Clone dpwe/audfprint" in printed.err
    assert "CPU seconds per hour of audio: all" in printed.out
    scores = Scores.load(corpus / "peers" / "mfcc-test-every2.npz")
    assert scores.originals.shape == (4, 4)
    np.testing.assert_allclose(np.diag(scores.originals), 1.0, atol=1e-6)
    assert {kind: rows.tolist() for kind, rows in scores.rows.items()} == {"eq": [0, 2]}
    assert scores.copies["eq"].shape == (2, 4)


def test_fingerprints_are_made_again_only_where_the_file_is_newer(corpus):
    made = []

    def make(path: Path) -> np.ndarray:
        made.append(path.stem)
        return np.array([len(made)])

    folder = copies_folder(corpus / "copies", "test", 90)
    paths = [folder / "original" / f"{row:04d}.wav" for row in range(3)]
    cache = corpus / "cache"
    first = peer_files.fingerprint_files(paths, make, cache, 1)
    later = os.stat(cache / "original" / "0001.npy").st_mtime_ns + 10**9
    os.utime(paths[1], ns=(later, later))
    second = peer_files.fingerprint_files(paths, make, cache, 1)
    assert made == ["0000", "0001", "0002", "0001"]
    assert [int(v[0]) for v in first] == [1, 2, 3]
    assert [int(v[0]) for v in second] == [1, 4, 3]
    assert list(peer_files.read_costs(cache)) == ["all"]


def test_costs_are_summed_over_runs(tmp_path):
    peer_files.add_cost(tmp_path, 1.0, 1800.0, side="queries")
    peer_files.add_cost(tmp_path, 2.0, 1800.0, side="queries")
    peer_files.add_cost(tmp_path, 1.0, 7200.0)
    assert peer_files.read_costs(tmp_path) == {"queries": 3.0, "all": 0.5}


def test_missing_files_are_named(corpus):
    folder = copies_folder(corpus / "copies", "test", 90)
    with pytest.raises(UsageError, match=r"1 of 5 originals are missing, .*0004.wav .*copies.py"):
        peer_files.find_files(folder, 5, ["eq"], 2)
    with pytest.raises(UsageError, match="no copies. Run: python benchmarks/copies.py"):
        peer_files.find_files(folder, 4, ["mp3-32k"], 2)
    with pytest.raises(UsageError, match="no weights .*Run: python benchmarks/recipe.py"):
        peers.recipe_scores(folder, 4, kinds=["eq"], every=2, jobs=1, cache=corpus, weights=corpus)


def test_chromaprint_is_skipped_without_fpcalc(monkeypatch, capsys, corpus):
    monkeypatch.setenv("PATH", str(corpus))
    assert run_main(monkeypatch, corpus, "--peer", "chromaprint") == 0
    expected = "chromaprint: skipped: no fpcalc on the path. Run: apt-get install libchromaprint"
    assert expected in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("fpcalc") is None, reason="needs fpcalc")
def test_fpcalc_knows_a_track_and_its_excerpt(tmp_path):
    tracks = [tune(seed, duration_s=25.0) for seed in (1, 2)]
    excerpt = tracks[0][5 * SAMPLE_RATE_HZ : 17 * SAMPLE_RATE_HZ]
    prints = []
    for i, waveform in enumerate([*tracks, excerpt]):
        write_wav(tmp_path / f"{i}.wav", waveform)
        prints.append(peers.chromaprint_print(tmp_path / f"{i}.wav"))
    assert len(prints[0]) == pytest.approx((25.0 - 2.6) / 0.1238, abs=3)
    scores = peers.bit_similarity([prints[2]], prints[:2])[0]
    assert scores[0] > 0.85 > 0.7 > scores[1]


def test_audfprint_says_what_it_needs(tmp_path, corpus):
    folder = copies_folder(corpus / "copies", "test", 90)
    (tmp_path / "audfprint.py").write_text("import a_module_that_nobody_has\n")
    given = {"kinds": ["eq"], "every": 2, "jobs": 1, "cache": tmp_path / "cache"}
    with pytest.raises(UsageError, match="no no-such-python. Install it"):
        audfprint_peer.audfprint_scores(
            folder, 4, source=tmp_path, python="no-such-python", **given
        )
    if shutil.which("ffmpeg"):
        with pytest.raises(UsageError, match="precompute ended with code 1: ModuleNotFound"):
            audfprint_peer.audfprint_scores(folder, 4, source=tmp_path, **given)


@pytest.fixture(scope="module")
def small_recipe() -> Network:
    torch.manual_seed(0)
    features = recipe.EXTRACTOR.features
    config = ExtractorConfig(features, conv_channels=(), lstm_size=16, lstm_layers=1, n_dims=8)
    return Network(config).eval()


def test_recipe_averages_windows_of_240_ms(monkeypatch, small_recipe):
    waveform = tune(3, duration_s=2.0)
    monkeypatch.setattr(recipe, "BATCH_WINDOWS", 4)
    found = recipe.average_dvector(small_recipe, waveform)
    frames = LogBands(small_recipe.config.features)(waveform)
    assert frames.shape[1] == 40
    with torch.inference_mode():
        each = [
            small_recipe(torch.from_numpy(normalise_windows(frames[None, first : first + 24])))[0]
            for first in range(0, len(frames) - 23, 12)
        ]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=0.02)  # bfloat16
    assert len(recipe.average_dvector(small_recipe, waveform[:4000])) == 0


def test_recipe_trains_on_unaltered_samples():
    segments = torch.randn(6, 164, 40, generator=torch.Generator().manual_seed(0))
    windows = alter_windows(
        segments,
        n_frames=160,
        centre=torch.full((6,), 82.0),
        features=recipe.EXTRACTOR.features,
        alterations=recipe.UNALTERED,
        generator=torch.Generator().manual_seed(1),
    )
    torch.testing.assert_close(windows, segments[:, 2:162], atol=1e-4, rtol=0)
    assert recipe.EXTRACTOR.features.layout == "mel"
    assert recipe.TRAIN.n_classes * recipe.TRAIN.n_utterances == 50
