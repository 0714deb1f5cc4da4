"""From text to the terms of a search index, and from what somebody searches for to the terms that he means.

Case, width, ligatures and accents do not matter: text is decomposed (NFKD), accents are dropped, what is left is case-folded
and put together again. Marks that spell rather than accent stay: the voicing of kana (``が`` is not ``か``), and vowel
signs. Words are runs of letters and digits; what is written without spaces between words (Chinese, Japanese, Korean with
its particles, Thai, Lao, Khmer, Burmese) has no such runs, so there every two neighbouring characters are a term, and the
last one alone.

How much a term says about a document is its *impact*, from how often it is there and how long the text is. It takes no
other document to know it, so it can stand in the index.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from itertools import islice
from typing import Final, NamedTuple

TERM_LENGTH: Final = 32
"""Characters of a term: a longer word is known, and found, by its beginning."""
TERMS: Final = 16_384
"""Terms of one document; what follows is not found."""
WORDS: Final = 16
"""Words of one search; what follows does not matter."""
LARGEST_IMPACT: Final = 63

_CJK: Final = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ece\u1000-\u103f\u1050-\u108f\u1780-\u17d3"
    "\u1100-\u11ff\u3005-\u3007\u3021-\u3029\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb\U00020000-\U000323af"
)
_SPELLING: Final = 9
"""The highest canonical combining class of marks that spell: nuktas, voicing marks, viramas. Accents are above."""
_MARKS: Final = range(0x300, 0x1F000)
"""Where marks are; looking at all of Unicode takes 0.2 s."""

_OWN_LETTERS: Final = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "ı": "i"}
)
"""Letters that Unicode does not take apart, though keyboards of others lack them."""

_ascii_words: Final = re.compile("[a-z0-9]+").findall
_contracted: Final = re.compile(r"(?<=[^\W\d_])['’](?:s(?!\w)|(?=(?:t|d|m|ll|re|ve)(?!\w)))").sub
"""English: ``John's`` is *john*, ``don't`` is *dont*. Other apostrophes part words: ``l'école`` has *école*."""


class Word(NamedTuple):
    """One word of a search."""

    terms: tuple[str, ...]
    """All must be there."""
    prefix: bool = False
    """Whether it may also be the beginning of a term; then it is one."""


def terms_of(text: str) -> list[str]:
    """Return the terms of a text, in order, each as often as it is there.

    Examples
    --------
    >>> terms_of("Über GRÖSSE und Größe")
    ['uber', 'grosse', 'und', 'grosse']
    >>> terms_of("데이터를 3월")
    ['데이', '이터', '터를', '를', '3', '월']
    """
    terms: list[str] = []
    if text.isascii():
        terms = _ascii_words(_plain(text))
        if max(map(len, terms), default=0) > TERM_LENGTH:
            terms = [term[:TERM_LENGTH] for term in terms]
        return terms[:TERMS]
    for word, cjk in _runs(text):
        if cjk and len(word) > 1:
            terms += _bigrams(word)
            terms.append(word[-1])
        else:
            terms.append(word[:TERM_LENGTH])
    return terms[:TERMS]


def impacts_of(text: str) -> dict[str, int]:
    """Return the terms of a text with their impacts, from 1 to 63.

    Examples
    --------
    >>> impacts_of("a rose is a rose")
    {'a': 47, 'rose': 47, 'is': 38}
    """
    terms = terms_of(text)
    length = len(terms)
    return {term: impact(often, length) for term, often in Counter(terms).items()}


@lru_cache(1 << 14)
def impact(often: int, length: int) -> int:
    """Return what a term says about a text of ``length`` terms in which it is ``often`` times.

    The more often, the less one more matters; in a text four times as long it has to be there twice as often.
    """
    return max(1, round(LARGEST_IMPACT * often / (often + 0.3 * math.sqrt(length))))


def words_of(search: str) -> list[Word]:
    """Return what a search looks for: any of these words, the more the better.

    The last word may be unfinished, and a single character of a language without spaces may begin any pair. A letter of
    Korean that does not make a syllable yet is left out at the end.

    Examples
    --------
    >>> words_of("Live quer")
    [Word(terms=('live',), prefix=False), Word(terms=('quer',), prefix=True)]
    >>> words_of("검색 엔진을")
    [Word(terms=('검색',), prefix=False), Word(terms=('엔진', '진을'), prefix=False)]
    """
    words: dict[tuple[str, ...], bool] = {}
    runs = list(islice(_runs(search), WORDS))
    for number, (word, cjk) in enumerate(runs, start=1):
        if cjk:
            if number == len(runs) and len(word) > 1 and "\u1100" <= word[-1] <= "\u11ff":
                word = word[:-1]  # noqa: PLW2901 - the first letter of a Korean syllable that is still being typed
            terms, prefix = tuple(dict.fromkeys(_bigrams(word[: WORDS + 1]))) or (word,), len(word) == 1
        else:
            terms, prefix = (word[:TERM_LENGTH],), number == len(runs)
        words[terms] = words.get(terms, False) or prefix
    return [Word(terms, prefix) for terms, prefix in words.items()]


def normalise(text: str) -> str:
    """Return a text without what does not matter.

    Examples
    --------
    >>> normalise("Ｆｕｌｌ ﬁre, Zoë's CAFÉ: ガギ 검색")
    "full fire, zoe's cafe: ガギ 검색"
    """
    if text.isascii():
        return text.lower()
    plain = _accents()("", unicodedata.normalize("NFKD", text)).casefold()
    return unicodedata.normalize("NFKC", plain).translate(_OWN_LETTERS)


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Yield runs of letters and digits, each with whether it is of a language without spaces."""
    if text.isascii():
        yield from ((word, False) for word in _ascii_words(_plain(text)))
        return
    for found in _words()(_plain(text)):
        yield found[0], found.lastgroup == "cjk"


def _plain(text: str) -> str:
    plain = normalise(text)
    return _contracted("", plain) if "'" in plain or "’" in plain else plain


def _bigrams(word: str) -> list[str]:
    return [word[at : at + 2] for at in range(len(word) - 1)]


@cache
def _words() -> Callable[[str], Iterator[re.Match[str]]]:
    letter = rf"[^\W_{_CJK}]"
    # What combines belongs to the letter before it, though Python's \w does not think so
    marks = _class(lambda character: unicodedata.category(character)[0] == "M")
    return re.compile(rf"(?P<cjk>[{_CJK}]+)|{letter}+(?:{marks}+{letter}*)*").finditer


@cache
def _accents() -> Callable[[str, str], str]:
    return re.compile(f"{_class(lambda character: unicodedata.combining(character) > _SPELLING)}+").sub


def _class(belongs: Callable[[str], bool]) -> str:
    """Return a regular expression for the marks that belong."""
    found = [code for code in (*_MARKS, *range(0xE0100, 0xE01F0)) if belongs(chr(code))]
    text, start = "", 0
    for at, code in enumerate(found, start=1):
        if at == len(found) or found[at] != code + 1:
            text += f"{chr(found[start])}-{chr(code)}"
            start = at
    return f"[{text}]"
