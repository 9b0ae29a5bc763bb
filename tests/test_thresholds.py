"""Threshold files: rates read off operating points, validation, and the choice of a threshold."""

from __future__ import annotations

import dataclasses
import json
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.config import to_json
from auditor.errors import ThresholdError
from auditor.thresholds import (
    MAX_FILE_BYTES,
    AlterationRecall,
    OperatingPoint,
    Thresholds,
    choose_threshold,
    find_thresholds,
    load_thresholds,
    save_thresholds,
    shipped_directory,
)

WEIGHTS = "0a1b2c3d"
OTHERS = "ffffffff"
POINTS = (
    OperatingPoint(0.5, 0.1, 0.08, 0.12),
    OperatingPoint(0.7, 0.01, 0.005, 0.02),
    OperatingPoint(0.9, 0.0, 0.0, 0.004),
)
RECALL = to_json(AlterationRecall("mp3, 32 kbit/s", 10, 9, 0.6, 0.98))


def make(**changes) -> Thresholds:
    values = {
        "weights_id": WEIGHTS,
        "extractor": "track",
        "threshold": 0.7,
        "target_far": 0.01,
        "operating_points": POINTS,
        "recalls": (AlterationRecall(**RECALL),),
        "n_tracks": 60,
        "n_nonmatching_pairs": 1770,
        "n_set_aside_pairs": 3,
        "data": "tunes",
        "data_sha256": "0" * 64,
        "date": "2024-01-01",
        "version": "0.1.0",
        "command": "audit calibrate tunes/",
    }
    return Thresholds(**{**values, **changes})


rates = st.floats(0.0, 1.0)


@st.composite
def calibrations(draw) -> Thresholds:
    scores = sorted(draw(st.sets(st.integers(-100, 100), min_size=1, max_size=6)))
    fars = sorted(draw(st.lists(rates, min_size=len(scores), max_size=len(scores))), reverse=True)
    points = tuple(
        OperatingPoint(score / 100, far, far * draw(rates), far + (1.0 - far) * draw(rates))
        for score, far in zip(scores, fars, strict=True)
    )
    return make(operating_points=points, threshold=points[-1].threshold)


@given(calibrations(), st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=10))
def test_far_never_rises_with_the_threshold_and_lies_in_its_interval(made, thresholds):
    found = [made.far_at(threshold) for threshold in sorted(thresholds)]
    for (a, _, _), (b, _, _) in pairwise(found):
        assert b <= a * (1 + 1e-9) + 1e-300
    for far, low, high in found:
        assert 0.0 <= low <= far <= high <= 1.0


@given(calibrations())
def test_far_at_an_operating_point_is_what_was_counted(made):
    for point in made.operating_points:
        far, low, high = made.far_at(point.threshold)
        assert (far, low, high) == pytest.approx((point.far, point.far_low, point.far_high))


@given(calibrations(), rates)
def test_threshold_at_keeps_its_promise_or_says_how_far_it_reaches(made, far):
    try:
        threshold = made.threshold_at(far)
    except ThresholdError:
        uncounted = far * made.n_nonmatching_pairs < 1.0
        assert uncounted or all(point.far > far for point in made.operating_points)
        return
    assert far * made.n_nonmatching_pairs >= 1.0 - 1e-6
    assert made.far_at(threshold)[0] <= far * (1 + 1e-9)
    lower = [p for p in made.operating_points if p.threshold < threshold]
    assert all(point.far > far for point in lower)


def test_far_beyond_the_points_is_bounded_not_extrapolated():
    assert make().far_at(0.95) == (0.0, 0.0, 0.004)
    assert make().far_at(0.2) == (0.1, 0.08, 1.0)
    cut = make(operating_points=POINTS[:2])
    assert cut.far_at(0.95) == (0.01, 0.0, 0.02), "0.95 may still be reached by 1 % of the pairs"


def test_threshold_at_refuses_a_rate_that_was_not_counted():
    cut = make(operating_points=POINTS[:2])
    message = r"1e-06 was asked for; 1,770 pairs of tunes can show 0\.01 at the lowest"
    with pytest.raises(ThresholdError, match=message):
        cut.threshold_at(1e-6)


def test_threshold_at_refuses_a_rate_below_one_pair_in_all():
    message = (
        r"1,770 pairs of tunes can show 0\.00057 at the lowest\. Give --far 0\.00057, "
        r"run audit calibrate on more music, or give --threshold\."
    )
    for far in (1e-6, 0.99 / 1770):
        with pytest.raises(ThresholdError, match=message):
            make().threshold_at(far)
    assert make().threshold_at(1 / 1770) == 0.9


