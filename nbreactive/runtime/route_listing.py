"""The routes that the modules of a bundle define, and why some of them cannot be deployed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import Any

from nbreactive.functions.http import HttpRouter
from nbreactive.functions.specs import FunctionSpec, Issue, RouteSpec
from nbreactive.runtime.loader import file_of, module_name


def list_routes(
    modules: Mapping[ModuleType, Mapping[str, Any]],
    functions: Collection[FunctionSpec],
    assigned: Callable[[ModuleType], Collection[str]],
) -> tuple[list[RouteSpec], list[Issue]]:
    """Return all routes, and what is wrong with them; the parameters are those of ``list_crons``."""
    routes: dict[tuple[str, str, bool], RouteSpec] = {}
    issues: list[Issue] = []
    paths = {function.path for function in functions}
    for module, exports in modules.items():
        name = module_name(module.__name__)
        routers = {variable: value for variable, value in exports.items() if isinstance(value, HttpRouter)}
        own = assigned(module) if routers else ()
        # What was imported from another module is that module's.
        for router in dict.fromkeys(value for variable, value in routers.items() if variable in own):
            for route in router.routes:
                function = route.handler.path
                spec = RouteSpec(route.method, route.path, route.prefix, function, name, route.line)
                other = routes.setdefault((route.method, route.path, route.prefix), spec)
                if other is not spec:
                    where = f"{file_of(other.module)}:{other.line}"
                    reason = f"{route.method} {route.path} is routed twice, here and in {where}"
                    issues.append(Issue(file_of(name), route.line, reason, "remove one of the routes"))
                if function not in paths:
                    reason = f"the handler of {route.method} {route.path} has no name in its module's top level"
                    issues.append(Issue(file_of(name), route.line, reason, "define it with def and @http_action there"))
    return list(routes.values()), issues
