"""nbreactive in a notebook: ``%load_ext nbreactive``."""

from __future__ import annotations

from typing import Any

_loaded: dict[int, Any] = {}


def load_ipython_extension(shell: Any) -> None:
    """Register the magics, connect, and say in one line to what."""
    from nbreactive.client import be_quiet, install
    from nbreactive.notebook import errors_view, magics, settings
    from nbreactive.notebook.lifecycle import Hooks

    if id(shell) not in _loaded:
        _loaded[id(shell)] = Hooks(shell)
        errors_view.install()
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

    hooks = _loaded.pop(id(shell), None)
    if hooks is None:
        return
    hooks.remove()
    errors_view.remove()
    shell.magics_manager.magics["line"].pop("reactive", None)
    shell.magics_manager.magics["cell"].pop("reactive", None)
    if settings.settings in shell.configurables:
        shell.configurables.remove(settings.settings)
    disconnect()
