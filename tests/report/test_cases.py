"""Cases in the HTML itself: the dossier, the media, the certificate, the clusters."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from html_page import Page
from hypothesis import given
from hypothesis import strategies as st
from small_report import (
    HOSTILE,
    RANGES,
    make_check,
    make_evidence,
    make_large_scan,
    make_media,
    make_pair,
    make_range,
    make_scan,
    make_tracks,
)

from auditor.records import Cluster, MatchedRange, to_json
from auditor.report.html.dossier import N_DOSSIER, detection_view
from auditor.report.html.page import render_html
from auditor.report.html.scan import N_STATIC_CLUSTERS
from auditor.report.html.shapes import LEVELS, draw_ribbon, draw_wave, pack_peaks, thin_peaks
from auditor.report.media.model import MAX_PEAK, Media, TrackMedia
from auditor.report.write import write_report
from auditor.scoring.originals import NOTHING_TELLS
from auditor.scoring.verdict import RULES


def data_of(html: str) -> dict:
    return json.loads(Page(html).texts["script"][0])


def test_headline_threshold_and_meanings_are_in_words():
    text = Page(render_html(make_scan())).text
    assert "3 matching pairs among 8,000 tracks; expected false pairs 0.8" in text
    assert "the threshold, 0.6200; 1 in 1.2 million unrelated pairs score this high." in text
    assert "Shared excerpt One or more passages of one track occur in the other" in text
    assert "High score" not in text
    assert "mp3 at 64 kbit/s 99 % 96.4–99.7 % 198 of 200" in text
    assert "reversed not measured – –" in text


def test_the_dossier_holds_sound_pictures_and_links():
    scan = make_scan()
    media = make_media(scan)
    page = Page(render_html(scan, media))
    assert [a["id"] for a in page.all("article")] == ["case-1", "case-2", "case-3"]
    clips = [a for a in page.all("audio") if "src" in a]
    assert len(clips) == sum(len(pair.clips) for pair in media.pairs) == 8
    for clip in clips:
        assert clip["src"].startswith("data:audio/ogg;codecs=opus;base64,T2dnU")
        assert clip["preload"] == "none"
        assert "autoplay" not in clip
    pictures = [a["href"] for a in page.all("image") if "href" in a]
    assert len(pictures) == 2
    assert all(href.startswith("data:image/png;base64,iVBOR") for href in pictures)
    links = [a["href"] for a in page.all("a") if a.get("href", "#").startswith("music/")]
    assert links == [f"music/{i}.mp3" for i in range(6)]
    assert "1 matrix was left out." in page.text
    assert len(page.all("polygon")) == 4
    said = "It is not known which came first: A and B have no release date. Suggested original"
    assert f"{said}: track A (earliest release date)." in page.text


def test_media_of_further_cases_stand_by_inert():
    scan = make_large_scan(N_DOSSIER + 3)
    page = Page(render_html(scan, make_media(scan)))
    assert len(page.all("article")) == N_DOSSIER
    waiting = [a["data-media"] for a in page.all("template")]
    assert waiting == [str(place) for place in range(N_DOSSIER, N_DOSSIER + 3)]


def test_media_come_after_the_script_that_opens_the_page():
    scan = make_scan()
    html = render_html(scan, make_media(scan))
    assert html.index('id="pairs-data"') < html.index("data:audio/ogg")


def test_an_empty_media_changes_nothing():
    for result in (make_scan(), make_check("shared excerpt")):
        assert render_html(result, Media()) == render_html(result)


def test_hostile_texts_of_cases_change_no_element():
    scan = make_scan()
    plain = Page(render_html(scan, make_media(scan)))
    pairs = tuple(dataclasses.replace(pair, decision_note=HOSTILE) for pair in scan.pairs)
    clusters = tuple(dataclasses.replace(c, original_why=HOSTILE) for c in scan.clusters)
    evil = dataclasses.replace(scan, pairs=pairs, clusters=clusters)
    media = dataclasses.replace(make_media(scan), notes=(HOSTILE,))
    page = Page(render_html(evil, media))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.text.count(HOSTILE) > plain.text.count(HOSTILE)


def test_a_link_that_could_run_something_is_no_media():
    with pytest.raises(ValueError, match="a quoted, relative URL is needed"):
        TrackMedia("x", link="javascript:alert(1)")


def test_data_of_the_script_holds_what_it_draws_and_plays():
    scan = make_scan()
    data = data_of(render_html(scan, make_media(scan)))
    altered, shared, identical, alike = data["pairs"]
    assert altered["ranges"][0][:5] == [0.0, 9.0, 12.0, 21.36, 1.04]
    assert shared["ranges"][0][5:7] == ["1:12–1:21", "1:43–1:52"]
    assert (identical["verdict"], identical["said"]) == (
        "identical file",
        "The two files are identical, byte for byte.",
    )
    assert identical["coded"] == f"SHA-256 of both: {scan.tracks[4].sha256}."
    assert alike["below"]
    assert "origin" not in alike
    assert len(data["tracks"][0][4]) == 240
    assert data["tracks"][0][5] == "music/0.mp3"
    assert "audio" not in json.dumps(data)


def test_another_result_keeps_its_decisions_apart():
    scan = make_scan()
    later = dataclasses.replace(
        scan, provenance=dataclasses.replace(scan.provenance, created="2027-01-01T00:00:00Z")
    )
    first, again, other = (data_of(render_html(r))["report"] for r in (scan, make_scan(), later))
    assert first == again != other


def test_pairs_that_only_sound_alike_come_after_the_flagged_ones():
    tracks = make_tracks(4)
    pairs = (
        make_pair(tracks[0], tracks[1], 0.99, "sounds alike"),
        make_pair(tracks[2], tracks[3], 0.7, "shared excerpt"),
    )
    data = data_of(render_html(make_scan(tracks=tracks, pairs=pairs, clusters=())))
    assert [pair["verdict"] for pair in data["pairs"]] == ["shared excerpt", "sounds alike"]


def test_pairs_that_are_not_flagged_say_why_they_are_listed():
    scan = make_scan()
    pairs = (*scan.pairs[:3], dataclasses.replace(scan.pairs[3], similarity=0.8712))
    text = Page(render_html(dataclasses.replace(scan, pairs=pairs))).text
    section = text[text.index("Not flagged 1 pair only sounds") :]
    assert "which is not a match" in section
    assert "are unusually similar (0.87 or more here, regardless of score)." in section
    weak = dataclasses.replace(pairs[3], evidence=scan.pairs[0].evidence)
    text = Page(render_html(dataclasses.replace(scan, pairs=(*pairs[:3], weak)))).text
    assert "0.87 or more here, regardless of score)." in text
    repeated = make_evidence(make_range(0.0, 12.0, repetition=0.9))
    loop = dataclasses.replace(pairs[3], evidence=dataclasses.replace(repeated, background=0.9))
    text = Page(render_html(dataclasses.replace(scan, pairs=(*pairs[:3], loop)))).text
    assert "They are listed because only a loop or a drone matches." in text
    unlike = make_evidence(make_range(0.0, 12.0, correlation=0.0))
    denied = dataclasses.replace(pairs[3], evidence=dataclasses.replace(unlike, background=0.6))
    text = Page(render_html(dataclasses.replace(scan, pairs=(*pairs[:3], denied)))).text
    assert "They are listed because the spectra of the aligned passages do not match." in text
    played = make_evidence(make_range(0.0, 12.0))
    played = dataclasses.replace(played, played_apart=RULES.played_apart)
    apart = dataclasses.replace(pairs[3], evidence=played, score=0.9)
    text = Page(render_html(dataclasses.replace(scan, pairs=(*pairs[:3], apart)))).text
    assert "because the aligned passages are two performances of the same notes." in text
    assert "1 two performances of the same notes." in text
    both = Page(render_html(dataclasses.replace(scan, pairs=(*pairs[:3], denied, loop)))).text
    assert "1 with spectra that do not match, 1 a loop or a drone." in both
    assert "Not flagged" not in Page(render_html(make_scan(pairs=pairs[:3]))).text


def test_the_histogram_says_why_not_all_above_the_threshold_are_flagged():
    scan = make_scan()
    aside = dataclasses.replace(scan.pairs[1], flagged=False, decision="false-alarm")
    text = Page(render_html(make_scan(pairs=(scan.pairs[0], aside, *scan.pairs[2:])))).text
    said = "4 pairs at or above the threshold: 2 flagged, 1 set aside by a decision, 1 a loop"
    assert said in text


def test_a_case_says_whose_the_tracks_are_and_how_they_are_coded():
    scan = make_scan()
    bare = dataclasses.replace(scan.tracks[1], licence="", codec="flac", bit_rate=None, title="B")
    tracks = (scan.tracks[0], bare, *scan.tracks[2:])
    text = Page(render_html(make_scan(tracks=tracks))).text
    assert "B carries no licence" in text
    assert "no release date · no licence 3:21 · flac" in text
    assert "B is lossless (flac). Loudness, equalisation, noise" in text
    assert "Same owner The match is real, and both belong to one owner" in text


def test_a_cluster_names_its_original_or_none():
    scan = make_scan()
    ids = tuple(track.id for track in scan.tracks[:4])
    whole = Cluster(ids, 0.95, ids[3], "longest")
    text = Page(render_html(dataclasses.replace(scan, clusters=(whole,)))).text
    assert "3 matching pairs in 1 cluster among 8,000 tracks" in text
    assert "Clusters 1 " in text
    assert "Suggested original: Ana Ruiz – Title 3 (longest)" in text
    assert f"Suggested original: another track in the cluster, {ids[3]} (longest)." in text
    assert "Suggested original: track B (longest)." in text
    bare = Cluster(ids, 0.95)
    assert "Suggested original:" not in Page(render_html(make_scan(clusters=(bare,)))).text
    equal = Cluster(ids, 0.95, ids[0], NOTHING_TELLS)
    text = Page(render_html(make_scan(clusters=(equal,)))).text
    assert "It is not known which track came first." in text
    assert "Suggested original:" not in text
    alone = Page(render_html(scan)).text
    assert "Clusters 3" not in alone


def test_a_case_says_which_track_was_first_by_its_date_or_that_nobody_knows():
    scan = make_scan()
    dated = [
        dataclasses.replace(track, date=date)
        for track, date in zip(scan.tracks, ("2012-06-08", HOSTILE, "2018", "2011"), strict=False)
    ]
    equal = dataclasses.replace(scan.clusters[0], original_why=NOTHING_TELLS)
    result = make_scan(tracks=(*dated, *scan.tracks[4:]), clusters=(equal, *scan.clusters[1:]))
    hostile, shared, *_ = data_of(render_html(result))["pairs"]
    assert hostile["origin"] == "It is not known which came first: B has no release date."
    said = "B came first and A would be the copy, if the release dates are right: A 2018, B 2011."
    assert shared["origin"] == said
    check = data_of(render_html(make_check("shared excerpt", "clear")))["pairs"]
    assert [pair.get("origin", "")[:24] for pair in check] == ["It is not known which ca", ""]


def test_many_clusters_are_said_and_not_all_listed():
    page = Page(render_html(make_large_scan(N_STATIC_CLUSTERS + 40)))
    clusters = [a for a in page.all("section") if a.get("class") == "cluster"]
    assert len(clusters) == N_STATIC_CLUSTERS
    assert "228 more" in page.text
    assert "And 40 smaller ones" in page.text


def test_a_clear_check_is_certified_with_what_names_it_later():
    check = make_check("clear")
    html = render_html(check)
    assert html.index('id="certificate"') < html.index('id="submissions"'), "the first sheet"
    text = Page(html).text
    limits = text.rindex("What this does not mean")
    certificate = text[text.index("Certificate: no match found") : limits]
    assert "99.0 % of altered copies score above this threshold; worst case" in certificate
    assert f"Artist new – Release release.wav {check.submissions[0].sha256} 3:24" in certificate
    assert "mp3 at 64 kbit/s 99 % 96.4–99.7 % 198 of 200" in certificate
    for words in (
        "Date 2026-01-02 03:04 UTC",
        "Compared with 8,000 tracks of .audit",
        "Fingerprint of the catalogue not known",
        "Threshold 0.6200, from excerpt-0a1b2c3d.json",
        "Expected false alarms 0.8",
        "Comparisons 8,000 pairs; annoy search, index recall 99.3 %",
        "Files not examined 0",
        "Made by audit 0.1.0, extractor excerpt, weights 0a1b2c3d",
    ):
        assert words in certificate
    assert "How likely a copy is to be found" not in text[limits:]


def test_a_certificate_names_the_json_beside_it(tmp_path):
    check = make_check("clear")
    html, json_path = write_report(check, tmp_path / "r.html")
    named = hashlib.sha256(json_path.read_bytes()).hexdigest()
    assert f"SHA-256 of the JSON file {named}" in Page(html.read_text("utf-8")).text


def test_a_certificate_comes_after_the_submissions_where_one_of_them_matches():
    check = make_check("shared excerpt")
    other = dataclasses.replace(check.submissions[0], id="other", title="Other", sha256="cd" * 32)
    both = dataclasses.replace(check, submissions=(*check.submissions, other))
    html = render_html(both)
    assert html.index('id="certificate"') > html.index('id="submissions"')
    text = Page(html).text
    certificate = text[text.index("Certificate: no match") : text.index("What was compared")]
    assert other.sha256 in certificate
    assert check.submissions[0].sha256 not in certificate


@pytest.mark.parametrize(
    "check",
    [
        make_check("shared excerpt"),
        make_check("sounds alike", "shared excerpt"),
        dataclasses.replace(make_check("clear"), n_pairs_compared=0),
        dataclasses.replace(
            make_check("clear"),
            submissions=(dataclasses.replace(make_check().submissions[0], silent=True),),
        ),
        dataclasses.replace(
            make_check("clear"),
            pairs=(dataclasses.replace(make_check("clear").pairs[0], decision="licensed"),),
        ),
    ],
    ids=["flagged", "alike and flagged", "nothing compared", "silent", "set aside"],
)
def test_what_is_not_clear_gets_no_certificate(check):
    assert "Certificate" not in Page(render_html(check)).text


def test_a_certificate_says_that_a_part_was_compared_and_that_nothing_was_measured():
    check = make_check("clear")
    cut = dataclasses.replace(check.submissions[0], truncated=True)
    text = Page(render_html(dataclasses.replace(check, submissions=(cut,), detection=()))).text
    assert "The detection rate was not measured at this threshold" in text
    assert "truncated: the file is cut short" in text
    assert "Not compared, or in part 1 submission" in text


def test_the_dossier_of_a_check_holds_what_is_flagged_or_decided():
    check = make_check("clear", "shared excerpt", "same recording")
    aside = dataclasses.replace(check.pairs[2], flagged=False, decision="licensed")
    page = Page(render_html(dataclasses.replace(check, pairs=(*check.pairs[:2], aside))))
    assert [a["id"] for a in page.all("article")] == ["case-1", "case-2"]
    text = page.text
    assert text.index("0.8000 Case 1") < text.index("0.9000 Case 3") < text.index("0.7000 Case 2")
    assert not page.all("template")


def test_a_check_begins_with_the_answer_for_each_submission():
    check = make_check("shared excerpt", "clear")
    hush = dataclasses.replace(check.submissions[0], id="hush", title="Hush", silent=True)
    other = dataclasses.replace(check.submissions[0], id="other", title="Other")
    both = dataclasses.replace(check, submissions=(*check.submissions, other, hush))
    text = Page(render_html(both)).text
    top = text[: text.index("Expected false pairs")]
    assert "Match Artist new – Release shared excerpt: Ana Ruiz – Title 0" in top
    assert "No match Artist new – Other" in top
    assert "Not compared Artist new – Hush" in top
    clear = Page(render_html(make_check("clear"))).text
    assert clear.index("No match") < clear.index("Expected false pairs")


def test_the_case_comes_before_the_small_print_and_clips_are_told_of():
    check = make_check("clear")
    html = render_html(check)
    assert html.index('id="submissions"') < html.index('id="small-print"')
    assert "figures of whole tracks" not in html
    clip = dataclasses.replace(check.submissions[0], duration_s=10.0)
    said = Page(render_html(dataclasses.replace(check, submissions=(clip,)))).text
    assert "figures of whole tracks. This submission lasts 0:10, and of clips below 1:00" in said
    of_length = dataclasses.replace(check, submissions=(clip,), detection_s=5.0)
    said = Page(render_html(of_length)).text
    assert "of altered copies of 5 s score above this threshold" in said
    assert "figures of copies of 5 s, the greatest length measured that this submission" in said


def test_detection_in_per_cent():
    assert detection_view(make_scan().detection) == [
        ("mp3 at 64 kbit/s", "99 %", "96.4–99.7 %", "198 of 200"),
        ("reversed", "not measured", "–", "–"),
    ]


@given(st.lists(st.integers(0, MAX_PEAK), max_size=600))
def test_waves_stay_in_their_box_and_pack_one_character_a_peak(peaks):
    thin = thin_peaks(peaks)
    assert max(thin, default=0) == max(peaks, default=0)
    assert len(thin) == min(len(peaks), 240)
    packed = pack_peaks(thin)
    assert len(packed) == len(thin)
    for peak, letter in zip(thin, packed, strict=True):
        assert abs(LEVELS.index(letter) / (len(LEVELS) - 1) - peak / MAX_PEAK) < 0.01
    path = draw_wave(thin)
    heights = [int(word.split("H")[0].strip("Z")) for word in path.split("V")[1:]]
    assert all(0 <= height <= 100 for height in heights)
    assert bool(path) == bool(peaks)


@given(*(st.floats(0.0, 400.0),) * 4, st.floats(0.0, 300.0), st.floats(0.0, 300.0))
def test_ribbons_stay_on_their_tracks(a0, a1, b0, b1, a_s, b_s):
    heard = MatchedRange(min(a0, a1), max(a0, a1), min(b0, b1), max(b0, b1), 1.0, 0.5, None, 0.0)
    ribbon = draw_ribbon(heard, a_s, b_s)
    for x, width in ((ribbon.a_x, ribbon.a_width), (ribbon.b_x, ribbon.b_width)):
        assert 0.0 <= x <= x + width <= 100.001


def test_reading_a_result_back_renders_the_same_page():
    from auditor.records import result_from_json

    scan = make_scan()
    assert render_html(result_from_json(to_json(scan))) == render_html(scan)
    assert RANGES["shared excerpt"][0].b_end_s == 112.0
