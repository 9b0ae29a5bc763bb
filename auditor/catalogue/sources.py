"""Where tracks come from: two of one artist, album or folder are more alike than two of any others.

Unrelated tracks of one album reach a score many times as often as those of two, so an error rate
holds for a catalogue only if it is known how many of its pairs are of one source
(docs/calibration.md).  A track's source is the first of these that it has:

* its artist, where the tag names one,
* its album,
* its folder, where few enough tracks lie in it to be an album rather than a heap,
* itself alone.
"""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from auditor.records import Track

MAX_FOLDER = 100
"""A folder of more tracks says nothing of them."""

_UNKNOWN = """
    unknown unspecified undefined untagged null various varied assorted multiple misc miscellaneous
    unbekannt unbekannte unbekannter unbekanntes diverse divers diverser verschiedene verschiedener
    inconnu inconnue inconnus variés différents plusieurs multi
    desconocido desconocida desconocidos varios varias variados
    desconhecido desconhecida vários várias
    desconegut desconeguda
    sconosciuto sconosciuta ignoto vari varie
    onbekend onbekende verschillende diversen
    okänd okänt okända blandade olika ukendt ukjent forskellige ulike
    tuntematon tuntemattoman eri useita
    nieznany nieznana nieznane różni różne rożni
    neznámý neznámá neznámé neznámy různí rôzni
    nepoznati nepoznat nepoznato razni neznan neznani
    ismeretlen különböző
    necunoscut diverși diverşi
    bilinmeyen çeşitli
    άγνωστος άγνωστο άγνωστη διάφοροι
    неизвестный неизвестен неизвестно неизвестная неизвестна разные различные
    невідомий невідомо різні неизвестни различни непознат непознати
    不明 不明な 未知 未知的 未知の 不知名 不知名的 佚名 さまざまな 様々な
    各种 各種 多位 群星 众艺人 ヴァリアス バリアス
    없는 없음 미상 미확인 다양한 여러
    معروف لا-ידוע ידוע अज्ञात ไม่รู้จัก ไม่ทราบ
""".split()
"""Words for "unknown" and "various", as Picard, iTunes, Windows Media Player, foobar2000, Kodi and
Android write them."""

_ROLES = """
    artist artists album albums title performer performers composer composers interpreter track no
    the interpret interpreten künstler kuenstler musiker komponist titel ein
    artiste artistes interprète interprètes compositeur titre
    artista artistas intérprete intérpretes álbum disco compositor título
    artistes àlbum intèrpret
    artisti interprete interpreti autori compositore titolo
    artiest artiesten uitvoerende uitvoerenden uitvoerder uitvoerders
    artister konstnär konstnärer kunstner kunstnere utøver utøvere
    artisti artisteja artistit esittäjä esittäjiä esittäjät albumi levy
    wykonawca wykonawcy artysta artyści płyta
    umělec umělci interpreti umelec umelci interpreta album
    izvođač izvođači izvajalec izvajalci umetnik
    előadó előadók művész
    artist artiști artişti albumul
    sanatçı sanatçılar albüm
    καλλιτέχνης καλλιτέχνες άλμπουμ
    исполнитель исполнители артист артисты альбом виконавець виконавці изпълнител изпълнители албум
    извођач извођачи
    アーティスト アルバム 歌手 艺术家 艺人 演出者 演唱者 专辑 唱片集 藝術家 藝人 專輯 作者 作曲家
    알 수 아티스트 앨범 음악가 가수 음반
    غير فنان ألبوم לא אמן אלבום कलाकार एल्बम ศิลปินที่ ศิลปิน อัลบั้ม อัลบั้มที่
""".split()
"""Words that name nobody beside one of the former."""

_PHRASES = """
    va|v a|v v a a|aa vv|aavv|n a|none|nil|various|artist|album|no artist|no album|new artist
    no artist name|anonymous|anonym|anonyme|anónimo|anônimo|anonimo|traditional|trad|compilation
    compilations|soundtrack|original soundtrack|sampler|ohne künstler|ohne album|kein künstler
    sans artiste|sans album|sin artista|sin álbum|senza artista|senza titolo|geen artiest
    sem artista|válogatás|сборник|сборка|składanka|オムニバス|合辑|华语群星|群星合辑
    ヴァリアス アーティスト|바리어스 아티스트|옴니버스
    không xác định|nghệ sĩ không xác định|album không xác định|nhiều nghệ sĩ
    artis tidak dikenal|album tidak dikenal|tidak dikenal|berbagai artis
"""

