"""The pitch model: what it hears of plain tones, and its file."""

from __future__ import annotations

import numpy as np
import pitch_networks
import pytest
import torch
from melodies import random_tune, sound_of

from auditor.embedding.extractor import pack_tensors, unpack_tensors
from auditor.embedding.salience import (
    DIRECTORY,
    LOWEST_PITCH,
    N_PITCHES,
    PitchModel,
    fold,
    load_pitch_model,
    pitch_class_logits,
)
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import WeightsError


@pytest.fixture(scope="module")
def model() -> PitchModel:
    return load_pitch_model()


def small_model() -> PitchModel:
    torch.manual_seed(0)
    rows = np.random.default_rng(0).integers(0, 256, (90, 37)).astype(np.uint8)
    tensors = pitch_networks.tensors_of(
        pitch_networks.SalienceNetwork(), pitch_networks.SummaryNetwork()
    )
    return PitchModel(tensors, (rows[:40], rows[40:]), summary={"seed": 0})


def test_a_melody_is_heard_note_for_note(model):
    notes = random_tune(3, 40)
    rows = model.pitches(waveform_spectrum(sound_of(notes)))
    times = (np.arange(len(rows)) + 0.5) * 0.384
    right = sounded = 0
    for start, length, pitch in notes:
        here = (times > start + 0.15) & (times < start + length - 0.15)
        right += int((rows[here, :12].argmax(1) == pitch % 12).sum())
        sounded += int(here.sum())
    assert sounded > 20
    assert right / sounded > 0.8


def test_a_transposition_moves_the_pitches(model):
    notes = random_tune(3, 40)
    low, high = (
        model.pitches(waveform_spectrum(sound_of(notes, transposition=k)))[:, :12].astype(float)
        for k in (0, 3)
    )
    moved = np.roll(low, 3, axis=1)
    agree = (moved * high).sum() / np.sqrt((moved**2).sum() * (high**2).sum())
    assert agree > 0.85


def test_loudness_does_not_matter(model):
    sound = sound_of(random_tune(3, 20))
    loud, soft = (model.pitches(waveform_spectrum(sound * gain)) for gain in (1.0, 0.05))
    assert np.abs(loud[:, :36].astype(int) - soft[:, :36]).mean() < 6


def test_a_long_spectrum_is_read_in_blocks_without_a_seam(model):
    spectrum = np.random.default_rng(0).integers(40, 160, (2304, 100)).astype(np.uint8)
    whole = model._block(spectrum)
    in_blocks = model.pitches(spectrum)
    assert in_blocks.shape == (576, 37)
    assert np.abs(in_blocks[:, :36].astype(int) - whole[:, :36]).max() <= 1


