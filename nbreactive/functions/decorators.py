"""``@query``, ``@mutation`` and their internal kin: they turn a Python function into a server function.

A :class:`Function` is metadata: kind, visibility, name, validators, documentation. Nothing runs here, and calling one
is refused, since a server function runs as a transaction of its own. Hints are resolved at first use rather than by
the decorator, so that they may name what the module defines further down.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nbreactive.errors import DeployRefused, NotAllowed, SchemaError
from nbreactive.functions.binding import Signature
from nbreactive.functions.paths import function_path, identifier_problem
from nbreactive.functions.specs import FunctionSpec, Kind, Visibility
from nbreactive.values._paths import with_article
from nbreactive.values.validators import Validator, v

Handler = Callable[..., Any]
_T = TypeVar("_T")
Args = Mapping[str, Validator] | Validator


class Function:
    """A server function, made by a decorator.

    Attributes
    ----------
    kind, visibility, name
        What it is, who may call it, and its name in the module's exports.
    handler
        What runs: ``handler(ctx, **bind(function, args))``. Where the user's function has ``**kwargs`` it is a twin in
        which they are an ordinary parameter, as :mod:`nbreactive.functions.binding` explains.
    doc, file, line
        The docstring, and where the function is defined.
    """

    def __init__(
        self,
        handler: Handler,
        kind: Kind,
        visibility: Visibility = "public",
        *,
        args: Args | None = None,
        returns: Validator | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(handler, Function):
            raise handler.refuse("it is a server function already", "decorate it once")
        functools.update_wrapper(self, handler)
        self.kind: Kind = kind
        self.visibility: Visibility = visibility
        own = getattr(handler, "__name__", "")
        self.name: str = name if name is not None else own.removesuffix("_")
        self.doc = inspect.getdoc(handler) or ""
        code = getattr(inspect.unwrap(handler), "__code__", None)
        self.file: str = code.co_filename if code else ""
        self.line: int = code.co_firstlineno if code else 0
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(handler))
        self._explicit_args = args
        self._explicit_returns = returns
        self._check_definition(handler)
        self._signature = Signature(handler)
        self.handler: Handler = self._signature.handler

    @property
    def path(self) -> str:
        """The path of references: ``chat:send``."""
        return function_path(self.__module__ or "", self.name)

    @property
    def params(self) -> list[str]:
        """The names of the handler's own parameters, without ``ctx`` and ``**kwargs``."""
        return list(self._signature.parameters)

    @functools.cached_property
    def signature(self) -> Signature:
        """How arguments become keywords of the handler (see :func:`~nbreactive.functions.binding.bind`)."""
        self._refusing("arguments", lambda: self._signature.resolve(_as_validator(self._explicit_args)))
        return self._signature

    @property
    def args(self) -> Validator:
        """The validator of the arguments: of an object, or ``v.any()``."""
        return self.signature.args

    @functools.cached_property
    def returns(self) -> Validator | None:
        """The validator of the result, from ``returns=`` or the return hint; None takes every value."""
        if self._explicit_returns is not None:
            return self._explicit_returns
        return self._refusing("the return hint", self._signature.resolve_returns)

    def spec(self, path: str | None = None) -> FunctionSpec:
        """Return the description that travels; raises DeployRefused when hints cannot be resolved."""
        returns = self.returns
        return FunctionSpec(
            path=path or self.path,
            kind=self.kind,
            visibility=self.visibility,
            args=self.args.to_json(),
            returns=returns.to_json() if returns is not None else None,
            doc=self.doc,
            line=self.line,
        )

    def refuse(self, reason: str, fix: str = "") -> DeployRefused:
        """Return the error that refuses to deploy this function."""
        text = f"{self.name or self.kind}: {reason}" + (f"; {fix}" if fix else "")
        issue = {"file": self.file, "line": self.line, "reason": f"{self.name or self.kind}: {reason}", "fix": fix}
        return DeployRefused(text, [issue])

    def _refusing(self, what: str, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except SchemaError as error:
            reason, _, fix = error.message.partition("; ")
            raise self.refuse(f"{what}: {reason}", fix) from None

    def _check_definition(self, handler: object) -> None:
        if not callable(handler):
            raise DeployRefused(
                f"@{self.kind} decorates functions, not {type(handler).__name__} objects; put it above a def"
            )
        if self.kind not in ("action", "http_action") and (
            inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler)
        ):
            raise self.refuse(
                f"a {self.kind} cannot be async", "drop async and await: database calls return their results at once"
            )
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            raise self.refuse(f"{with_article(self.kind)} cannot yield", "return a list")
        problem = identifier_problem(self.name, "a function")
        if problem:
            reason, _, fix = problem.partition("; ")
            raise self.refuse(reason, fix or "rename it, or give @query(name=...)")
        self._check_option("args", self._explicit_args, (Validator, Mapping))
        self._check_option("returns", self._explicit_returns, (Validator,))

    def _check_option(self, option: str, given: object, allowed: tuple[type, ...]) -> None:
        if given is not None and not isinstance(given, allowed):
            raise self.refuse(f"{option}= takes validators, not {given!r:.60}", "use v.string(), v.object({...}), ...")

    if TYPE_CHECKING:
        # ctx.run_query(this_function, ...) takes and gives anything (nbreactive.functions.typed).
        def __as_query__(self) -> Any: ...
        def __as_mutation__(self) -> Any: ...
        def __as_action__(self) -> Any: ...

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse, and say what to do instead."""
        run = f"ctx.run_{self.kind}"
        how = "as a transaction" if self.kind in ("query", "mutation") else "in a process of its own"
        raise NotAllowed(
            f"{self.name} is {with_article(self.kind)}, which runs {how} on the backend, not as a plain call;"
            f" inside functions use {run}({self.name}, ...), in notebooks deploy it and call api.<module>.{self.name}(...);"
            " code that several functions share goes into an undecorated function"
        )

    def __repr__(self) -> str:
        return f"<{'' if self.visibility == 'public' else self.visibility + ' '}{self.kind} {self.path}>"


def _as_validator(args: Args | None) -> Validator | None:
    return v.object(args) if isinstance(args, Mapping) else args


Decorator = Callable[[Handler], Function]


@overload
def query(handler: Handler, /) -> Function: ...
@overload
def query(*, args: Args | None = None, returns: Validator | None = None, name: str | None = None) -> Decorator: ...
def query(handler: Handler | None = None, /, **options: Any) -> Function | Decorator:
    """Make a query: it reads, anyone may call it, and its live results follow the data.

    Parameters
    ----------
    handler
        The function; its first parameter is ``ctx``, the others are the arguments.
    args
        Validators of the arguments, instead of type hints: ``{"author": v.string()}``.
    returns
        The validator of the result, instead of a return hint.
    name
        The name in references, when it is not the function's own (less one trailing underscore).

    Examples
    --------
    >>> from nbreactive import query
    >>> @query
    ... def latest(ctx, limit: int = 100):
    ...     return ctx.db.query("messages").order("desc").take(limit)
    >>> latest.args
    v.object({'limit': v.optional(v.integer())})
    """
    return _decorate(handler, "query", "public", options)


@overload
def internal_query(handler: Handler, /) -> Function: ...
@overload
def internal_query(
    *, args: Args | None = None, returns: Validator | None = None, name: str | None = None
) -> Decorator: ...
def internal_query(handler: Handler | None = None, /, **options: Any) -> Function | Decorator:
    """Make a query that only other functions may call. The parameters are those of :func:`query`."""
    return _decorate(handler, "query", "internal", options)


@overload
def mutation(handler: Handler, /) -> Function: ...
@overload
def mutation(*, args: Args | None = None, returns: Validator | None = None, name: str | None = None) -> Decorator: ...
def mutation(handler: Handler | None = None, /, **options: Any) -> Function | Decorator:
    """Make a mutation: one transaction, all of it or nothing. The parameters are those of :func:`query`."""
    return _decorate(handler, "mutation", "public", options)


@overload
def internal_mutation(handler: Handler, /) -> Function: ...
@overload
def internal_mutation(
    *, args: Args | None = None, returns: Validator | None = None, name: str | None = None
) -> Decorator: ...
def internal_mutation(handler: Handler | None = None, /, **options: Any) -> Function | Decorator:
    """Make a mutation that only other functions may call. The parameters are those of :func:`query`."""
    return _decorate(handler, "mutation", "internal", options)


@overload
def action(handler: Handler, /) -> Function: ...
@overload
def action(*, args: Args | None = None, returns: Validator | None = None, name: str | None = None) -> Decorator: ...
def action(handler: Handler | None = None, /, **options: Any) -> Function | Decorator:
    """Make an action: it may do anything (call other services, wait), and is no transaction.

    An action runs once and is never repeated. It has no ``ctx.db``: what it reads and writes goes through
    ``ctx.run_query`` and ``ctx.run_mutation``, each a transaction of its own. In an ``async def`` the calls of ``ctx``
    are awaited, in a ``def`` they return their results. The parameters are those of :func:`query`.

    Examples
    --------
    >>> from nbreactive import action, api
    >>> @action
    ... async def summarize(ctx, post_id: str) -> str:
    ...     post = await ctx.run_query(api.posts.get, post_id=post_id)
    ...     return post["content"][:100]
    >>> summarize.is_async
    True
    """
    return _decorate(handler, "action", "public", options)


@overload
def internal_action(handler: Handler, /) -> Function: ...
@overload
def internal_action(
    *, args: Args | None = None, returns: Validator | None = None, name: str | None = None
) -> Decorator: ...
def internal_action(handler: Handler | None = None, /, **options: Any) -> Function | Decorator:
    """Make an action that only other functions may call. The parameters are those of :func:`query`."""
    return _decorate(handler, "action", "internal", options)


def _decorate(
    handler: Handler | None, kind: Kind, visibility: Visibility, options: dict[str, Any]
) -> Function | Decorator:
    unknown = options.keys() - {"args", "returns", "name"}
    if unknown:
        raise DeployRefused(f"@{kind} has no option {min(unknown)!r}; the options are args, returns and name")
    if handler is not None:
        return Function(handler, kind, visibility)

    def decorate(handler: Handler) -> Function:
        return Function(handler, kind, visibility, **options)

    return decorate
