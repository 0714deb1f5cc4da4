"""``LiveForm``: a form for the arguments of a function, made from its validators.

Whoever looks at the page calls the function, over the page's own connection to its Jupyter server: also while the kernel
works, and in their own name. Elsewhere (VS Code, Colab, marimo) the kernel calls it. The kernel hears of every result.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import msgspec
import traitlets

from nbreactive.client import files, threads
from nbreactive.client.arguments import path_of, to_value
from nbreactive.errors import ArgumentError, InvalidValue
from nbreactive.notebook.cells import safe_text
from nbreactive.notebook.front_end import call_for_page, widget_base
from nbreactive.values._paths import near, show
from nbreactive.values.json import from_jsonable, to_jsonable
from nbreactive.values.validators import ObjectValidator, Validator, from_json

if TYPE_CHECKING:
    from nbreactive.client.client import Client

_log = logging.getLogger("nbreactive")
_keys = itertools.count()


class _Call(msgspec.Struct, tag_field="type", tag="call"):
    id: str
    args: dict[str, Any]


class _Result(msgspec.Struct, tag_field="type", tag="result"):
    args: dict[str, Any]
    value: Any = None


@cache
def _widget_class() -> type[Any]:
    class LiveFormWidget(widget_base("live_form")):
        path = traitlets.Unicode("").tag(sync=True)
        kind = traitlets.Unicode("mutation").tag(sync=True)
        args = traitlets.Dict().tag(sync=True)
        fixed = traitlets.Dict().tag(sync=True)
        options = traitlets.Dict().tag(sync=True)
        place = traitlets.Dict().tag(sync=True)
        given = traitlets.Dict()
        value = traitlets.Any(None, allow_none=True)

    return LiveFormWidget


def LiveForm(  # noqa: N802 - a widget, made like one
    ref: Any,
    *,
    fixed: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    multiline: Sequence[str] = (),
    title: str | None = None,
    note: str | None = None,
    submit: str = "Send",
    success: str = "",
    reset: bool = True,
    on_result: Callable[[Any], object] | None = None,
) -> Any:
    """Show a form for the arguments of a mutation, an action or a query, made from its validators.

    Parameters
    ----------
    ref
        The function: ``api.survey.answer``.
    fixed
        Arguments that are given already, and are no fields; a widget stands for what it shows.
    initial
        What the fields show at first. A text that is ``""`` here may stay empty; others have to be filled in.
    labels
        Names of fields, where that of the argument is not good enough; of parts by their path: ``"address.city"``.
    multiline
        Texts of several lines; in them Ctrl+Enter submits.
    title, note
        What stands above the fields; the function's name, and what its documentation begins with, if they are not given.
    submit
        Text of the button.
    success
        What is said when it has gone well; its result, if that is not given.
    reset
        Whether the form is as it was at first when it has gone well.
    on_result
        Called with each result, in the kernel, on the nbreactive thread.

    Returns
    -------
    widget
        Its ``value`` is the last result, and ``given`` the arguments that led to it.

    Examples
    --------
    >>> nbreactive.LiveForm(api.survey.answer, fixed={"survey": survey_id}, multiline=["comment"])   # doctest: +SKIP
    """
    from nbreactive.client import current

    client = current()
    path = path_of(ref)
    described = client.function(path)
    validator = from_json(described["args"])
    values = _checked(validator, fixed, "fixed"), _checked(validator, initial, "initial")
    names = list(validator.fields) if isinstance(validator, ObjectValidator) else []
    for where, said in (("labels", labels or {}), ("multiline", multiline)):
        for name in said:
            _check_name(names, name.split(".")[0], where)
    first = (described.get("doc") or "").strip().split("\n\n")[0]
    widget = _widget_class()(
        path=path,
        kind=described["kind"],
        args=described["args"],
        fixed=to_jsonable(values[0]),
        place=files.place_of(client.target),
        options={
            "title": safe_text(path.rpartition(":")[2].replace("_", " ").capitalize() if title is None else title),
            "note": safe_text(" ".join(first.split()) if note is None else note, 2000),
            "initial": to_jsonable(values[1]),
            "labels": dict(labels or {}),
            "multiline": list(multiline),
            "submit": submit,
            "success": success,
            "reset": reset,
        },
    )
    widget.on_msg(_Hearing(widget, client, path, on_result).heard)
    _follow(widget, validator, fixed or {})
    return widget


def _checked(validator: Validator, given: Mapping[str, Any] | None, where: str) -> dict[str, Any]:
    """Return what fields are given, as values; each is checked as the server would."""
    values: dict[str, Any] = {}
    for name, value in (given or {}).items():
        if not isinstance(validator, ObjectValidator):
            values[name] = to_value(value, name)
            continue
        _check_name(list(validator.fields), name, where)
        field = validator.fields[name]
        try:
            values[name] = field.check(_plain(value), f"{where}.{name}", error=ArgumentError)
        except InvalidValue:
            if where == "fixed" or not isinstance(value, Mapping):
                raise
            values[name] = to_value(value, name)  # a beginning of an object, of which the rest is typed
    return values


def _plain(value: Any) -> Any:
    return cast("Any", value).value if isinstance(value, traitlets.HasTraits) else value


def _check_name(names: Sequence[str], name: str, where: str) -> None:
    if names and name not in names:
        close = near(name, names)
        fix = f"did you mean {close}?" if close else f"the arguments are: {', '.join(names)}"
        raise ArgumentError(f"there is no argument {show(name)}; {fix}", where)


def _follow(widget: Any, validator: Validator, fixed: Mapping[str, Any]) -> None:
    """Take what widgets among the fixed arguments show when they change."""

    def changed(_change: Any) -> None:
        try:
            widget.fixed = to_jsonable(_checked(validator, fixed, "fixed"))
        except InvalidValue as failure:
            _log.warning("LiveForm: %s", failure)

    for value in fixed.values():
        if isinstance(value, traitlets.HasTraits):
            value.observe(changed, names="value")


class _Hearing:
    """What the kernel does for a form; messages come on any thread, so they are only passed on."""

    def __init__(self, widget: Any, client: Client, path: str, on_result: Callable[[Any], object] | None) -> None:
        self._widget = widget
        self._client = client
        self._path = path
        self._on_result = on_result

    def heard(self, _widget: Any, content: Any, _buffers: Any) -> None:
        """Take a message of the page."""
        try:
            said = msgspec.convert(content, _Call | _Result)
        except msgspec.ValidationError:
            return
        threads.callbacks().post(("form", next(_keys)), lambda: self._take(said))

    def _take(self, said: _Call | _Result) -> None:
        if isinstance(said, _Result):
            self._ended(said.args, from_jsonable(said.value))
            return
        args = {**said.args, **self._widget.fixed}
        call_for_page(
            self._widget, self._client, self._path, args, said.id, lambda value: self._ended(said.args, value)
        )

    def _ended(self, given: dict[str, Any], value: Any) -> None:
        self._widget.given = from_jsonable(given)
        self._widget.value = value
        if self._on_result is not None:
            self._on_result(value)
