"""Threshold files: rates read off operating points and off the tail, and validation."""

from __future__ import annotations

import dataclasses
import json
import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_thresholds import OTHERS, POINTS, RECALL, TAIL, WEIGHTS, make, make_tailed

from auditor.calibration.rates import OperatingPoint, RateTable
from auditor.calibration.thresholds import (
    MAX_FILE_BYTES,
    AlterationRecall,
    LengthRecalls,
    Thresholds,
    find_thresholds,
    load_thresholds,
    save_thresholds,
    shipped_directory,
)
from auditor.errors import ThresholdError
from auditor.serialisation import to_json

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
    message = r"1e-06 is too low: with 1,770 pairs, tunes measures rates down to 0\.01"
    with pytest.raises(ThresholdError, match=message):
        cut.threshold_at(1e-6)


def test_threshold_at_refuses_a_rate_below_one_pair_in_all():
    message = (
        r"with 1,770 pairs, tunes measures rates down to 0\.00057\. Give --far 0\.00057, "
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
    with pytest.raises(ThresholdError, match=r"rates down to 0\.01"):
        make(operating_points=above).threshold_at(1e-6)


def test_counts_give_the_rate_as_far_as_the_tail_begins_and_the_tail_from_there():
    made = make_tailed()
    assert [made.far_at(p.threshold)[0] for p in POINTS[:2]] == [0.1, 0.01]
    assert made.far_at(0.6)[0] == make().far_at(0.6)[0]
    assert made.far_at(0.7 + 1e-9)[0] == pytest.approx(0.01, rel=1e-6), "continuous at the joint"
    assert made.far_at(0.9) == TAIL.far_at(0.9)
    assert made.far_at(0.9)[0] > POINTS[-1].far, "which was counted as 0"
    assert made.threshold_at(0.1) == 0.5
    assert made.threshold_at(0.05) == made.threshold_at(0.01) == 0.7
    assert made.threshold_at(1e-9) == TAIL.threshold_at(1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=10))
def test_with_a_tail_far_never_rises_with_the_threshold(thresholds):
    made = make_tailed()
    found = [made.far_at(threshold) for threshold in sorted(thresholds)]
    for (a, _, _), (b, _, _) in pairwise(found):
        assert b <= a * (1 + 1e-9) + 1e-300
    for far, low, high in found:
        assert 0.0 <= low <= far <= high <= 1.0


@settings(deadline=None)
@given(st.floats(-9.0, -1.0))
def test_with_a_tail_every_rate_has_its_threshold(exponent):
    made, far = make_tailed(), 10.0**exponent
    assert made.far_at(made.threshold_at(far))[0] <= far * (1 + 1e-6)
    if far < TAIL.share:
        assert made.far_at(made.threshold_at(far))[0] == pytest.approx(far, rel=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_file_that_does_not_name_its_scorer_is_refused_with_what_to_type(tmp_path, n):
    data = {key: value for key, value in to_json(make()).items() if key != "scorer"}
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**data, "score": "match", "format": f"audit-threshold/{n}"}))
    with pytest.raises(
        ThresholdError, match=r"old\.json comes from an older .* Run audit calibrate"
    ):
        load_thresholds(path)
    with pytest.raises(ThresholdError, match=r"remove the file to use the default threshold"):
        find_thresholds(WEIGHTS, [tmp_path], scorer="match/1")


def test_a_tail_is_kept_to_the_last_digit_and_reads_well(tmp_path):
    path = save_thresholds(make_tailed(), tmp_path / "a.json")
    assert load_thresholds(path) == make_tailed()
    assert "[-0.24, 0.07, 0.008]" in path.read_text()


def test_every_scorer_has_files_of_its_own(tmp_path):
    save_thresholds(make(scorer="match/1", data="by moments"), tmp_path / "a.json")
    assert find_thresholds(WEIGHTS, [tmp_path], scorer="cosine/1") is None
    assert find_thresholds(WEIGHTS, [tmp_path], scorer="match/1")[0].data == "by moments"


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
        ({"format": "audit-threshold/9"}, "format is 'audit-threshold/9'; this version reads"),
        ({"tail": {**to_json(TAIL), "threshold": 0.69}}, "the tail begins at 0.69 with a share"),
        ({"tail": {**to_json(TAIL), "n_scores": 1000}}, "with a share of 0.177; an operating"),
        ({"tail": {**to_json(TAIL), "shape": 0.1}}, "a tail has shape 0.1"),
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
    assert "t.json is not a threshold file" in str(caught.value)
    assert "Run: audit calibrate" in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff\xfe", b"{" * 100_000, b'{"threshold": 1e999}', b'{"a": NaN}']
)
def test_what_is_no_threshold_file_is_refused(tmp_path, data):
    path = tmp_path / "t.json"
    path.write_bytes(data)
    with pytest.raises(ThresholdError, match="is not a threshold file"):
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
    found = find_thresholds(WEIGHTS, [own, shipped], scorer="cosine/1")
    assert found is not None
    assert (found[0].data, found[1]) == ("mine", own / "b.json")
    assert find_thresholds(WEIGHTS, [shipped, own], scorer="cosine/1")[0].data == "theirs"
    assert (
        find_thresholds("12345678", [own, shipped, tmp_path / "absent"], scorer="cosine/1") is None
    )


