"""Which tracks are of one source, and how many pairs that makes."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from small_catalogue import make_track

from auditor.catalogue.sources import (
    MAX_FOLDER,
    n_pairs_of_one_source,
    name_of_tag,
    tag_source,
    track_sources,
)


def track(number, **fields):
    return replace(make_track(str(number)), **{"artist": "", "album": "", **fields})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"artist": "The  Band"}, {"artist": "the band "}, True),
        ({"artist": "Ä"}, {"artist": "ä"}, True),
        ({"artist": "A", "album": "X"}, {"artist": "A", "album": "Y"}, True),
        ({"artist": "A", "album": "X"}, {"artist": "B", "album": "X"}, False),
        ({"artist": "Various Artists", "album": "X"}, {"album": "x"}, True),
        ({"album": "X"}, {"artist": "X"}, False),
        ({"path": "/m/a/1.ogg"}, {"path": "/m/a/2.ogg"}, True),
        ({"path": "/m/a/1.ogg"}, {"path": "/m/b/1.ogg"}, False),
        ({"path": "/m/a/1.ogg", "artist": "A"}, {"path": "/m/a/2.ogg"}, False),
    ],
)
def test_artist_comes_before_album_and_album_before_folder(one, other, same):
    a, b = track_sources([track(1, **one), track(2, **other)])
    assert (a == b) is same


def test_a_folder_of_very_many_tracks_says_nothing():
    heap = [track(i, path=f"/heap/{i}.ogg") for i in range(MAX_FOLDER)]
    assert len(set(track_sources(heap))) == 1
    heap.append(track(MAX_FOLDER, path="/heap/last.ogg"))
    assert len(set(track_sources(heap))) == len(heap)


def test_a_track_whose_tags_name_nobody_has_no_source_by_tag():
    assert tag_source(track(1, artist="Unknown Artist", album=" ")) == ""
    assert tag_source(track(1, artist="n/a", album="X")) == "album x"


def test_pairs_of_one_source_are_counted_without_making_them():
    sources = ["a"] * 1000 + ["b"] * 3 + ["c"]
    assert n_pairs_of_one_source(sources) == 1000 * 999 // 2 + 3
    assert n_pairs_of_one_source([]) == 0


NOBODY = """
[unknown]|<unknown>|(unknown)|unknown|Unknown Artist|Unknown artist|UNKNOWN ARTIST|Artist Unknown
Unknown_Artist|Unknown Artist #2|Unknown Album|Unknown album (11/29/2026 3:42:13 PM)|[Unknown Album]
Unknown Album 7|Unknown performer|untagged|undefined|null|None|N/A|n.a.|?|???|-|--|_|.|…|<>
[no artist]|[no label]|[anonymous]|[traditional]|[data]|[dialogue]|[non-album tracks]
[standalone recordings]|[christmas music]|[nature sounds]|Anonymous|Traditional
Various Artists|Various|VA|V.A.|V. A.|v/a|V/A|V.V.A.A.|Various Performers|Multiple Artists
Assorted Artists|Compilation|Compilations|Soundtrack|Original Soundtrack|Miscellaneous
Unbekannter Interpret|Unbekannter Künstler|Unbekannter Kuenstler (3)|Unbekanntes Album|Unbekannt
Verschiedene Interpreten|Verschiedene Künstler|Diverse Interpreten|Diverse
Artiste inconnu|Interprète inconnu|Album inconnu|Artistes divers|Divers artistes|Artistes variés
Multi-interprètes|Plusieurs artistes|Inconnu
Artista desconocido|Intérprete desconocido|Álbum desconocido|Album desconocido|Varios artistas
Varios Intérpretes|Artistas varios|Desconocido
Artista sconosciuto|Interprete sconosciuto|Album sconosciuto|Artisti vari|Autori Vari|AA.VV.|AAVV
Onbekende artiest|Onbekend album|Diverse artiesten|Verschillende artiesten|Onbekend
Artista desconhecido|Álbum desconhecido|Vários artistas|Vários intérpretes|Desconhecido
Okänd artist|Okänt album|Blandade artister|Diverse artister|Okänd
Ukendt kunstner|Ukendt album|Diverse kunstnere|Forskellige kunstnere|Ukjent artist|Ukjent album
Tuntematon artisti|Tuntematon esittäjä|Tuntematon albumi|Eri esittäjiä|Useita esittäjiä
Nieznany wykonawca|Nieznany artysta|Nieznany album|Różni wykonawcy|Różni artyści|Składanka
Neznámý interpret|Neznámý umělec|Neznámé album|Různí interpreti|Různí umělci|Neznámy interpret
Ismeretlen előadó|Ismeretlen album|Különböző előadók|Válogatás
Artist necunoscut|Album necunoscut|Artiști diverși
Bilinmeyen sanatçı|Bilinmeyen Albüm|Çeşitli Sanatçılar
Άγνωστος καλλιτέχνης|Άγνωστο άλμπουμ|Διάφοροι καλλιτέχνες
Неизвестный исполнитель|Неизвестный артист|Неизвестный альбом|Неизвестен|Разные исполнители
Различные исполнители|Сборник|Невідомий виконавець|Невідомий альбом|Різні виконавці
不明なアーティスト|アーティスト不明|不明なアルバム|アルバム不明|不明|さまざまなアーティスト
様々なアーティスト|ヴァリアス・アーティスト|オムニバス
未知艺术家|未知艺人|未知歌手|未知专辑|未知|未知的藝人|未知的專輯|未知演出者|不知名的演出者|佚名
群星|华语群星|各种艺术家|多位艺人|合辑
알 수 없는 아티스트|알 수 없는 음악가|알 수 없는 앨범|알 수 없음|미확인 아티스트|여러 아티스트|미상
فنان غير معروف|ألبوم غير معروف|אמן לא ידוע|אלבום לא ידוע|अज्ञात कलाकार|अज्ञात एल्बम
ศิลปินที่ไม่รู้จัก|Nghệ sĩ không xác định|Album không xác định|Artis tidak dikenal
"""
SOMEBODY = """
Unknown Mortal Orchestra|The Unknown Soldiers|Various Production|The Artist|VA Orchestra X
Vanessa|Diverse Sounds Trio|Divers In Love|Unknown Pleasures|Known Unknown Me|Kein Künstler Band
Greatest Hits|!!!|+/-|÷|1|1989|311|Data|Theatre|Untitled|Album Leaf|The Album Leaf|Nobody|No Doubt
Anonymous 4 Choir|Traditional Jazz Band|Soundtrack of Our Lives|Nirvana (unknown b-side takes x)
不明瞭な私|未知との遭遇|群星楽団|Неизвестные солдаты|Nieznany Żołnierz|Múm|Sigur Rós|Ein|Multi Kulti
"""


def listed(text: str) -> list[str]:
    return [name for line in text.split("\n") for name in line.split("|") if name]


@pytest.mark.parametrize("name", listed(NOBODY))
def test_what_taggers_write_for_no_name_names_nobody(name):
    spellings = (name, name.upper(), f"  {name} ", unicodedata.normalize("NFD", name))
    assert [name_of_tag(spelling) for spelling in spellings] == [""] * 4


@pytest.mark.parametrize("name", listed(SOMEBODY))
def test_names_that_resemble_a_placeholder_are_names(name):
    assert name_of_tag(name) == name.casefold()


def test_a_tag_of_megabytes_is_a_name_at_once():
    assert name_of_tag("unknown (" * 200_000)