@given(st.integers(1, 10**7))
def test_the_lowest_rate_that_is_named_can_be_asked_for(n):
    made = make(n_nonmatching_pairs=n)
    with pytest.raises(ThresholdError) as caught:
        made.threshold_at(0.5 / n)
    named = float(str(caught.value).split("--far ")[1].split(",")[0])
    assert 1 / n <= named <= 1.1001 / n
    assert made.threshold_at(named) >= 0.5


def test_threshold_at_never_gives_a_threshold_that_no_score_reaches():
    above = (*POINTS[:2], OperatingPoint(1.0 + 1e-7, 0.0, 0.0, 0.004))
    with pytest.raises(ThresholdError, match=r"can show 0\.01 at the lowest"):
        make(operating_points=above).threshold_at(1e-6)


def test_a_file_round_trips_and_replaces_in_one_step(tmp_path):
    path = tmp_path / "new" / "track-0a1b2c3d.json"
    assert save_thresholds(make(), path) == path
    assert save_thresholds(make(data="other"), path) == path
    assert load_thresholds(path) == make(data="other")
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_is_on_the_disk_before_it_replaces_another(tmp_path, monkeypatch):
    synced = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda n: (sync(n), synced.append(os.fstat(n).st_ino)))

    def replace_synced(part, path):
        assert os.stat(part).st_ino in synced
        replace(part, path)

    monkeypatch.setattr(os, "replace", replace_synced)
    assert load_thresholds(save_thresholds(make(), tmp_path / "a.json")) == make()


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"a\.json cannot be written: .*or give another --output"
    with pytest.raises(ThresholdError, match=message):
        save_thresholds(make(), tmp_path / "file" / "a.json")
    (tmp_path / "a.json").mkdir()
    with pytest.raises(ThresholdError, match=message):
        save_thresholds(make(), tmp_path / "a.json")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "file"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "audit-threshold/2"}, "format is 'audit-threshold/2'; this version reads"),
        ({"operating_points": []}, "operating_points is empty"),
        ({"threshold": 1.5}, "threshold is 1.5; a cosine"),
        ({"threshold": 1.0000005}, "a cosine lies in"),
        ({"threshold": "0.7"}, r"thresholds.threshold is '0.7'; float was expected"),
        ({"threshold": None}, "thresholds.threshold is None"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"n_tracks": 1.5}, "n_tracks is 1.5; int"),
        (
            {"operating_points": [to_json(POINTS[1]), to_json(POINTS[0])]},
            "operating_points must rise in threshold",
        ),
        (
            {"operating_points": [{**to_json(POINTS[0]), "far": 0.5}]},
            "far is 0.5 within 0.08 to 0.12",
        ),
        ({"operating_points": [{**to_json(POINTS[0]), "far": "NaN"}]}, "float was expected"),
        ({"recalls": [["mp3", 3, 4, 0.1, 0.9]]}, "recalls.* is a list; an object was expected"),
        ({"recalls": [{**RECALL, "n_found": 11}]}, "11 of 10 copies found"),
        ({"recalls": [{**RECALL, "recall_high": 1.5}]}, "recall_high is 1.5"),
    ],
)
def test_a_wrong_field_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({**to_json(make()), **change}))
    with pytest.raises(ThresholdError, match=message) as caught:
        load_thresholds(path)
    assert "t.json is no threshold file" in str(caught.value)
    assert "Run: audit calibrate" in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff\xfe", b"{" * 100_000, b'{"threshold": 1e999}', b'{"a": NaN}']
)
def test_what_is_no_threshold_file_is_refused(tmp_path, data):
    path = tmp_path / "t.json"
    path.write_bytes(data)
    with pytest.raises(ThresholdError, match="is no threshold file"):
        load_thresholds(path)


def test_a_missing_or_huge_file_is_refused(tmp_path):
    with pytest.raises(ThresholdError, match=r"t\.json cannot be read: No such file"):
        load_thresholds(tmp_path / "t.json")
    with open(tmp_path / "t.json", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ThresholdError, match="larger than 4 MiB"):
        load_thresholds(tmp_path / "t.json")


def test_the_first_folder_with_these_weights_wins(tmp_path):
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    save_thresholds(make(weights_id=OTHERS), own / "a.json")
    save_thresholds(make(data="mine"), own / "b.json")
    save_thresholds(make(data="theirs"), shipped / "a.json")
    found = find_thresholds(WEIGHTS, [own, shipped])
    assert found is not None
    assert (found[0].data, found[1]) == ("mine", own / "b.json")
    assert find_thresholds(WEIGHTS, [shipped, own])[0].data == "theirs"
    assert find_thresholds("12345678", [own, shipped, tmp_path / "absent"]) is None


