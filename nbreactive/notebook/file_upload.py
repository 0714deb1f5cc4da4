"""``FileUpload``: choose or drop files in a notebook, and they are stored files of the deployment.

The browser sends them straight to the Jupyter server whose page it shows; where there is none (VS Code, Colab, marimo)
they come through the kernel, piece by piece. The functions are called by the kernel in both cases: one that gives an
upload's address, one that is told of the file that has arrived.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, Any

import anywidget
import msgspec
import traitlets

from nbreactive.client import files
from nbreactive.client.client import Client
from nbreactive.errors import ArgumentError, NBReactiveError
from nbreactive.notebook.cells import safe_text

STATIC = Path(__file__).parent.parent / "static"
_THREADS = 4
_LONGEST = 1000
_MOST = 1000
"""Files of one widget that are under way at a time."""
_SHOWN = 100
"""Files that a page lists which is loaded again."""


class _Begin(msgspec.Struct, tag_field="type", tag="begin"):
    id: int
    name: str
    size: int
    media: str = ""


class _Piece(msgspec.Struct, tag_field="type", tag="piece"):
    id: int
    offset: int
    last: bool


class _Uploaded(msgspec.Struct, tag_field="type", tag="uploaded"):
    id: int
    storageId: str  # noqa: N815 - as the server says it


class _Cancel(msgspec.Struct, tag_field="type", tag="cancel"):
    id: int


_Said = _Begin | _Piece | _Uploaded | _Cancel


class Uploaded(msgspec.Struct, frozen=True):
    """One file that has arrived."""

    storage_id: str
    name: str
    type: str
    size: int
    saved: Any = None
    """What ``save`` has returned."""


@cache
def _widget_class(static: Path) -> type[Any]:
    from nbreactive.notebook.table_widget import FrontEndMissingError

    script, style = static / "file_upload.js", static / "file_upload.css"
    if not script.is_file():
        raise FrontEndMissingError(
            f"The front end of FileUpload is missing: {script} does not exist. In a checkout run `./dev build`; "
            "an installed package should contain it: reinstall nbreactive."
        )

    class FileUploadWidget(anywidget.AnyWidget):
        # texts, not paths: anywidget watches files, and what watches a file is never collected
        _esm = traitlets.Unicode(script.read_text(encoding="utf-8")).tag(sync=True)
        _css = traitlets.Unicode(style.read_text(encoding="utf-8") if style.is_file() else "").tag(sync=True)
        accept = traitlets.Unicode("").tag(sync=True)
        multiple = traitlets.Bool(True).tag(sync=True)
        label = traitlets.Unicode("").tag(sync=True)
        files = traitlets.Dict({"mount": "", "url": ""}).tag(sync=True)
        arrived = traitlets.List().tag(sync=True)  # for pages that are loaded again
        value = traitlets.Tuple(())

        def __repr__(self) -> str:  # what terminals show
            return "<FileUpload: drop files onto it in a notebook; without one, nbreactive.upload(address, path)>"

    return FileUploadWidget


def FileUpload(  # noqa: N802 - a widget, made like one
    generate: Any,
    save: Any = None,
    *,
    accept: str | Sequence[str] = "",
    multiple: bool = True,
    label: str = "",
    arguments: Callable[[Uploaded], Mapping[str, Any]] | None = None,
) -> Any:
    """Show a place to choose or drop files, which are uploaded as stored files.

    Parameters
    ----------
    generate
        The function that gives an upload's address (``ctx.storage.generate_upload_url()``); it takes no arguments.
    save
        The function that is told of each file that has arrived: with ``storage_id``, ``name`` and ``type``.
    accept
        What is taken, and the file dialogue offers: ``"image/*"``, ``[".csv", ".parquet"]``. It is for the convenience of
        who chooses; functions have to look at what they are given all the same.
    multiple
        Whether several files can be chosen.
    label
        Text of the button.
    arguments
        Makes other arguments for ``save``: ``lambda file: {"storageId": file.storage_id, "album": album.value}``.

    Returns
    -------
    widget
        Its ``value`` is a tuple of the files that have arrived (``storage_id``, ``name``, ``type``, ``size``, ``saved``).

    Examples
    --------
    >>> nbreactive.FileUpload(api.files.generate_upload_url, api.files.save_file)       # doctest: +SKIP
    """
    from nbreactive.client import current

    for name, ref in (("generate", generate), ("save", save)):
        if ref is not None and not hasattr(ref, "path") and not isinstance(ref, str):
            raise ArgumentError(f"FileUpload({name}=...) takes a function such as api.files.save_file, not {ref!r:.60}")
    client = current()
    widget = _widget_class(STATIC)(
        accept=accept if isinstance(accept, str) else ",".join(accept),
        multiple=multiple,
        label=label,
        files=files.place_of(client.target),
    )
    widget.on_msg(_Receiver(widget, client, generate, save, arguments or _arguments).heard)
    return widget


def _arguments(file: Uploaded) -> Mapping[str, Any]:
    return {"storage_id": file.storage_id, "name": file.name, "type": file.type}


class _Coming:
    """A file on its way."""

    def __init__(self, begin: _Begin) -> None:
        self.name, self.size, self.type = begin.name, begin.size, begin.media
        self.url = ""
        self.content: IO[bytes] | None = None
        self.received = 0

    def close(self) -> None:
        if self.content is not None:
            self.content.close()


class _CanceledError(Exception):
    pass


_numbers = itertools.count()


class _Receiver:
    """What the kernel does for one widget; messages arrive on the kernel's thread, work is done on threads of its own."""

    def __init__(
        self,
        widget: Any,
        client: Client,
        generate: Any,
        save: Any,
        arguments: Callable[[Uploaded], Mapping[str, Any]],
    ) -> None:
        self._widget = widget
        self._client = client
        self._generate = generate
        self._save = save
        self._arguments = arguments
        self._coming: dict[int, _Coming] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, f"nbreactive-upload-{next(_numbers)}")

    def heard(self, _widget: Any, content: Any, buffers: Any) -> None:
        """Take a message of the front end."""
        try:
            said = msgspec.convert(content, _Said)
        except msgspec.ValidationError:
            return
        if isinstance(said, _Begin):
            if len(self._coming) >= _MOST:
                self._tell("failed", said.id, message=f"{_MOST} files are under way already; wait for some of them")
                return
            self._coming[said.id] = _Coming(said)
            self._threads.submit(self._do, said.id, self._begin)
        elif said.id not in self._coming:
            return
        elif isinstance(said, _Cancel):
            self._coming.pop(said.id).close()
        elif isinstance(said, _Uploaded):
            self._threads.submit(self._do, said.id, lambda coming: self._arrived(said.id, coming, said.storageId))
        elif buffers:
            data = bytes(buffers[0])
            self._threads.submit(self._do, said.id, lambda coming: self._piece(said, coming, data))

    def _do(self, id: int, work: Callable[[_Coming], None]) -> None:
        coming = self._coming.get(id)
        if coming is None:
            return
        try:
            work(coming)
        except _CanceledError:
            pass
        except NBReactiveError as error:
            self._failed(id, safe_text(str(error), _LONGEST))
        except Exception as error:  # noqa: BLE001 - of the user's own arguments=; told to whoever looks at the widget
            self._failed(id, safe_text(f"{type(error).__name__}: {error}", _LONGEST))

    def _begin(self, coming: _Coming) -> None:
        coming.url = self._client.call(self._generate, {})
        if not isinstance(coming.url, str):
            raise ArgumentError("generate= has to be a function that returns ctx.storage.generate_upload_url()")
        self._tell("upload", self._id_of(coming), url=coming.url)

    def _piece(self, said: _Piece, coming: _Coming, data: bytes) -> None:
        if said.offset != coming.received:
            raise ArgumentError("a piece of the file was lost between page and kernel; try again")
        if coming.content is None:
            coming.content = tempfile.TemporaryFile()  # noqa: SIM115 - closed with what is coming
        coming.content.write(data)
        coming.received += len(data)
        if not said.last:
            self._tell("more", said.id, offset=coming.received)
            return

        def still_wanted(_: int) -> None:
            if said.id not in self._coming:
                raise _CanceledError

        coming.content.seek(0)
        storage_id = files.upload(self._client.target, coming.url, coming.content, coming.type or None, still_wanted)
        self._arrived(said.id, coming, storage_id)

    def _arrived(self, id: int, coming: _Coming, storage_id: str) -> None:
        file = Uploaded(storage_id, coming.name, coming.type, coming.size)
        if self._save is not None:
            saved = self._client.call(self._save, dict(self._arguments(file)))
            file = msgspec.structs.replace(file, saved=saved)
        with self._lock:  # files arrive on several threads
            self._widget.value = (*self._widget.value, file)
            shown = {"id": id, "name": file.name, "size": file.size}
            self._widget.arrived = [*self._widget.arrived, shown][-_SHOWN:]
        if self._coming.pop(id, None) is not None:
            coming.close()
            self._tell("saved", id)

    def _id_of(self, coming: _Coming) -> int:
        found = next((id for id, one in self._coming.items() if one is coming), None)
        if found is None:
            raise _CanceledError
        return found

    def _failed(self, id: int, message: str) -> None:
        coming = self._coming.pop(id, None)
        if coming is not None:
            coming.close()
        self._tell("failed", id, message=message)

    def _tell(self, kind: str, id: int, **more: Any) -> None:
        with contextlib.suppress(Exception):  # the widget was closed
            self._widget.send({"type": kind, "id": id, **more})
