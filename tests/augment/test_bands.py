"""Alterations of band frames: each does what it says, and chance comes from its generator alone."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from auditor.augment import bands
from auditor.augment.bands import BandAlterations, alter_windows
from auditor.embedding.config import FeatureConfig

LOG = FeatureConfig()
NONE = BandAlterations(
    clean=0.0,
    warp=0.0,
    equalise=0.0,
    band_limit=0.0,
    room=0.0,
    dynamics=0.0,
    noise=0.0,
    mix=0.0,
    codec=0.0,
    mask=0.0,
)
N_FRAMES = 40
N_SOURCE = math.ceil(N_FRAMES * NONE.context) + 4


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def music(n: int = 4, n_frames: int = N_SOURCE, n_bands: int = 72, seed: int = 0) -> torch.Tensor:
    """Smooth levels between -60 and 0 dB, so that interpolation barely matters."""
    coarse = torch.rand(n, 1, n_frames // 8 + 2, n_bands // 8 + 2, generator=chance(seed))
    smooth = torch.nn.functional.interpolate(
        coarse, size=(n_frames, n_bands), mode="bilinear", align_corners=True
    )
    return 60.0 * smooth[:, 0] - 60.0


def altered(segments: torch.Tensor, *, seed: int = 0, features=LOG, **shares) -> torch.Tensor:
    return alter_windows(
        segments,
        n_frames=N_FRAMES,
        centre=torch.full((len(segments),), float(segments.shape[1] // 2)),
        features=features,
        alterations=dataclasses.replace(NONE, **shares),
        generator=chance(seed),
    )


def warped(segments, *, start=0.0, tempo=1.0, pitch_bands=0.0) -> torch.Tensor:
    n = len(segments)
    return bands.warp(
        segments,
        n_frames=N_FRAMES,
        start=torch.full((n,), start),
        tempo=torch.full((n,), tempo),
        pitch_bands=torch.full((n,), pitch_bands),
    )


# Warp


def test_no_warp_cuts_the_window_out():
    x = music()
    torch.testing.assert_close(warped(x, start=7.0), x[:, 7 : 7 + N_FRAMES], atol=1e-3, rtol=0)


@pytest.mark.parametrize("n_bands", [-5, -1, 1, 12])
def test_a_pitch_shift_moves_the_bands(n_bands):
    x = music()
    y = warped(x, pitch_bands=float(n_bands))
    source = torch.arange(72) - n_bands
    expected = x[:, :N_FRAMES][:, :, source.clamp(0, 71)]
    torch.testing.assert_close(y, expected, atol=1e-2, rtol=0)


@pytest.mark.parametrize("tempo", [0.75, 1.25, 1.4])
def test_a_tempo_change_stretches_time(tempo):
    ramp = torch.arange(N_SOURCE, dtype=torch.float32)[None, :, None].repeat(1, 1, 72)
    y = warped(ramp, start=2.0, tempo=tempo)
    expected = 2.0 + tempo * torch.arange(N_FRAMES)
    torch.testing.assert_close(y[0, :, 30], expected, atol=1e-3, rtol=0)


def test_warped_windows_keep_their_middle_and_stay_inside():
    ramp = torch.arange(N_SOURCE, dtype=torch.float32)[None, :, None].repeat(64, 1, 72)
    y = altered(ramp, warp=1.0)[:, :, 36]
    steps = y.diff(dim=1)
    tempo = steps.mean(dim=1)
    assert float(steps.std(dim=1).max()) < 1e-3  # the border would make steps of 0
    middle = y[:, 0] + tempo * N_FRAMES / 2.0
    torch.testing.assert_close(middle, torch.full((64,), N_SOURCE // 2.0), atol=1e-2, rtol=0)
    assert 1 / 1.4 - 1e-3 <= float(tempo.min()) < 0.8
    assert 1.25 < float(tempo.max()) <= 1.4 + 1e-3


def test_mel_bands_are_never_shifted():
    mel = FeatureConfig(layout="mel", n_bands=72, f_min_hz=0.0)
    ramp = torch.arange(72, dtype=torch.float32)[None, None, :].repeat(32, N_SOURCE, 1)
    kept = altered(ramp, features=mel, warp=1.0)
    torch.testing.assert_close(kept, ramp[:, :N_FRAMES], atol=1e-3, rtol=0)
    assert float((altered(ramp, warp=1.0) - ramp[:, :N_FRAMES]).abs().max()) > 2.0


# Levels


def test_add_power_is_a_sum_of_powers():
    x, y = torch.tensor([0.0, -10.0, -50.0]), torch.tensor([0.0, -10.0, 0.0])
    expected = 10.0 * torch.log10(10.0 ** (x / 10.0) + 10.0 ** (y / 10.0))
    torch.testing.assert_close(bands.add_power(x, y), expected)
    assert float(bands.add_power(x, y)[0]) == pytest.approx(3.0103, abs=1e-3)


def test_mean_level_is_the_mean_power():
    x = music()
    expected = 10.0 * torch.log10((10.0 ** (x / 10.0)).mean(dim=(1, 2), keepdim=True))
    torch.testing.assert_close(bands.mean_level(x), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("amount_db", [3.0, 12.0])
def test_an_equaliser_adds_one_smooth_curve(amount_db):
    x = music(64)
    curve = bands.equalise(x, amount_db, chance()) - x
    torch.testing.assert_close(curve, curve[:, :1].expand_as(curve), atol=1e-3, rtol=0)
    peak = curve.abs().amax(dim=(1, 2))
    assert float(peak.max()) <= amount_db + 1e-3
    assert float(peak.max()) > 0.8 * amount_db
    assert float(curve[:, 0].diff(dim=1).abs().max()) < 0.25 * amount_db


def test_band_limits_cut_the_ends_and_spare_the_middle():
    x = music(200)
    cut = (x - bands.limit_band(x, chance()))[:, 0]
    assert float(cut.min()) >= -1e-3
    assert float(cut.max()) <= 60.0 + 1e-3
    assert float(cut[:, 33:39].abs().max()) <= 1e-3
    low, high = cut[:, 0] > 0.5, cut[:, -1] > 0.5
    for kind in (low & ~high, high & ~low, low & high):
        assert int(kind.sum()) > 30


@pytest.mark.parametrize("rt60_s", [0.2, 1.0])
def test_a_room_decays_by_60_db_in_rt60(rt60_s):
    x = torch.full((1, 150, 8), -200.0)
    x[:, 10] = 0.0
    y = bands.smear(x, torch.tensor([rt60_s]), torch.tensor([1.0]), frame_hop_s=LOG.frame_hop_s)
    assert float(y[0, 10].mean()) == pytest.approx(0.0, abs=0.05)
    tail = y[0, 11:30, 0]
    assert tail.diff().numpy() == pytest.approx(-60.0 * 0.01 / rt60_s, abs=0.02)
    assert float(y[0, :10].max()) < -100.0


@pytest.mark.parametrize("wet", [0.3, 2.0])
def test_a_room_adds_its_share_to_a_steady_sound(wet):
    x = torch.zeros(1, 150, 8)
    y = bands.smear(x, torch.tensor([0.2]), torch.tensor([wet]), frame_hop_s=LOG.frame_hop_s)
    assert float(y[0, -1, 0]) == pytest.approx(10.0 * math.log10(1.0 + wet), abs=0.05)


def test_compression_lowers_loud_frames_by_at_most_its_ratio():
    ramp = torch.linspace(-60.0, 0.0, 200)[None, :, None].repeat(50, 1, 8)
    y = bands.compress(ramp, chance(), ratio=4.0)
    reduction = ramp - y
    assert float(reduction.min()) >= -1e-3
    torch.testing.assert_close(reduction, reduction[:, :, :1].expand_as(reduction))
    assert float(reduction[:, :90].abs().max()) < 1e-3  # 30 dB and more below the top
    # Above the threshold the level rises by 1 / ratio of what it did.
    slope = y[:, 180:190, 0].diff(dim=1).mean(dim=1) / ramp[0, :, 0].diff().mean()
    active = reduction[:, 180, 0] > 0.1
    assert int(active.sum()) > 20
    assert 1.0 / 4.0 - 0.01 <= float(slope[active].min()) < 0.35
    assert 0.5 < float(slope[active].max()) <= 1.0 / 1.5 + 0.01


@pytest.mark.parametrize("snr_db", [-3.0, 10.0, 30.0])
def test_noise_has_the_stated_level(snr_db):
    x = music()
    y = bands.add_noise(x, torch.full((4,), snr_db), chance())
    power_x, power_y = 10.0 ** (x.double() / 10.0), 10.0 ** (y.double() / 10.0)
    noise = (power_y - power_x).mean(dim=(1, 2))
    measured = 10.0 * torch.log10(power_x.mean(dim=(1, 2)) / noise)
    torch.testing.assert_close(measured, torch.full_like(measured, snr_db), atol=0.1, rtol=0)


def test_a_codec_drops_what_lies_far_below_the_peak():
    x = music(32)
    y = bands.imitate_codec(x, chance())
    depth = x.amax(dim=2, keepdim=True) - x
    near, far = depth < 15.0, depth > 40.0
    assert float((y - x)[near].abs().max()) < 3.0 * 6.0
    assert float((x.amax(dim=2, keepdim=True) - y)[far].min()) >= 15.0 + 10.0 - 1e-3


def test_a_mask_blanks_at_most_a_fifth_each_way():
    x = music(100)
    y = bands.mask(x, chance())
    low = x.amin(dim=(1, 2), keepdim=True)
    blank = y != x
    assert bool((y == torch.where(blank, low, x)).all())
    frames, columns = blank.all(dim=2).float().mean(dim=1), blank.all(dim=1).float().mean(dim=1)
    assert 0.1 < float(frames.max()) <= 0.2
    assert 0.1 < float(columns.max()) <= 0.2


def test_a_mixture_has_the_stated_level():
    x = music(64, seed=3)
    y = altered(x, mix=1.0)
    alone = altered(x)
    added_db = bands.mean_level(y) - bands.mean_level(alone)
    assert float(added_db.min()) >= 10.0 * math.log10(1.0 + 10.0**-2.0) - 0.01  # 20 dB below
    assert float(added_db.max()) <= 10.0 * math.log10(2.0) + 0.01  # 0 dB


def test_a_window_mixed_with_itself_changes_its_level_only():
    x = music(1)  # the one window of a batch is its own partner
    change = altered(x, mix=1.0) - altered(x)
    assert 0.0 < float(change.mean()) < 3.1
    assert float(change.max() - change.min()) < 1e-3


@pytest.mark.parametrize(
    ("ranges", "largest"),
    [
        ({"pitch_semitones": 0.0}, 5.825),  # by speed: 12 * log2(1.4)
        ({"pitch_semitones": 0.0, "tempo": 1.2}, 3.157),
        ({"tempo": 1.0}, 5.0),
        ({"tempo": 1.0, "pitch_semitones": 2.0}, 2.0),
    ],
)
def test_pitch_follows_the_tempo_where_speed_changes_both(ranges, largest):
    ramp = torch.arange(72.0).expand(1000, N_SOURCE, 72)  # one dB a band: a shift is a level
    shift = 36.0 - altered(ramp, warp=1.0, **ranges)[:, N_FRAMES // 2, 36]
    assert 0.95 * largest < float(shift.abs().max()) <= largest + 1e-3


# All together


def test_nothing_chosen_changes_nothing():
    x = music()
    first = N_SOURCE // 2 - N_FRAMES // 2
    torch.testing.assert_close(altered(x), x[:, first : first + N_FRAMES], atol=1e-3, rtol=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_generator_alone_decides(seed):
    x = music(16)
    everything = dataclasses.asdict(BandAlterations())
    torch.manual_seed(1)
    one = altered(x, seed=seed, **everything)
    torch.manual_seed(2)
    two = altered(x, seed=seed, **everything)
    assert torch.equal(one, two)
    assert not torch.equal(one, altered(x, seed=seed + 1, **everything))
    assert bool(torch.isfinite(one).all())
    assert one.shape == (16, N_FRAMES, 72)


def test_the_source_is_left_alone():
    x = music(8)
    before = x.clone()
    altered(x, **dataclasses.asdict(BandAlterations()))
    assert torch.equal(x, before)


def test_a_share_of_the_windows_stays_clean():
    x = music(300)
    plain = altered(x)
    y = altered(x, clean=0.3, equalise=1.0)
    untouched = (y - plain).abs().amax(dim=(1, 2)) < 1e-3
    assert 0.2 < float(untouched.float().mean()) < 0.4


@pytest.mark.parametrize(
    "kind",
    ["warp", "equalise", "band_limit", "room", "dynamics", "noise", "mix", "codec", "mask"],
)
def test_each_share_is_that_share(kind):
    x = music(300)
    plain = altered(x)
    changed = (altered(x, **{kind: 0.5}) - plain).abs().amax(dim=(1, 2)) > 1e-2
    assert 0.3 < float(changed.float().mean()) < 0.6


def test_silence_stays_finite():
    y = altered(torch.full((16, N_SOURCE, 72), -120.0), **dataclasses.asdict(BandAlterations()))
    assert bool(torch.isfinite(y).all())


def test_first_utterances_stay_clean_where_asked():
    x = music(n=64)
    first = torch.arange(64) % 2 == 0
    y = alter_windows(
        x,
        n_frames=N_FRAMES,
        centre=torch.full((64,), float(N_SOURCE // 2)),
        features=LOG,
        alterations=dataclasses.replace(NONE, clean_first=1.0, equalise=1.0),
        generator=chance(),
        first=first,
    )
    plain = altered(x)
    changed = (y - plain).abs().amax(dim=(1, 2)) > 0.1
    assert not changed[first].any()
    assert changed[~first].float().mean() > 0.9


def test_talk_is_mixed_over_at_its_ratio():
    x = torch.full((200, N_SOURCE, 72), -30.0)
    talk = torch.full((3, 2 * N_FRAMES, 72), -80.0)
    talk[:, ::2] = -10.0
    y = alter_windows(
        x,
        n_frames=N_FRAMES,
        centre=torch.full((200,), float(N_SOURCE // 2)),
        features=LOG,
        alterations=dataclasses.replace(NONE, talk=1.0, talk_snr_db=5.0),
        generator=chance(),
        talk=talk,
    )
    gained = bands.mean_level(y).flatten() + 30.0
    least, most = (10 * math.log10(1 + 10 ** (-snr / 10)) for snr in (15.0, 5.0))
    assert least - 0.01 <= gained.min() < least + 0.1
    assert most - 0.1 < gained.max() <= most + 0.01
    assert torch.equal(altered(x, talk=1.0), altered(x)), "without voices there is no talk"