@pytest.mark.parametrize("n_frames", [0, 3, 4, 9, 961])
def test_any_length_is_read(model, n_frames):
    rows = model.pitches(np.zeros((n_frames, 100), np.uint8))
    assert rows.shape == (n_frames // 4, 37)


def test_summaries_do_not_depend_on_the_key(model):
    rows = model.pitches(waveform_spectrum(sound_of(random_tune(3, 60))))
    moved = rows.copy()
    for part in (0, 12, 24):
        moved[:, part : part + 12] = np.roll(rows[:, part : part + 12], 5, axis=1)
    here, there = (model.summaries(each).astype(np.float32) for each in (rows, moved))
    assert (here * there).sum(1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(here, axis=1), 1.0, atol=2e-3)


def test_folding_adds_octaves():
    logits = np.full((3, 1, N_PITCHES), -20.0, np.float32)
    for octave in (0, 12):
        logits[:, 0, 60 - LOWEST_PITCH + octave] = 5.0
    folded = fold(logits, np.full((1, 2), -20.0, np.float32))[0]
    assert folded[:12].argmax() == folded[12:24].argmax() == folded[24:].argmax() == 0
    assert folded[0] == pytest.approx(1.0, abs=1e-3)
    assert pitch_class_logits(logits[0]).shape == (1, 12)


def test_what_is_trained_is_what_is_run(model):
    salience, summary = pitch_networks.SalienceNetwork(), pitch_networks.SummaryNetwork()
    for name, network in (("salience", salience), ("summary", summary)):
        state = {
            key.removeprefix(f"{name}."): torch.from_numpy(value)
            for key, value in model._tensors.items()
            if key.startswith(f"{name}.")
        }
        network.load_state_dict(state, strict=False)
        network.eval()
    rng = np.random.default_rng(5)
    spectra = rng.normal(-60, 15, (2, 96, 100)).astype(np.float32)
    pitches = rng.random((3, 64, 36), np.float32)
    with torch.inference_mode():
        logits, none = salience(torch.from_numpy(spectra))
        vectors = summary(torch.from_numpy(pitches))
    made_logits, made_none = model._salience(spectra)
    np.testing.assert_allclose(made_logits.transpose(0, 2, 3, 1), logits, atol=2e-4)
    np.testing.assert_allclose(made_none, none, atol=2e-4)
    np.testing.assert_allclose(model._summarise(pitches)[0], vectors, atol=1e-5)
    classes = pitch_networks.pitch_class_logits(logits[0, :, :, 2])
    np.testing.assert_allclose(pitch_class_logits(made_logits[0, 2]), classes, atol=2e-4)


def test_a_saved_model_is_the_same(tmp_path):
    made = small_model()
    path = made.save(tmp_path)
    back = load_pitch_model(path)
    assert path.name == f"pitches-{back.id}.safetensors"
    assert back.summary == {"seed": 0}
    spectrum = np.random.default_rng(1).integers(0, 160, (64, 100)).astype(np.uint8)
    np.testing.assert_allclose(back.pitches(spectrum), made.pitches(spectrum), atol=1)
    for there, here in zip(back.cohort, made.cohort, strict=True):
        np.testing.assert_array_equal(there, here)


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    data = small_model().save(tmp_path).read_bytes()
    for name, content in (
        ("cut", data[: len(data) // 2]),
        ("foreign", data.replace(b"audit-pitches-1", b"other-pitches-1")),
        ("text", b"not a model"),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            load_pitch_model(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_pitch_model(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cohort.lengths", np.array([40.0, 50.0]), "cohort does not fit together"),
        ("cohort.lengths", np.array([[40], [50]]), "cohort does not fit together"),
        ("cohort.lengths", np.array(90), "cohort does not fit together"),
        ("cohort.lengths", np.zeros(0, np.int64), "cohort does not fit together"),
        ("cohort.lengths", np.array([-10, 100]), "cohort does not fit together"),
        ("cohort.rows", np.full((90, 37), np.nan), "cohort does not fit together"),
        ("cohort.rows", np.array(3, np.uint8), "cohort does not fit together"),
        ("summary.norms.0.running_var", np.full(24, -1.0), "holds the negative variance -1"),
        ("salience.first.bias", np.full(24, 1e300), "holds values that are not finite"),
        ("salience.first.bias", np.zeros(24, np.complex64), "of the type complex64"),
        ("salience.norms.0.running_mean", np.full(24, 1e38), "make values that are not finite"),
    ],
)
def test_a_file_of_a_stranger_is_refused(tmp_path, name, value, message):
    tensors, metadata = unpack_tensors(small_model().save(tmp_path).read_bytes())
    tensors[name] = value
    tensors["salience.norms.0.weight"][:] = 100.0
    path = tmp_path / "stranger.safetensors"
    path.write_bytes(pack_tensors(tensors, metadata))
    with pytest.raises(WeightsError, match=message):
        load_pitch_model(path)


def test_what_is_surely_no_pitch_is_none():
    folded = fold(np.full((3, 1, N_PITCHES), -1e4, np.float32), np.zeros((1, 2), np.float32))
    assert (folded == folded.clip(0.0, 1e-9)).all()


def test_one_model_is_shipped():
    assert len(list(DIRECTORY.glob("pitches-*.safetensors"))) == 1
    assert len(load_pitch_model().cohort) >= 20