_BRACKETED = frozenset(
    f"[{name}]"
    for name in (
        "anonymous|christmas music|church chimes|data|dialogue|language instruction|nature sounds|"
        "news report|no artist|no label|non-album tracks|standalone recordings|theatre|traditional"
    ).split("|")
)
"""MusicBrainz's artists and releases for special purposes, which Picard writes in brackets."""

_LONGEST = 100
"""Characters of a tag that may name nobody."""


def _words(text: str) -> str:
    """Return the words of a text without case, accents and signs, one space between."""
    if text.isascii():
        return " ".join(re.findall("[0-9a-z]+", text.casefold()))
    plain = unicodedata.normalize("NFKD", text.casefold()).replace("ı", "i")
    kept = (c for c in plain if not unicodedata.category(c).startswith("M"))
    return " ".join("".join(c if c.isalnum() else " " for c in kept).split())


_UNKNOWN_WORDS = frozenset(" ".join(map(_words, _UNKNOWN)).split())
_ROLE_WORDS = frozenset(" ".join(map(_words, _ROLES)).split())
_NOBODY = frozenset(_words(phrase) for phrase in _PHRASES.replace("\n", "|").split("|"))
_UNSPACED = re.compile(
    "(?:{0})+(?:の|な|的)?(?:{1})*|(?:{1})+(?:{0})+".format(
        *(
            "|".join(w for w in sorted(words, key=len, reverse=True) if not w.isascii())
            for words in (_UNKNOWN_WORDS, _ROLE_WORDS)
        )
    )
)
"""Chinese and Japanese have no space between the words."""


def name_of_tag(value: str) -> str:
    """Return what a tag names, so that two spellings of one name are equal; empty for nobody.

    What programs write where they know no artist or album names nobody, in any of the languages
    above, whatever brackets, date or number they add.

    Examples
    --------
    >>> name_of_tag("  The  Band "), name_of_tag("Various Artists")
    ('the band', '')
    >>> name_of_tag("<unknown>"), name_of_tag("Unbekanntes Album (01.02.2026 12:30:00)")
    ('', '')
    """
    name = normalise_tag(value)
    return "" if _names_nobody(name) else name


@functools.lru_cache(maxsize=1 << 16)
def _names_nobody(name: str) -> bool:
    if len(name) > _LONGEST:
        return False
    if name in _BRACKETED or not name.strip("?-–—_.*…<>[](){} "):
        return True
    for text in dict.fromkeys((name, re.sub(r"\s*[(\[][^()\[\]]*[)\]]$", "", name))):
        words = [word for word in _words(text).split() if not word.isdecimal()]
        if not words:
            continue
        if " ".join(words) in _NOBODY or _UNSPACED.fullmatch("".join(words)):
            return True
        if not set(words) <= _UNKNOWN_WORDS | _ROLE_WORDS:
            continue
        if not _UNKNOWN_WORDS.isdisjoint(words):
            return True
    return False


def normalise_tag(value: str) -> str:
    """Return a tag without what two spellings of one value differ by: case and spaces."""
    return " ".join(value.casefold().split())


def track_sources(tracks: Sequence[Track]) -> list[str]:
    """Return the source of each track; equal for tracks of one source.

    Parameters
    ----------
    tracks : sequence of Track
        All of those that are compared: how many lie in a folder counts.
    """
    n_in_folder = Counter(os.path.dirname(track.path) for track in tracks)
    sources = []
    for track in tracks:
        folder = os.path.dirname(track.path)
        if tag := tag_source(track):
            sources.append(tag)
        elif n_in_folder[folder] <= MAX_FOLDER:
            sources.append(f"folder {folder}")
        else:
            sources.append(f"track {track.id}")
    return sources


def tag_source(track: Track) -> str:
    """Return the source that a track's tags name; empty if they name none."""
    tag = naming_tag(track)
    return f"{tag} {name_of_tag(getattr(track, tag))}" if tag else ""


def naming_tag(track: Track) -> str:
    """Return the tag by which a track's source goes, ``artist`` or ``album``; empty for neither."""
    return next((tag for tag in ("artist", "album") if name_of_tag(getattr(track, tag))), "")


def n_pairs_of_one_source(sources: Sequence[str]) -> int:
    """Return how many pairs of tracks are of one source.

    Examples
    --------
    >>> n_pairs_of_one_source(["a", "b", "a", "a"])
    3
    """
    return sum(n * (n - 1) // 2 for n in Counter(sources).values())
