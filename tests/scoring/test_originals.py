"""Which track of a cluster is called the original."""

from __future__ import annotations

import dataclasses

import pytest
from small_catalogue import make_track

from auditor.audio.losses import Losses
from auditor.scoring.originals import NOTHING_TELLS, suggest_original, which_first


def tracks(*changes):
    base = dataclasses.replace(
        make_track("song"), duration_s=100.0, date="", codec="mp3", bit_rate=128_000
    )
    return [
        dataclasses.replace(base, **{"id": f"t{i}", "sha256": f"{i:064x}", **how})
        for i, how in enumerate(changes)
    ]


@pytest.mark.parametrize(
    ("changes", "expected", "why"),
    [
        (({"date": "2010"}, {"date": "2008-03-01"}), "t1", "earliest release date"),
        (({"date": "2010-05"}, {"date": "2010-04-30"}), "t1", "earliest release date"),
        (({}, {"date": "1999", "duration_s": 20.0}), "t1", "the only track with a release date"),
        (({}, {"date": "2001"}, {"date": "1999"}), "t2", "earliest release date, of those with a"),
        (({"date": "2010"}, {"date": "2010-03-01", "duration_s": 90.0}), "t0", "longest"),
        (({"date": "unknown", "duration_s": 90.0}, {}), "t1", "longest"),
        (({}, {"codec": "flac", "bit_rate": None}), "t1", "lossless, among the longest"),
        (({}, {"codec": "pcm_s16le"}), "t1", "lossless"),
        (({"codec": "flac"}, {"codec": "pcm_s16le"}), "t0", "first of equals"),
        (({}, {"bit_rate": 320_000, "duration_s": 99.5}), "t0", "first of equals"),
        (({"date": "0000"}, {"date": "1999-00-00", "duration_s": 90.0}), "t1", "the only track"),
        (({}, {}, {}), "t0", "first of equals"),
    ],
)
def test_dates_then_length_then_quality_decide(changes, expected, why):
    found, reason = suggest_original(tracks(*changes))
    assert (found, why in reason) == (expected, True)
    assert suggest_original(tracks(*changes)[::-1])[0] == expected


FULL, CUT, FEWER = Losses(22_050.0, 0.02), Losses(16_000.0, 0.02), Losses(22_050.0, 0.012)
FLAC = {"codec": "flac", "bit_rate": None, "sample_rate_hz": 44_100}


@pytest.mark.parametrize(
    ("changes", "losses", "expected", "why"),
    [
        (({"bit_rate": 320_000}, {}), (CUT, FULL), "t1", "band up to 22 kHz"),
        (({"bit_rate": 320_000}, {}), (FULL, FEWER), "t1", "fewest holes"),
        (({}, FLAC), (FULL, FULL), "t1", "lossless"),
        (({}, FLAC), (CUT, CUT), "t0", "first of equals"),
        (({}, FLAC), (FEWER, FULL), "t0", "fewest holes"),
        (({}, FLAC), (FULL, CUT), "t0", "band up to 22 kHz"),
        (({}, {}, FLAC), (CUT, FULL, FULL), "t2", "band up to 22 kHz and lossless"),
        (({}, {}), (FULL, None), "t0", "first of equals"),
        (({}, FLAC), (None, None), "t1", "lossless"),
    ],
)
def test_what_encoders_took_decides_between_the_longest(changes, losses, expected, why):
    given = tracks(*changes)
    by_id = {track.id: found for track, found in zip(given, losses, strict=True)}

    def measure(asked):
        return [by_id[track.id] for track in asked]

    found, reason = suggest_original(given, measure)
    assert (found, why in reason) == (expected, True), reason
    assert suggest_original(given[::-1], measure) == (found, reason)


def test_nothing_is_measured_where_dates_lengths_or_bytes_decide():
    def measure(asked):
        raise AssertionError("files were read")

    for changes in (({"date": "2010"}, {"date": "2008"}), ({"duration_s": 90.0}, {})):
        suggest_original(tracks(*changes), measure)
    same = tracks({"sha256": "a" * 64}, {"sha256": "a" * 64})
    assert suggest_original(same, measure) == ("t0", NOTHING_TELLS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ({"date": "2010"}, {"date": "2008-03-01"}),
            "B came first and A would be the copy, if the",
        ),
        (({"date": "2010-04"}, {"date": "2010-05-30"}), "A came first and B would be the copy"),
        (({}, {"date": "1999"}), "It is not known which came first: A has no release date."),
        (({"date": "1999"}, {"date": "0"}), "It is not known which came first: B has no release"),
        (({}, {}), "It is not known which came first: A and B have no release date."),
        (
            ({"date": "2010"}, {"date": "2010-03-01"}),
            "It is not known which came first: the release dates do not decide it (A 2010",
        ),
    ],
)
def test_only_dates_tell_which_of_two_came_first(changes, said):
    assert which_first(*tracks(*changes)).startswith(said)
    turned = which_first(*tracks(*changes)[::-1])
    assert turned.startswith(said[:9].translate(str.maketrans("AB", "BA")))
