"""Type hints as validators, so that a function's signature is all it needs to say.

``str int float bool bytes None datetime Int64``, ``list[T]``, ``dict[str, T]``, ``Literal``, unions, ``TypedDict``,
dataclasses, ``Id["table"]``, ``PaginationOpts``, ``PaginationResult[T]``, ``Any``, and ``Annotated[T, v....]`` for
whatever hints cannot say. Hints may be strings (``from __future__ import annotations``); they are resolved one by one,
so that an error names the one that is wrong.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence, Sequence
from datetime import datetime
from typing import Annotated, Any, ForwardRef, Literal, NotRequired, Required, Union, get_args, get_origin

from nbreactive.errors import SchemaError
from nbreactive.functions.generated import TypeName
from nbreactive.functions.pagination import (
    PaginationOpts,
    PaginationResult,
    pagination_opts_validator,
    pagination_result_validator,
)
from nbreactive.values.ids import Id, TableName
from nbreactive.values.kinds import Int64, Unset
from nbreactive.values.validators import ObjectValidator, Validator, v

_MAKERS = {
    str: v.string,
    int: v.integer,
    float: v.number,
    bool: v.boolean,
    bytes: v.bytes,
    type(None): v.null,
    None: v.null,
    datetime: v.datetime,
    Int64: v.int64,
    Any: v.any,
    object: v.any,
}
_ARRAYS = (list, Sequence, MutableSequence, Iterable)
_RECORDS = (dict, Mapping, MutableMapping)
_FIX = (
    "use str, int, float, bool, bytes, None, datetime, list[T], dict[str, T], Literal, unions, a TypedDict,"
    ' a dataclass, Id["table"] or Any, or give validators with args= and returns='
)


def validator_of(hint: Any, names: Mapping[str, Any] | None = None) -> Validator:
    """Return the validator of a type hint.

    Parameters
    ----------
    hint
        A type, or a string that ``names`` (the globals of its module) resolve to one.
    names
        What names in strings mean.

    Raises
    ------
    SchemaError
        With what is wrong with the hint.

    Examples
    --------
    >>> validator_of(list[int] | None)
    v.union(v.array(v.integer()), v.null())
    >>> validator_of(Id["posts"])
    v.id('posts')
    """
    return _Hints(dict(names or {})).validator(hint)


class _Hints:
    """Resolves the hints of one module."""

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._inside: list[type] = []
        """The classes being resolved, to see when one refers to itself."""

    def validator(self, hint: Any, names: Mapping[str, Any] | None = None) -> Validator:
        hint = self._evaluate(hint, names)
        try:
            maker = _MAKERS.get(hint)
        except TypeError:  # unhashable: a Literal of something odd
            maker = None
        if maker is not None:
            return maker()
        origin = get_origin(hint)
        if origin is not None:
            return self._generic(hint, origin, names)
        if isinstance(hint, type):
            return self._class(hint)
        if isinstance(hint, TypeName):
            return hint.validator()
        if isinstance(hint, Validator):
            raise SchemaError(f"{hint!r} is a validator, not a type; use Annotated[T, {hint!r}], or args=")
        if hasattr(hint, "__supertype__"):  # NewType
            return self.validator(hint.__supertype__, names)
        if hasattr(hint, "__value__"):  # type X = ...
            return self.validator(hint.__value__, names)
        raise _unknown(hint)

    def _evaluate(self, hint: Any, names: Mapping[str, Any] | None) -> Any:
        text = hint.__forward_arg__ if isinstance(hint, ForwardRef) else hint
        if not isinstance(text, str):
            return hint
        try:
            # Hints are code of the module that is being deployed, as its body is.
            return self._evaluate(eval(text, self._names, names), names)  # noqa: S307
        except NameError as error:
            fix = "define or import it in this module (not only under TYPE_CHECKING)"
            raise SchemaError(f"the hint {text!r} cannot be resolved: {error}; {fix}") from None
        except SchemaError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever evaluating it raises)
            raise SchemaError(f"the hint {text!r} cannot be resolved: {error}; {_FIX}") from None

    def _generic(self, hint: Any, origin: Any, names: Mapping[str, Any] | None) -> Validator:
        args = get_args(hint)
        if origin is Annotated:
            for extra in args[1:]:
                if isinstance(extra, Validator):
                    return extra
                if isinstance(extra, TableName):
                    return v.id(str(extra))
            return self.validator(args[0], names)
        if origin is Union or origin is types.UnionType:
            members = [self.validator(arg, names) for arg in args if arg is not Unset]
            return members[0] if len(members) == 1 else v.union(*members)
        if origin is Literal:
            literals = [_literal(arg) for arg in args]
            return literals[0] if len(literals) == 1 else v.union(*literals)
        if origin in _ARRAYS or (origin is tuple and len(args) == 2 and args[1] is ...):
            return v.array(self.validator(args[0], names))
        if origin in _RECORDS:
            return v.record(self.validator(args[0], names), self.validator(args[1], names))
        if origin is PaginationResult:
            return pagination_result_validator(self.validator(args[0], names))
        raise _unknown(hint)

    def _class(self, cls: type) -> Validator:
        if cls is Id:
            raise SchemaError('the hint Id does not say of which table; use Id["table"], or str for any string')
        if cls in _ARRAYS or cls is tuple:
            return v.array(v.any())
        if cls in _RECORDS:
            return v.record(v.string(), v.any())
        if cls is PaginationOpts:
            return pagination_opts_validator
        if cls is PaginationResult:
            return pagination_result_validator(v.any())
        if cls in self._inside:
            raise SchemaError(f"{cls.__name__} refers to itself, which no validator can; hint that field as Any")
        self._inside.append(cls)
        try:
            if typing.is_typeddict(cls):
                return self._typed_dict(cls)
            if dataclasses.is_dataclass(cls):
                return self._dataclass(cls)
        finally:
            self._inside.pop()
        raise _unknown(cls)

    def _typed_dict(self, cls: Any) -> Validator:
        names = _names_of(cls)
        fields: dict[str, Validator] = {}
        for name, hint in cls.__annotations__.items():
            required = name in cls.__required_keys__
            resolved = self._evaluate(hint, names)
            # With string hints __required_keys__ knows nothing of NotRequired, so it is looked for here.
            while get_origin(resolved) in (Required, NotRequired):
                required = get_origin(resolved) is Required
                resolved = self._evaluate(get_args(resolved)[0], names)
            field = self.validator(resolved, names)
            fields[name] = field if required else field.optional()
        return v.object(fields)

    def _dataclass(self, cls: Any) -> Validator:
        names = _names_of(cls)
        fields: dict[str, Validator] = {}
        for field in dataclasses.fields(cls):
            if not field.init:
                raise SchemaError(
                    f"{cls.__name__}.{field.name} has init=False, so a caller cannot give it; use a TypedDict"
                )
            validator = self.validator(field.type, names)
            missing = dataclasses.MISSING
            optional = field.default is not missing or field.default_factory is not missing
            fields[field.name] = validator.optional() if optional else validator
        return ObjectValidator(fields, factory=cls)


def _names_of(cls: type) -> dict[str, Any]:
    """Return what names mean in the module of a class, which may not be the module of the function."""
    module = sys.modules.get(cls.__module__)
    return {**vars(module), cls.__name__: cls} if module is not None else {cls.__name__: cls}


def _literal(value: Any) -> Validator:
    if isinstance(value, enum.Enum):
        value = value.value
    return v.null() if value is None else v.literal(value)


def _unknown(hint: Any) -> SchemaError:
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    return SchemaError(f"the hint {name} has no validator; {_FIX}")
