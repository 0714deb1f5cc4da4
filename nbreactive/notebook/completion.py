"""Tab in cells: ``api.chat.`` lists functions, ``api.chat.send(`` its arguments, ``%reactive`` its commands.

What is deployed is known from a live list (:mod:`nbreactive.client.deployed`), so Tab waits for nothing, and nothing of the
cell is evaluated: names are looked up, and whatever does not lead to a reference is left to IPython's own completers.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, Final

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from nbreactive.client import connected
from nbreactive.client.mutations import BoundMutation
from nbreactive.functions.references import Reference, Root, api, internal, next_steps, reference, signature_of, spec_of

_CHAIN: Final = re.compile(r"(?<![\w.\])])([^\W\d]\w*)((?:\s*\.\s*[^\W\d]\w*)*)\s*\.\s*(\w*)\Z")
_IMPORT: Final = re.compile(r"^\s*from\s+nbreactive\s+import\s+(.*)$", re.MULTILINE)
_COMMAND: Final = re.compile(r"\s*%{1,2}reactive\s+(?:(\w+)\s+)?([\w./:]*)\Z")
_ROOTS: Final = {"api": api, "internal": internal}
_HOOKS: Final = frozenset({"use_query", "use_paginated_query", "history"})
"""Functions that take a reference first, then its arguments."""
_OF_MODULES: Final = frozenset({"functions", "source", "diff", "history", "rollback", "remove", "deploy"})


class Completion:
    """The matcher of one shell."""

    def __init__(self, shell: Any, commands: Sequence[str]) -> None:
        self._shell = shell
        self._commands = commands
        shell.Completer.custom_matchers.append(self.match)

    def remove(self) -> None:
        """Leave completion to IPython again."""
        matchers = self._shell.Completer.custom_matchers
        matchers[:] = [matcher for matcher in matchers if matcher != self.match]

    @context_matcher(identifier="nbreactive")
    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Complete what stands before the cursor; nothing if it has nothing to do with nbreactive."""
        lines = context.full_text.split("\n")[: context.cursor_line + 1]
        lines[-1] = lines[-1][: context.cursor_position]
        command = _COMMAND.match(lines[-1])
        if command is not None:
            return _result(self._words(command[1], command[2]), command[2], "magic")
        if lines[0].startswith("%%"):
            lines[0] = ""  # what stands below it is Python
        before = "\n".join(lines)
        chain = _CHAIN.search(before)
        if chain is not None:
            start = self._follow(before, [chain[1], *re.findall(r"\w+", chain[2])])
            names = _attributes(start) if isinstance(start, Root | Reference) else {}
            return _result(names, chain[3])
        fragment = re.search(r"\w*\Z", before)
        assert fragment is not None
        return _result(dict.fromkeys(self._arguments(before), "param"), fragment[0])

    def _follow(self, before: str, steps: Sequence[str]) -> Any:
        """Return what names lead to, without running anything: a reference, a module, or something of no interest."""
        found: Any = self._shell.user_ns.get(steps[0])
        if found is None and any(steps[0] in re.findall(r"\w+", line) for line in _IMPORT.findall(before)):
            found = _ROOTS.get(steps[0])  # a cell that was not run, or that is deployed
        for step in steps[1:]:
            if isinstance(found, ModuleType) and found.__name__ == "nbreactive":
                found = _ROOTS.get(step)
            elif isinstance(found, Root | Reference) and not step.startswith("_"):
                found = getattr(found, step)
            else:
                return None
        return found

    def _words(self, command: str | None, fragment: str) -> dict[str, str]:
        if command is None:
            return dict.fromkeys(self._commands, "magic")
        if connected() is None:
            return {}
        if command == "run":
            return {repr(ref).removeprefix("api."): "function" for ref in _references(fragment)}
        if command in _OF_MODULES:
            found = (ref.path.partition(":")[0] for root in (api, internal) for ref in _functions(root))
            return dict.fromkeys(sorted(set(found)), "module")
        return {}

    # ---- arguments ---------------------------------------------------------------------------------------

    def _arguments(self, before: str) -> list[str]:
        """Return the arguments that the call around the cursor can still be given, with their ``=``."""
        call = _call_around(before)
        if call is None:
            return []
        called, given = call
        names = [word for word in called if word != "."]
        if names[-1:] and names[-1] in _HOOKS:
            names = [word for word in given.pop(0) if word != "."]
        if names[-1:] == ["options"]:
            return ["at=", "page_size=", "timeout=", "wait="]
        ref = next((ref for last in (len(names), -1) if (ref := self._function(before, names[:last]))), None)
        if ref is None:
            return []
        used = {argument[0] for argument in given if argument[1:2] == ["="]}
        named = [
            one.name for one in signature_of(spec_of(ref) or {}).parameters.values() if one.kind == one.KEYWORD_ONLY
        ]
        return [f"{name}=" for name in named if name not in used]

    def _function(self, before: str, names: Sequence[str]) -> Reference | None:
        found = self._follow(before, names) if names else None
        ref = reference(found.path) if isinstance(found, BoundMutation) else found
        if not isinstance(ref, Reference) or connected() is None or not next_steps(api) + next_steps(internal):
            return None
        return ref if spec_of(ref) is not None else None


