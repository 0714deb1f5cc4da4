"""Text analysis: what is the same word, and where words are."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbreactive.engine.text import (
    LARGEST_IMPACT,
    TERM_LENGTH,
    TERMS,
    WORDS,
    Word,
    impact,
    impacts_of,
    normalise,
    terms_of,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Hello, World! 3.5 snake_case", ["hello", "world", "3", "5", "snake", "case"]),
        # English: what stands behind an apostrophe is no word
        ("don't DON’T John's I'm we'll rock'n'roll", ["dont", "dont", "john", "im", "well", "rock", "n", "roll"]),
        # German and French: accents, ligatures, sharp s
        ("Übergrößenträger STRASSE Straße", ["ubergrossentrager", "strasse", "strasse"]),
        ("L'œuvre déjà-vu, ÇA VA? naïve ﬁn", ["l", "oeuvre", "deja", "vu", "ca", "va", "naive", "fin"]),
        ("Đà Nẵng ŁÓDŹ Ærø Smørrebrød ıĦ", ["da", "nang", "lodz", "aero", "smorrebrod", "ih"]),
        ("ΑΘΉΝΑ Αθήνα Σίσυφος", ["αθηνα", "αθηνα", "σισυφοσ"]),
        ("Ёлка ёлка", ["елка", "елка"]),
        # Korean: pairs of syllables, so what a particle is joined to is found
        ("데이터베이스를", ["데이", "이터", "터베", "베이", "이스", "스를", "를"]),
        ("서울 3월 봄", ["서울", "울", "3", "월", "봄"]),
        # Japanese: kanji, kana with their voicing, half width
        ("東京都", ["東京", "京都", "都"]),
        ("ガギ カキ ｶﾞｷﾞ", ["ガギ", "ギ", "カキ", "キ", "ガギ", "ギ"]),
        ("がぎ はハ 人々", ["がぎ", "ぎ", "はハ", "ハ", "人々", "々"]),
        ("スーパー・マン", ["スー", "ーパ", "パー", "ー", "マン", "ン"]),
        # Chinese, simplified and traditional, full width letters
        ("我们学习中文。", ["我们", "们学", "学习", "习中", "中文", "文"]),
        ("ＡＢＣ電腦", ["abc", "電腦", "腦"]),
        # Thai: no spaces either
        ("สวัสดี", ["สว", "วั", "ัส", "สด", "ดี", "ี"]),
        # What combines belongs to its word
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("v2版本beta", ["v2", "版本", "本", "beta"]),
        ("", []),
        ("!?… --", []),
    ],
)
def test_terms(text: str, terms: list[str]) -> None:
    assert terms_of(text) == terms
    assert terms_of(unicodedata.normalize("NFD", text)) == terms
    assert set(impacts_of(text)) == set(terms)


def test_every_character_is_as_it_shall_be_after_one_pass() -> None:
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code < 0xE000:
            once = normalise(chr(code))
            assert normalise(once) == once, hex(code)


@given(st.text())
def test_terms_are_letters_and_digits_and_short_and_stay_as_they_are(text: str) -> None:
    for term in terms_of(text):
        assert term
        assert len(term) <= TERM_LENGTH
        assert b"\x00" not in term.encode() and b"\x01" not in term.encode()
        assert terms_of(term)[0] == term


@given(st.text(), st.text())
def test_case_accents_and_form_do_not_matter(text: str, more: str) -> None:
    terms = terms_of(text)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert terms_of(unicodedata.normalize(form, text)) == terms
    assert terms_of(f"{text} {more}") == terms + terms_of(more)


@given(st.text(alphabet="데이터베스中文検索ガ", min_size=1, max_size=8), st.text(max_size=5), st.text(max_size=5))
def test_a_text_without_spaces_is_found_by_every_part_of_it(part: str, before: str, after: str) -> None:
    terms = terms_of(before + part + after)
    for word in words_of(part):
        if word.prefix:
            assert any(term.startswith(word.terms[0]) for term in terms)
        else:
            assert set(word.terms) <= set(terms)


def test_long_terms_and_long_texts() -> None:
    # A word is found by its beginning, however it goes on
    assert terms_of("a" * 33 + " " + "é" * 40 + " " + "ж" * 50) == ["a" * 32, "e" * 32, "ж" * 32]
    assert words_of("ж" * 33 + " " + "a" * 40) == [Word(("ж" * 32,)), Word(("a" * 32,), prefix=True)]
    assert words_of("достопр")[0].terms[0] == terms_of("достопримечательность")[0][:7]
    assert len(terms_of("x " * (TERMS + 5))) == TERMS


def test_words_of_a_search() -> None:
    assert words_of("") == [] and words_of(" ,;") == []
    assert words_of("Café au LAIT") == [Word(("cafe",)), Word(("au",)), Word(("lait",), prefix=True)]
    assert words_of("a b a") == [Word(("a",), prefix=True), Word(("b",))]
    assert words_of("데이터베이스 書") == [
        Word(("데이", "이터", "터베", "베이", "이스")),
        Word(("書",), prefix=True),
    ]
    assert words_of("데이ㅌ") == words_of("데이") and words_of("데이ㅌ 봄") != words_of("데이 봄")
    assert words_of("node서버") == [Word(("node",)), Word(("서버",))]
    assert len(words_of(" ".join(map(str, range(100))))) == WORDS
    assert len(words_of("中文搜索" * 50)[0].terms) == 4


@given(st.integers(1, 1000), st.integers(1, 100_000))
def test_impacts(often: int, length: int) -> None:
    length = max(length, often)
    assert 1 <= impact(often, length) <= LARGEST_IMPACT
    assert impact(often, length) <= impact(often + 1, length + 1)
    assert impact(often, length) >= impact(often, length + 1)
