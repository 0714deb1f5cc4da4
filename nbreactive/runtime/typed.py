"""``QueryCtx``, ``MutationCtx``, ``ActionCtx``: hints for the first argument of functions.

With a typed reference (``from reactive._generated.api import api``) a type checker looks at the arguments of
``ctx.run_query(api.posts.get, post_id=p)`` and knows the type of its result. At run time they are the contexts.
"""

from __future__ import annotations

# The typed methods take references only, and arguments as keywords.
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Self, TypeVar

from nbreactive.runtime.action_context import ActionContext
from nbreactive.runtime.context import MutationContext, QueryContext

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from nbreactive.functions.pagination import PaginationResult
    from nbreactive.functions.typed import ActionLike, MutationLike, QueryLike
    from nbreactive.runtime.action_context import ActionScheduler
    from nbreactive.runtime.filters import FilterBuilder
    from nbreactive.runtime.scheduling import Scheduler
    from nbreactive.values.ids import Id

    D = TypeVar("D")

    class TypedQuery(Generic[D]):
        """A query of a table whose documents have a known type."""

        def full_table_scan(self) -> Self:
            """Read the whole table in the order of creation, which is also the default."""
            ...

        def order(self, direction: Literal["asc", "desc"]) -> Self:
            """Set the direction; once."""
            ...

        def filter(self, build: Callable[[FilterBuilder], Any]) -> Self:
            """Keep the documents for which an expression holds."""
            ...

        def limit(self, count: int) -> Self:
            """At most ``count`` documents."""
            ...

        def collect(self) -> list[D]:
            """All documents, as a list."""
            ...

        def take(self, count: int) -> list[D]:
            """The first ``count`` documents."""
            ...

        def first(self) -> D | None:
            """The first document, or None."""
            ...

        def unique(self) -> D | None:
            """The one document, or None; raises when there are several."""
            ...

        def count(self) -> int:
            """How many documents."""
            ...

        def paginate(self, opts: Mapping[str, Any]) -> PaginationResult[D]:
            """Read one page."""
            ...

        def __iter__(self) -> Iterator[D]:
            """Read lazily."""
            ...

    Schedulable = MutationLike[P, object] | ActionLike[P, object]

    class TypedScheduler(Scheduler):
        """``ctx.scheduler`` of a mutation, and of an action that is a plain ``def``."""

        def run_after(self, delay_ms: float, reference: Schedulable[P], /, *args: P.args, **kwargs: P.kwargs) -> Id:
            """Run a mutation or an action ``delay_ms`` milliseconds from now, once."""
            ...

        def run_at(self, when: float | datetime, reference: Schedulable[P], /, *args: P.args, **kwargs: P.kwargs) -> Id:
            """Run a mutation or an action at a time, once."""
            ...

    class AwaitedScheduler(ActionScheduler):
        """``ctx.scheduler`` of an action that is an ``async def``."""

        def run_after(
            self, delay_ms: float, reference: Schedulable[P], /, *args: P.args, **kwargs: P.kwargs
        ) -> Awaitable[Id]:
            """Run a mutation or an action ``delay_ms`` milliseconds from now, once."""
            ...

        def run_at(
            self, when: float | datetime, reference: Schedulable[P], /, *args: P.args, **kwargs: P.kwargs
        ) -> Awaitable[Id]:
            """Run a mutation or an action at a time, once."""
            ...

    class QueryCtx(QueryContext):
        """``ctx`` of a query."""

        def run_query(self, reference: QueryLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run another query in this transaction."""
            ...

    class MutationCtx(MutationContext):
        """``ctx`` of a mutation."""

        @property
        def scheduler(self) -> TypedScheduler:
            """Runs functions later."""
            ...

        def run_query(self, reference: QueryLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run a query in this transaction."""
            ...

        def run_mutation(self, reference: MutationLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run another mutation in this transaction."""
            ...

    class ActionCtx(ActionContext):
        """``ctx`` of an action that is an ``async def``."""

        scheduler: AwaitedScheduler

        def run_query(self, reference: QueryLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
            """Run a query."""
            ...

        def run_mutation(self, reference: MutationLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
            """Run a mutation, a transaction of its own."""
            ...

        def run_action(self, reference: ActionLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
            """Run another action."""
            ...

    class BlockingActionCtx(ActionContext):
        """``ctx`` of an action that is a plain ``def``."""

        scheduler: TypedScheduler

        def run_query(self, reference: QueryLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run a query."""
            ...

        def run_mutation(self, reference: MutationLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run a mutation, a transaction of its own."""
            ...

        def run_action(self, reference: ActionLike[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run another action."""
            ...

else:
    QueryCtx, MutationCtx, ActionCtx, BlockingActionCtx = QueryContext, MutationContext, ActionContext, ActionContext
