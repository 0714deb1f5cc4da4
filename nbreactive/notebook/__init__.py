"""nbreactive in a notebook: ``%load_ext nbreactive``."""

from __future__ import annotations

from typing import Any

_loaded: dict[int, list[Any]] = {}


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, connect, and say in one line to what."""
    from nbreactive.client import be_quiet, install
    from nbreactive.notebook import errors_view, magics, settings
    from nbreactive.notebook.completion import Completion
    from nbreactive.notebook.inspection import Inspection
    from nbreactive.notebook.lifecycle import Hooks

    if id(shell) not in _loaded:
        _loaded[id(shell)] = [Hooks(shell), Completion(shell, magics.COMMANDS), Inspection(shell)]
        errors_view.install(shell)
        shell.register_magics(magics.ReactiveMagics(shell))
        if settings.settings not in shell.configurables:
            settings.settings.parent = shell
            shell.configurables.append(settings.settings)
    install()
    be_quiet()
    magics.greet()


def unload_ipython_extension(shell: Any) -> None:
    """Undo :func:`load_ipython_extension` and disconnect."""
    from nbreactive.client import disconnect
    from nbreactive.notebook import errors_view, settings

    parts = _loaded.pop(id(shell), None)
    if parts is None:
        return
    for part in parts:
        part.remove()
    errors_view.remove()
    shell.magics_manager.magics["line"].pop("reactive", None)
    shell.magics_manager.magics["cell"].pop("reactive", None)
    if settings.settings in shell.configurables:
        shell.configurables.remove(settings.settings)
    disconnect()
