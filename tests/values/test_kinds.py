from __future__ import annotations

import copy
import pickle

import pytest

from nbreactive.errors import InvalidValue
from nbreactive.values import UNSET, Int64, Unset


@pytest.mark.parametrize("value", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_int64_is_an_int(value):
    assert Int64(value) == value
    assert repr(Int64(value)) == f"Int64({value})"
    assert str(Int64(value)) == f"{Int64(value)}" == str(value)
    assert type(Int64(value) + 0) is int


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, True, 1.0, 10**400])
def test_int64_takes_64_bit_integers_only(value):
    with pytest.raises(InvalidValue, match="an Int64 is a whole number"):
        Int64(value)


def test_unset_is_one_and_false_and_stays_here():
    assert not UNSET
    assert repr(UNSET) == "UNSET"
    assert copy.copy(UNSET) is copy.deepcopy([UNSET])[0] is UNSET
    assert isinstance(UNSET, Unset)
    with pytest.raises(InvalidValue, match="leave the field out"):
        pickle.dumps(UNSET)
