"""``api`` and ``internal``: names of functions, as attribute chains.

``api.chat.send`` is a :class:`Reference`: a name, which nothing needs to be deployed for. What calling it does is up to
the process: in kernels a caller is installed that talks to a backend, in function workers calls are refused.

A reference is called with keywords, or with one dict where a name is no Python name: ``api.math.span({"from": 1})``. A
function whose name is taken (``live``, ``aio``, ``getdoc``, ``options``, ``path``) is found with brackets: ``api.chat["live"]``.
"""

from __future__ import annotations

import importlib
import inspect
import keyword
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

from nbreactive.errors import ArgumentError, NBReactiveError, NotAllowed
from nbreactive.functions.hint_text import HintText
from nbreactive.functions.paths import DEFAULT, canonical_path


class Caller(Protocol):
    """What calls of references are delegated to."""

    def call(self, ref: Reference, args: dict[str, Any], /) -> Any:
        """Call once and return the result."""
        ...

    def live(self, ref: Reference, args: dict[str, Any], options: Mapping[str, Any], /) -> Any:
        """Return a live query."""
        ...

    def aio(self, ref: Reference, args: dict[str, Any], /) -> Awaitable[Any]:
        """Call once, from asynchronous code."""
        ...


class Reference:
    """The name of a function: ``api.chat.send``."""  # one line: IPython's ? shows it below the function's own

    __slots__ = ("_internal", "_options", "_steps")

    def __init__(
        self, steps: tuple[str, ...], *, internal: bool = False, options: Mapping[str, Any] | None = None
    ) -> None:
        self._steps = steps
        self._internal = internal
        self._options: dict[str, Any] = dict(options or {})

    @property
    def path(self) -> str:
        """``module:name``; a lone module means its export ``default``."""
        *module, name = self._steps
        return f"{'/'.join(module)}:{name}" if module else f"{name}:{DEFAULT}"

    @property
    def internal(self) -> bool:
        """Whether it names an internal function."""
        return self._internal

    def options(self, **options: Any) -> Reference:
        """Return the same reference with options: arguments stay the function's own."""
        return Reference(self._steps, internal=self._internal, options={**self._options, **options})

    def live(self, *args: Any, **kwargs: Any) -> Any:
        """Return a live query: its value follows the data."""
        given = keywords_of(self, args, kwargs)
        try:
            return _caller().live(self, given, self._options)
        except NBReactiveError as error:
            raise error.with_traceback(None) from None  # the user's lines, and not our own

    def aio(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Call once, from asynchronous code: ``await api.chat.send.aio(body="hi")``."""
        return _caller().aio(self, keywords_of(self, args, kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call once and return the result."""
        given = keywords_of(self, args, kwargs)
        try:
            return _caller().call(self, given)
        except NBReactiveError as error:
            raise error.with_traceback(None) from None

    def getdoc(self) -> str:
        """Return the function's documentation, as far as this process knows it: IPython's ``api.chat.send?`` asks so."""
        spec = spec_of(self)
        if spec is None:
            return f"The name of a function, which is not known (yet).\n\n{_HOW_TO_CALL}"
        return f"{spec['kind']} {self!r}{signature_of(spec)}\n\n{spec.get('doc') or ''}".rstrip()

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__" and (spec := spec_of(self)) is not None:
            return signature_of(spec)
        if name.startswith("_"):
            # Tools look for methods such as _repr_html_; no function's name starts so.
            raise AttributeError(
                f"{self!r} has no attribute {name!r}: names of functions do not start with an underscore"
            )
        return self[_python_name(name)]

    if TYPE_CHECKING:
        # Of an untyped reference a type checker takes everything (nbreactive.functions.typed).
        def __as_query__(self) -> Any: ...
        def __as_mutation__(self) -> Any: ...
        def __as_action__(self) -> Any: ...

    def __getitem__(self, name: str) -> Reference:
        return Reference((*self._steps, name), internal=self._internal)

    def __dir__(self) -> list[str]:
        return [*next_steps(self), "aio", "live", "options", "path"]

    def __repr__(self) -> str:
        return "internal" * self._internal + "api" * (not self._internal) + "".join(map(_step, self._steps))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reference):
            return NotImplemented
        mine = (self.path, self._internal, self._options)
        return mine == (other.path, other._internal, other._options)

    def __hash__(self) -> int:
        return hash((self.path, self._internal))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._steps, self._internal, self._options)


_HOW_TO_CALL = """\
Call it with keywords, or with one dict where a name is no Python name: ``api.math.span({"from": 1})``. A function
whose name is taken here (``live``, ``aio``, ``getdoc``, ``options``, ``path``) is found with brackets: ``api.chat["live"]``.
"""


class Root:
    """``api``, or ``internal``: where references start."""

    __slots__ = ("_internal",)

    def __init__(self, *, internal: bool) -> None:
        self._internal = internal

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("_"):
            raise AttributeError(
                f"{self!r} has no attribute {name!r}: names of modules do not start with an underscore"
            )
        return self[_python_name(name)]

    def __getitem__(self, name: str) -> Reference:
        return Reference((name,), internal=self._internal)

    def __dir__(self) -> list[str]:
        return next_steps(self)

    def __repr__(self) -> str:
        return "internal" if self._internal else "api"

    def __reduce__(self) -> str:
        return repr(self)


api = Root(internal=False)
internal = Root(internal=True)