def _attributes(start: Root | Reference) -> dict[str, str]:
    if connected() is None:  # a Tab connects to nothing
        return {}
    names = {name: "function" if spec_of(getattr(start, name)) is not None else "module" for name in next_steps(start)}
    spec = spec_of(start) if isinstance(start, Reference) else None
    if spec is not None:
        names |= dict.fromkeys(["aio", *["live"] * (spec["kind"] == "query"), "options"], "function")
    return names


def _functions(start: Root | Reference) -> Iterator[Reference]:
    for name in next_steps(start):
        ref = getattr(start, name)
        if spec_of(ref) is not None:
            yield ref
        yield from _functions(ref)


def _references(fragment: str) -> Iterator[Reference]:
    yield from _functions(api)
    if fragment.startswith("internal"):
        yield from _functions(internal)


def _call_around(before: str) -> tuple[list[str], list[list[str]]] | None:
    """Return what is called around the end of a text, and the arguments there so far, all as tokens.

    None where no argument can be named: outside of calls, in strings and comments, behind a ``=``.

    Examples
    --------
    >>> _call_around("x = api.chat.send(author=f(1, 2), bo")
    (['api', '.', 'chat', '.', 'send'], [['author', '=', 'f', '(', '1', ',', '2', ')'], ['bo']])
    >>> _call_around("api.chat.send(author="), _call_around("api.chat.send('it"), _call_around("f(1)")
    (None, None, None)
    """
    tokens = _tokens(before)
    if tokens is None:
        return None
    opened: list[int] = []
    for at, word in enumerate(tokens):
        if word in "([{":
            opened.append(at)
        elif word in ")]}" and opened:
            opened.pop()
    if not opened or tokens[opened[-1]] != "(":
        return None
    given: list[list[str]] = [[]]
    depth = 0
    for word in tokens[opened[-1] + 1 :]:
        depth += (word in "([{") - (word in ")]}")
        if word == "," and not depth:
            given.append([])
        else:
            given[-1].append(word)
    if len(given[-1]) > 1 or (given[-1] and not given[-1][0].isidentifier()):
        return None
    return _called(tokens[: opened[-1]]), given


def _tokens(text: str) -> list[str] | None:
    """Return the tokens of unfinished Python; None if it ends in a string or a comment."""
    found: list[str] = []
    try:
        for each in tokenize.generate_tokens(io.StringIO(text).readline):
            if each.type == tokenize.ERRORTOKEN and each.string[:1] in "'\"":
                return None
            if each.type == tokenize.COMMENT and text.endswith(each.string):
                return None
            if each.string.strip() and each.type != tokenize.COMMENT:
                found.append(each.string)
    except (tokenize.TokenError, SyntaxError) as failure:
        if "string" in str(failure):
            return None
    return found


def _called(tokens: list[str]) -> list[str]:
    """Return the dotted name that a list of tokens ends with, without the options of a reference."""
    found: list[str] = []
    while tokens:
        if tokens[-1] == ")" and found[:1] == ["."]:
            depth, at = 0, len(tokens)
            while at and (depth or at == len(tokens)):
                at -= 1
                depth += (tokens[at] == ")") - (tokens[at] == "(")
            if tokens[at - 2 : at] != [".", "options"]:
                break
            tokens = tokens[: at - 2]
        elif tokens[-1].isidentifier() and found[:1] in ([], ["."]):
            found.insert(0, tokens[-1])
            tokens = tokens[:-1]
        elif tokens[-1] == "." and found and found[0] != ".":
            found.insert(0, ".")
            tokens = tokens[:-1]
        else:
            break
    return found if found[:1] != ["."] else []


def _result(names: dict[str, str], fragment: str, kind: str = "") -> SimpleMatcherResult:
    found = [SimpleCompletion(name, type=type_ or kind) for name, type_ in names.items() if name.startswith(fragment)]
    return SimpleMatcherResult(completions=found, suppress=bool(found), matched_fragment=fragment)
