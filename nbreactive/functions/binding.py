"""How the arguments of a call become keywords of a handler.

Absent and null are kept apart: an optional argument that the caller did not send is the parameter's default, or UNSET.
A handler with ``**updates`` finds in it what the caller sent of its optional arguments, and only that, so that
``ctx.db.patch(id, updates)`` changes just those fields; they are bound to their own names too. Python itself never
passes one keyword both ways, so such a handler gets a twin: the same code, in which ``updates`` is a keyword-only
parameter. ``**updates: T``, with a hint, also takes arguments of any other name.

A parameter hinted PaginationOpts is the argument ``paginationOpts``, whatever its own name: so Convex's clients call it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from nbreactive.errors import ArgumentError, SchemaError
from nbreactive.functions.hints import validator_of
from nbreactive.functions.pagination import ARGUMENT, takes_options
from nbreactive.values._checkers import TableOf
from nbreactive.values._paths import show
from nbreactive.values.kinds import UNSET
from nbreactive.values.validators import ObjectValidator, Validator, v

if TYPE_CHECKING:
    from nbreactive.functions.decorators import Function

_EMPTY = inspect.Parameter.empty
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def bind(function: Function, args: Any, *, table_of: TableOf = None) -> dict[str, Any]:
    """Check ``args`` and return the keywords for ``function.handler``.

    Parameters
    ----------
    function
        The function that is called.
    args
        Its arguments, as they came: a dict.
    table_of
        Tells the table of an id.

    Raises
    ------
    ArgumentError, LimitExceeded
        With the path to what is wrong: ``args.items[3].price``.

    Examples
    --------
    >>> from nbreactive import UNSET, mutation
    >>> @mutation
    ... def update(ctx, post_id: str, title: str = UNSET, content: str = UNSET, **updates): ...
    >>> bind(update, {"post_id": "k1", "title": "x"})
    {'post_id': 'k1', 'title': 'x', 'updates': {'title': 'x'}}
    """
    return function.signature.bind(args, table_of)


class Signature:
    """The parameters of one handler, and its validators once :meth:`resolve` found them."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        signature = inspect.signature(handler)
        parameters = list(signature.parameters.values())
        self.handler = handler
        self.parameters: dict[str, inspect.Parameter] = {p.name: p for p in parameters[1:] if p.kind in _NAMED}
        self.args: Validator = v.any()
        self._all = parameters
        self._returns = signature.return_annotation
        self._names: dict[str, Any] = getattr(inspect.unwrap(handler), "__globals__", {})
        self._rest = next((p for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
        self._declared = ObjectValidator({})
        self._open: Validator | None = None
        """What ``**kwargs`` takes under other names; None: nothing."""
        self._collected: frozenset[str] = frozenset()
        """The arguments that ``**kwargs`` gets."""
        self._spread = False
        """The handler is wrapped, so ``**kwargs`` are passed as such."""
        self._absent: tuple[str, ...] = ()
        """The parameters that are UNSET when they are absent."""
        self._paginated = ""
        """The parameter that gets the argument ``paginationOpts``, if it has another name."""
        if self._rest is not None:
            if isinstance(handler, FunctionType) and not hasattr(handler, "__wrapped__"):
                self.handler = _twin(handler)
            else:
                self._spread = True

    def resolve(self, explicit: Validator | None) -> None:
        """Find the validators: ``explicit`` ones, or those of the hints."""
        self._check_shape()
        if explicit is None:
            found = {p.name: self._of_parameter(p) for p in self.parameters.values()}
            self._find_options(found)
            self._declared = ObjectValidator({self._argument(name): found[name] for name in found})
            self._open = self._of_rest()
            self.args = v.any() if self._open else self._declared
        else:
            self.args = explicit
            if isinstance(explicit, ObjectValidator):
                self._find_options({p.name: self._hinted(p) for p in self.parameters.values()})
                self._check_names(explicit)
                self._declared = explicit
        fields = self._declared.fields
        self._absent = tuple(
            p.name
            for p in self.parameters.values()
            if p.default is _EMPTY
            and (self._argument(p.name) not in fields or fields[self._argument(p.name)].is_optional)
        )
        optional = {name for name, field in fields.items() if field.is_optional}
        own = {self._argument(name) for name in self.parameters}
        self._collected = frozenset(optional | (fields.keys() - own)) if self._rest else frozenset()

    def resolve_returns(self) -> Validator | None:
        """Return the validator of the return hint, or None without one."""
        return None if self._returns is _EMPTY else validator_of(self._returns, self._names)

    def bind(self, args: Any, table_of: TableOf) -> dict[str, Any]:
        """Return the keywords for the handler."""
        values = self.args.check(args, "args", error=ArgumentError, table_of=table_of)
        if self._open is not None:
            values = self._bind_open(_as_object(values), self._open, table_of)
        elif self.args.loads:
            values = self.args.load(values)
        if self._paginated and ARGUMENT in values:
            values[self._paginated] = values.pop(ARGUMENT)
        if self.args is not self._declared:
            self._check_taken(_as_object(values))
        for name in self._absent:
            if name not in values:
                values[name] = UNSET
        return values if self._rest is None else self._collect(values, self._rest.name)

    def _bind_open(self, values: dict[str, Any], others: Validator, table_of: TableOf) -> dict[str, Any]:
        """Bind arguments of which the handler declares some names only."""
        fields = self._declared.fields
        declared = {name: item for name, item in values.items() if name in fields}
        bound = self._declared.load(self._declared.check(declared, "args", error=ArgumentError, table_of=table_of))
        for name in values.keys() - fields.keys():
            item = others.check(values[name], f"args.{name}", error=ArgumentError, table_of=table_of)
            bound[name] = others.load(item)
        return bound

    def _check_taken(self, values: dict[str, Any]) -> None:
        """Refuse arguments that the validator lets through and no parameter takes."""
        unknown = next((name for name in values if name not in self.parameters), None)
        if unknown is not None and self._rest is None:
            taken = ", ".join(self.parameters) or "none"
            raise ArgumentError(f"there is no argument {show(unknown)}; the arguments are: {taken}", "args")

    def _collect(self, values: dict[str, Any], rest: str) -> dict[str, Any]:
        declared, parameters = self._declared.fields, self.parameters
        found = {
            name: item
            for name, item in values.items()
            if item is not UNSET and (name in self._collected or (name not in declared and name not in parameters))
        }
        own = {name: item for name, item in values.items() if name in parameters}
        return own | {name: found[name] for name in found if name not in own} if self._spread else own | {rest: found}

    def _argument(self, parameter: str) -> str:
        """Return the name under which the argument of a parameter travels."""
        return ARGUMENT if parameter == self._paginated else parameter

    def _find_options(self, hinted: Mapping[str, Validator | None]) -> None:
        """Find the parameter that takes the options of a page."""
        names = [name for name, validator in hinted.items() if validator is not None and takes_options(validator)]
        if names and (len(names) > 1 or (names != [ARGUMENT] and ARGUMENT in self.parameters)):
            raise SchemaError(
                f"more than one parameter would be the argument {ARGUMENT}; a function reads one page, so keep one of them"
            )
        self._paginated = next((name for name in names if name != ARGUMENT), "")

    def _hinted(self, parameter: inspect.Parameter) -> Validator | None:
        """Return the validator of a hint beside which explicit validators count."""
        try:
            return None if parameter.annotation is _EMPTY else validator_of(parameter.annotation, self._names)
        except SchemaError:
            return None

    def _of_parameter(self, parameter: inspect.Parameter) -> Validator:
        if parameter.annotation is _EMPTY:
            validator: Validator = v.any()
        else:
            try:
                validator = validator_of(parameter.annotation, self._names)
            except SchemaError as error:
                raise SchemaError(f"{parameter.name}: {error.message}") from None
        if parameter.default is _EMPTY:
            return validator
        if parameter.default is None and not validator.may_be(None):
            validator = v.nullable(validator)  # `limit: int = None` says what it means, if not how to say it
        return validator.optional()

    def _of_rest(self) -> Validator | None:
        if self._rest is None:
            return None
        if self._rest.annotation is not _EMPTY:
            return self._of_parameter(self._rest)
        if all(p.default is _EMPTY for p in self.parameters.values()):
            name = self._rest.name
            raise SchemaError(
                f"**{name} would always be empty, as it holds what was sent of the optional arguments;"
                f" declare some (title: str = UNSET), or write **{name}: Any to take arguments of any name"
            )
        return None

    def _check_shape(self) -> None:
        if not self._all or self._all[0].kind not in (*_NAMED[:1], inspect.Parameter.POSITIONAL_ONLY):
            raise SchemaError("the handler takes no ctx; make ctx its first parameter")
        for parameter in self._all[1:]:
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                raise SchemaError(f"*{parameter.name} is never filled, as arguments have names; remove it")
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
                raise SchemaError(f"{parameter.name} is positional-only, and arguments have names; remove the /")

    def _check_names(self, explicit: ObjectValidator) -> None:
        own = {self._argument(name) for name in self.parameters}
        for name in explicit.fields:
            if name not in own and self._rest is None:
                raise SchemaError(
                    f"it has {name!r}, which the handler does not take; add a parameter {name}, or **args"
                )
        for parameter in self.parameters.values():
            if parameter.default is _EMPTY and self._argument(parameter.name) not in explicit.fields:
                raise SchemaError(f"it lacks the handler's parameter {parameter.name!r}; add it, or give it a default")


def _as_object(values: Any) -> dict[str, Any]:
    if isinstance(values, dict):
        return cast("dict[str, Any]", values)
    raise ArgumentError(
        f"the arguments of a call are an object, not {show(values)}; pass keywords, or one dict", "args"
    )


def _twin(handler: FunctionType) -> FunctionType:
    """Return a function of the same code whose ``**kwargs`` is a keyword-only parameter."""
    code = handler.__code__
    # Parameters come first among the variables of a code object: positional, keyword-only, *args, **kwargs.
    if code.co_flags & inspect.CO_VARARGS:
        return handler  # refused when it is resolved
    plain = code.replace(co_flags=code.co_flags & ~inspect.CO_VARKEYWORDS, co_kwonlyargcount=code.co_kwonlyargcount + 1)
    twin = FunctionType(plain, handler.__globals__, handler.__name__, handler.__defaults__, handler.__closure__)
    twin.__kwdefaults__ = dict(handler.__kwdefaults__ or {})
    twin.__dict__.update(handler.__dict__)
    twin.__doc__, twin.__module__, twin.__qualname__ = handler.__doc__, handler.__module__, handler.__qualname__
    return twin
