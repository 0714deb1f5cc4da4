from __future__ import annotations

import pytest
from hypothesis import given

from nbreactive.errors import LimitExceeded
from nbreactive.values import Id, Int64, pack, size_of
from nbreactive.values.limits import DOCUMENT_SIZE
from nbreactive.values.sizes import check_document_size
from tests.values._strategies import values


def formula(value) -> int:
    """The formula of the reference, as it stands there."""
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | float):
        return 9
    if isinstance(value, str):
        return 2 + len(value.encode())
    if isinstance(value, bytes):
        return 2 + len(value)
    if isinstance(value, list):
        return 2 + sum(map(formula, value))
    return 2 + sum(len(key) + 1 + formula(item) for key, item in value.items())


@given(values)
def test_sizes_follow_the_formula(value):
    assert size_of(value) == formula(value)


@given(values)
def test_no_value_is_more_than_nine_times_its_packed_form(value):
    # check_document_size rests on it.
    assert size_of(value) <= 9 * len(pack(value))


def test_kin_have_the_size_of_what_they_are():
    assert size_of(Id("abc")) == size_of("abc") == 5
    assert size_of(Int64(1)) == 9


def test_documents_over_a_mebibyte_are_refused():
    fits = {"a": "x" * (DOCUMENT_SIZE - 6)}
    assert size_of(fits) == DOCUMENT_SIZE
    check_document_size(fits, pack(fits))
    for large in ({"a": "x" * (DOCUMENT_SIZE - 5)}, {"a": [[0.5] * 8192] * 20}):
        with pytest.raises(
            LimitExceeded, match=r"messages: \d+ bytes in a document, at most 1048576 are allowed; split"
        ):
            check_document_size(large, pack(large), "messages")