def reference(path: str, *, internal: bool = False) -> Reference:
    """Return the reference of a path.

    Examples
    --------
    >>> reference("admin/users:list")
    api.admin.users.list
    """
    module, _, name = canonical_path(path).partition(":")
    return Reference((*module.split("/"), name), internal=internal)


def options_of(ref: object) -> Mapping[str, Any]:
    """Return the options that a reference was given; what is no reference has none.

    Examples
    --------
    >>> options_of(api.posts.list.options(page_size=20)), options_of("posts:list")
    ({'page_size': 20}, {})
    """
    return ref._options if isinstance(ref, Reference) else {}  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def set_caller(caller: Caller | None) -> Caller | None:
    """Install what calls go to, and return what was there; None is the default: a connection made at the first call."""
    global _installed
    before, _installed = _installed, caller
    return before


def refuse_calls() -> None:
    """Make calls raise, as function workers need it."""
    set_caller(_Refusal())


class _Refusal:
    """The caller inside modules of server functions, where a reference is only a name."""

    def call(self, ref: Reference, _args: dict[str, Any], /) -> NoReturn:
        raise _refused(ref)

    def live(self, ref: Reference, _args: dict[str, Any], _options: Mapping[str, Any], /) -> NoReturn:
        raise _refused(ref)

    def aio(self, ref: Reference, _args: dict[str, Any], /) -> NoReturn:
        raise _refused(ref)


_installed: Caller | None = None


def _refused(ref: Reference) -> NotAllowed:
    return NotAllowed(
        f"{ref!r} is only a name inside server functions; use ctx.run_query({ref!r}, ...) or"
        f" ctx.run_mutation({ref!r}, ...)"
    )


def _caller() -> Caller:
    if _installed is None:
        # By name, since clients are built on this module and not the other way round.
        install: Callable[[], Any] = importlib.import_module("nbreactive.client").install
        install()
    if _installed is None:
        raise NotAllowed("no client is installed in this process; call references.set_caller() first")
    return _installed


def keywords_of(ref: Reference | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call, which are keywords, or one dict."""
    if not args:
        return kwargs
    first: Any = args[0]
    if len(args) > 1 or kwargs or not isinstance(first, Mapping):
        ref = ref if isinstance(ref, Reference) else Reference(tuple(ref.replace(":", "/").split("/")))
        spec = spec_of(ref)
        names = [*signature_of(spec).parameters] if spec is not None else ["name"]
        example = f"{ref!r}({', '.join(f'{name}=...' for name in names)})"
        raise ArgumentError(f"arguments are keywords, or one dict, not both and not positional; write {example}")
    return dict(cast("Mapping[str, Any]", first))


def spec_of(ref: Reference) -> Mapping[str, Any] | None:
    """Return what the caller knows of a function without asking anybody: kind, args (JSON) and doc."""
    return _spec(ref.path)


def _spec(path: str) -> Mapping[str, Any] | None:
    describe: Callable[[str], Mapping[str, Any] | None] | None = getattr(_installed, "describe", None)
    return describe(path) if describe is not None else None


class _LeftOut:
    """Stands in signatures for the default of an argument that may be left out: the backend knows it."""

    def __repr__(self) -> str:
        return "..."


_LEFT_OUT = _LeftOut()


def signature_of(spec: Mapping[str, Any]) -> inspect.Signature:
    """Return the arguments and the result of a function, all of it shown as text."""
    fields: Any = cast("dict[str, Any]", spec.get("args") or {}).get("value")
    said = spec.get("returns")
    returns = HintText(said) if said else inspect.Signature.empty
    if not isinstance(fields, dict):  # any arguments at all
        return inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_KEYWORD)], return_annotation=returns)
    given = cast("dict[str, dict[str, Any]]", fields)
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_LEFT_OUT if field.get("optional") else inspect.Parameter.empty,
                annotation=HintText(field.get("fieldType")),
            )
            for name, field in given.items()
            if name.isidentifier() and not keyword.iskeyword(name)
        ],
        return_annotation=returns,
    )


def _python_name(name: str) -> str:
    """``import_`` is how Python has to write ``import``."""
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name


def _step(name: str) -> str:
    if name in _TAKEN or not name.isidentifier():
        return f"[{name!r}]"
    return f".{name}_" if keyword.iskeyword(name) else f".{name}"


def next_steps(start: Root | Reference) -> list[str]:
    """Return the steps from here to deployed functions, as Python writes them, as far as the caller knows them.

    Of functions whose visibility is known ``internal`` leads to internal ones, and ``api`` to the others.
    """
    paths: Callable[[], Iterable[str]] | None = getattr(_installed, "paths", None)
    if paths is None:
        return []
    steps: tuple[str, ...] = getattr(start, "_steps", ())
    taken = _TAKEN if steps else frozenset[str]()
    hidden = "public" if start._internal else "internal"  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    found: set[str] = set()
    for path in paths():
        each = path.replace(":", "/").split("/")
        if len(each) <= len(steps) or tuple(each[: len(steps)]) != steps:
            continue
        name, spec = each[len(steps)], _spec(path) or {}
        if name in taken or not name.isidentifier() or spec.get("kind") == "http_action":
            continue
        if spec.get("visibility") != hidden:
            found.add(f"{name}_" if keyword.iskeyword(name) else name)
    return sorted(found)


def _rebuild(steps: tuple[str, ...], is_internal: bool, options: dict[str, Any]) -> Reference:
    return Reference(steps, internal=is_internal, options=options)


_TAKEN = frozenset({"aio", "getdoc", "internal", "live", "options", "path"})
