"""What a value is: kinds, checks, validators, JSON, index keys, ids, sizes and limits."""

from __future__ import annotations

from nbreactive.values.checks import check_document, check_value
from nbreactive.values.ids import Id, decode_id, encode_id
from nbreactive.values.json import decode_json, encode_clean, encode_json
from nbreactive.values.keys import encode_fields, encode_key, successor
from nbreactive.values.kinds import UNSET, Int64, Unset
from nbreactive.values.packing import pack, unpack
from nbreactive.values.sizes import size_of
from nbreactive.values.validators import Validator, v

__all__ = [
    "UNSET",
    "Id",
    "Int64",
    "Unset",
    "Validator",
    "check_document",
    "check_value",
    "decode_id",
    "decode_json",
    "encode_clean",
    "encode_fields",
    "encode_id",
    "encode_json",
    "encode_key",
    "pack",
    "size_of",
    "successor",
    "unpack",
    "v",
]
