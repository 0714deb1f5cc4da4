"""What ``.render`` shows: any object as a bundle of formats, as IPython makes them, and a few things more.

Altair's own bundle is a page that loads Vega from the network. JupyterLab and Notebook 7 have Vega-Lite 5 built in, so
the chart's specification goes beside it in the form which they draw themselves: at once, and without a network.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from nbreactive.notebook.cells import safe_text

Bundle = tuple[dict[str, Any], dict[str, Any]]
VEGA_LITE = "application/vnd.vegalite.v5+json"
_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


def format_object(shown: Any) -> Bundle:
    """Return an object in every format it can be shown in."""
    from IPython.core.getipython import get_ipython

    if shown is None:
        text = "The function returned None: let it return what is to be shown (a figure, a table, HTML)."
        return {"text/plain": text, "text/html": f"<p>{text}</p>"}, {}
    shell: Any = get_ipython()
    if shell is None:
        return {"text/plain": safe_text(repr(shown), 4000)}, {}
    data, metadata = shell.display_formatter.format(shown)
    altair = sys.modules.get("altair")
    if altair is not None and "text/html" in data and isinstance(shown, altair.TopLevelMixin):
        specification: dict[str, Any] = shown.to_dict()
        data = {VEGA_LITE: specification | {"$schema": _SCHEMA}, **data}
    return data, metadata


@cache
def kernel_id() -> str:
    """Return the id by which a Jupyter server knows this kernel; empty outside of kernels."""
    from IPython.core.getipython import get_ipython

    if getattr(get_ipython(), "kernel", None) is None:
        return ""
    from ipykernel.connect import get_connection_file

    try:
        return Path(get_connection_file()).stem.removeprefix("kernel-")
    except (RuntimeError, OSError):  # a kernel inside of another program
        return "kernel"