def test_every_shipped_file_is_valid():
    for path in shipped_directory().glob("*.json"):
        made = load_thresholds(path)
        assert f"-{made.weights_id}" in path.stem
        assert dataclasses.asdict(made)["n_nonmatching_pairs"] > 0


CLOSE = RateTable(
    (OperatingPoint(0.5, 0.4, 0.3, 0.5), OperatingPoint(0.7, 0.1, 0.05, 0.2)),
    1000,
    dataclasses.replace(TAIL, n_exceedances=100, n_scores=1000),
)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("threshold", [0.4, 0.6, 0.7, 0.9])
def test_the_rate_of_a_mixture_is_that_of_its_parts_by_their_shares(share, threshold):
    made = make_tailed(one_source=CLOSE)
    parts = zip(made.rates.far_at(threshold), CLOSE.far_at(threshold), strict=True)
    expected = [(1.0 - share) * a + share * b for a, b in parts]
    assert made.far_at(threshold, one_source=share) == pytest.approx(expected)


@given(st.floats(1e-9, 0.2), st.floats(0.0, 1.0))
def test_the_threshold_of_a_mixture_has_its_rate_and_hardly_a_lower_one_does(far, share):
    made = make_tailed(one_source=CLOSE)
    threshold = made.threshold_at(far, one_source=share)
    assert made.far_at(threshold, one_source=share)[0] <= far * (1 + 1e-9)
    if share and threshold > made.operating_points[0].threshold:
        assert made.far_at(threshold - 2e-6, one_source=share)[0] > far


def test_more_pairs_of_one_source_need_a_higher_threshold():
    made = make_tailed(one_source=CLOSE)
    found = [made.threshold_at(1e-5, one_source=share) for share in (0.0, 0.05, 0.5, 1.0)]
    assert found == sorted(set(found))


def test_a_mixture_that_was_not_counted_so_far_down_is_refused():
    counted = dataclasses.replace(CLOSE, tail=None)
    with pytest.raises(ThresholdError, match=r"a FAR of 1e-05 is too low.*rates down to 0\.0"):
        make_tailed(one_source=counted).threshold_at(1e-5, one_source=0.5)


def test_a_file_with_sources_is_read_as_it_was_written(tmp_path):
    made = make_tailed(one_source=CLOSE)
    assert load_thresholds(save_thresholds(made, tmp_path / "t.json")) == made


def lengths_of(*seconds: float) -> tuple[LengthRecalls, ...]:
    def recall(n_found: int) -> AlterationRecall:
        scores = (0.1,) * (4 - n_found) + (0.9,) * n_found
        return AlterationRecall("mp3", 4, n_found, 0.0, 1.0, scores)

    return tuple(
        LengthRecalls(s, (recall(n + 1),), "music", "2026-11-30", "") for n, s in enumerate(seconds)
    )


def test_what_is_found_of_a_clip_is_that_of_copies_no_longer_than_it():
    whole = (AlterationRecall("mp3", 4, 4, 0.5, 1.0, (0.9,) * 4),)
    made = dataclasses.replace(make(), recalls=whole, lengths=lengths_of(5.0, 10.0))

    def found(duration_s: float | None) -> list[int]:
        return [d.n_found for d in made.detection(0.5, duration_s)]

    assert [found(s) for s in (4.0, 5.0, 9.97, 30.0, 60.0, None)] == [[], [1], [2], [2], [4], [4]]
    lengths = [made.counted_length(s) for s in (4.0, 5.0, 12.0, 60.0, None)]
    assert lengths == [0.0, 5.0, 10.0, None, None]
    older = dataclasses.replace(made, lengths=())
    assert older.counted_length(5.0) is None
    assert [d.n_found for d in older.detection(0.5, 5.0)] == [4]


def test_lengths_are_kept_and_must_rise_below_a_whole_track(tmp_path):
    made = dataclasses.replace(make(), lengths=lengths_of(5.0, 10.0))
    assert load_thresholds(save_thresholds(made, tmp_path / "t.json")) == made
    with pytest.raises(ValueError, match=r"lengths are of \[10.0, 5.0\] s; they must rise"):
        dataclasses.replace(made, lengths=made.lengths[::-1])
    with pytest.raises(ValueError, match="duration_s is 60.0; it must be above 0 and below 60"):
        lengths_of(60.0)