def test_choose_takes_the_calibrated_default_with_its_rates(tmp_path):
    save_thresholds(make(), tmp_path / "a.json")
    use = choose_threshold(WEIGHTS, [tmp_path])
    assert (use.threshold, use.far, use.far_low, use.far_high) == pytest.approx(
        (0.7, 0.01, 0.005, 0.02)
    )
    assert use.source == "a.json (tunes)"
    assert use.note == ""
    assert use.expected_false_pairs is None


def test_choose_by_rate_and_by_hand(tmp_path):
    save_thresholds(make(), tmp_path / "a.json")
    assert choose_threshold(WEIGHTS, [tmp_path], far=0.1).threshold == 0.5
    by_hand = choose_threshold(WEIGHTS, [tmp_path], threshold=0.6)
    assert by_hand.source == "given by hand; rates from a.json (tunes)"
    assert 0.01 < by_hand.far < 0.1
    above = choose_threshold(WEIGHTS, [tmp_path], threshold=0.95)
    assert (above.far, above.far_high) == (0.0, 0.004)
    assert "only the upper bound is known" in above.note
    below = choose_threshold(WEIGHTS, [tmp_path], threshold=0.3)
    assert below.far_high == 1.0
    assert "at least this" in below.note


def test_choose_by_rate_tells_where_the_interval_reaches_above_it(tmp_path):
    save_thresholds(make(), tmp_path / "a.json")
    use = choose_threshold(WEIGHTS, [tmp_path], far=0.001)
    assert (use.threshold, use.far, use.far_high) == (0.9, 0.0, 0.004)
    assert use.note == "A rate of 0.001 was asked for; it may be up to 0.004."
    assert choose_threshold(WEIGHTS, [tmp_path], far=0.05).note == ""


def test_a_damaged_file_does_not_stop_a_threshold_by_hand(tmp_path):
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    own.mkdir()
    (own / "bad.json").write_text("{")
    with pytest.raises(ThresholdError, match="bad.json is no threshold file"):
        choose_threshold(WEIGHTS, [own])
    with pytest.raises(ThresholdError, match="bad.json is no threshold file"):
        choose_threshold(WEIGHTS, [own], far=0.1)
    use = choose_threshold(WEIGHTS, [own, shipped], threshold=0.7)
    assert (use.threshold, use.far) == (0.7, None)
    assert "nothing is calibrated" in use.note
    assert "bad.json is damaged or cannot be read" in use.note
    save_thresholds(make(), shipped / "a.json")
    use = choose_threshold(WEIGHTS, [own, shipped], threshold=0.7)
    assert (use.threshold, use.far) == (0.7, 0.01)
    assert "bad.json is damaged or cannot be read" in use.note


def test_choose_by_hand_without_a_calibration_states_no_rate(tmp_path):
    use = choose_threshold(WEIGHTS, [tmp_path], threshold=0.9)
    assert (use.threshold, use.far, use.far_low, use.far_high) == (0.9, None, None, None)
    assert "nothing is calibrated" in use.note


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "no threshold is calibrated for weights 0a1b2c3d. Run: audit calibrate"),
        ({"far": 0.01}, "no threshold is calibrated"),
        ({"threshold": 0.9, "far": 0.01}, "exclude each other"),
        ({"threshold": 1.1}, "--threshold is 1.1; a cosine"),
        ({"threshold": float("nan")}, "--threshold is nan"),
        ({"far": 0.0}, "--far is 0.0; a rate"),
        ({"far": 2.0}, "--far is 2.0; a rate"),
    ],
)
def test_choose_refuses(tmp_path, how, message):
    with pytest.raises(ThresholdError, match=message):
        choose_threshold(WEIGHTS, [tmp_path], **how)


def test_a_file_named_by_hand_must_be_of_these_weights(tmp_path):
    path = save_thresholds(make(weights_id=OTHERS), tmp_path / "named.json")
    with pytest.raises(ThresholdError, match=f"calibrated for weights {OTHERS}; .* is {WEIGHTS}"):
        choose_threshold(WEIGHTS, [], file=path)
    named = save_thresholds(make(threshold=0.9), tmp_path / "named.json")
    save_thresholds(make(), tmp_path / "own" / "a.json")
    assert choose_threshold(WEIGHTS, [tmp_path / "own"], file=named).threshold == 0.9


def test_every_shipped_file_is_valid():
    for path in shipped_directory().glob("*.json"):
        made = load_thresholds(path)
        assert path.stem.endswith(made.weights_id)
        assert dataclasses.asdict(made)["n_nonmatching_pairs"] > 0
