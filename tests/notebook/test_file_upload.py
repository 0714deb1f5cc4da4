"""``FileUpload`` in a real kernel with a real backend; the test is the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notebook.kernel import Kernel
from tests.notebook.test_real_kernel import environment
from tests.served import KEY, Served

MODULE = """
from nbreactive import Id, mutation, query

@mutation
def generate(ctx):
    return ctx.storage.generate_upload_url()

@mutation
def save(ctx, storage_id: Id["_storage"], name: str, type: str):
    if name == "refused":
        raise ValueError("not this one")
    return ctx.db.insert("files", {"file": storage_id, "name": name, "type": type, "url": ctx.storage.get_url(storage_id)})

@query
def names(ctx):
    return [[file["name"], ctx.storage.get_metadata(file["file"])["size"]] for file in ctx.db.query("files")]
"""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("backend"), {"files": MODULE}) as running:
        yield running


@pytest.fixture
def kernel(backend: Served, tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(environment(tmp_path, NBREACTIVE_URL=backend.url, NBREACTIVE_ADMIN_KEY=KEY), str(tmp_path))
    try:
        kernel.run("%load_ext nbreactive\nimport nbreactive\nfrom nbreactive import api")
        yield kernel
    finally:
        kernel.close()


class Page:
    """What the front end would say and hear."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.heard: list[dict[str, Any]] = []
        ran = kernel.run("w = nbreactive.FileUpload(api.files.generate, api.files.save, accept=['.csv', 'image/*'])\nw")
        self.comm = ran.displays[-1]["application/vnd.jupyter.widget-view+json"]["model_id"]
        self.state = kernel.widgets[self.comm]

    def say(self, content: dict[str, Any], data: bytes | None = None) -> None:
        session = self.kernel.client.session
        message = session.msg("comm_msg", {"comm_id": self.comm, "data": {"method": "custom", "content": content}})
        if data is not None:
            message["buffers"] = [data]
        session.send(self.kernel.client.shell_channel.socket, message, buffers=message.get("buffers"))

    def hear(self) -> dict[str, Any]:
        while True:
            heard = self.kernel.client.get_iopub_msg(timeout=30)
            content = heard["content"]
            if heard["msg_type"] == "comm_msg" and content["data"].get("method") == "custom":
                assert content["comm_id"] == self.comm
                return content["data"]["content"]


def test_files_come_through_the_kernel_where_there_is_no_jupyter_server(kernel: Kernel, backend: Served) -> None:
    page = Page(kernel)
    assert page.state["accept"] == ".csv,image/*"
    assert page.state["files"] == {"mount": "", "url": backend.url}
    assert "XMLHttpRequest" in page.state["_esm"]
    page.say({"type": "begin", "id": 7, "name": "a.csv", "size": 5, "media": "text/csv"})
    told = page.hear()
    assert (told["type"], told["id"]) == ("upload", 7)
    assert "/api/storage/upload?token=" in told["url"]
    page.say({"type": "piece", "id": 7, "offset": 0, "last": False}, b"abc")
    assert page.hear() == {"type": "more", "id": 7, "offset": 3}
    page.say({"type": "piece", "id": 7, "offset": 3, "last": True}, b"de")
    assert page.hear() == {"type": "saved", "id": 7}
    listed = kernel.run("print(w.get_state()['arrived'])").text  # what a page finds that is loaded again
    assert listed == "[{'id': 7, 'name': 'a.csv', 'size': 5}]\n"
    ran = kernel.run("print(w.value[0].name, w.value[0].size, w.value[0].storage_id, bool(w.value[0].saved))")
    assert ran.text.startswith("a.csv 5 ") and ran.text.endswith("True\n")
    assert ["a.csv", 5] in backend.call("query", "files:names")


def test_errors_reach_the_page_and_cancels_the_kernel(kernel: Kernel, backend: Served) -> None:
    page = Page(kernel)
    page.say({"type": "begin", "id": 1, "name": "refused", "size": 1, "media": ""})
    page.hear()
    page.say({"type": "piece", "id": 1, "offset": 0, "last": True}, b"x")
    told = page.hear()
    assert (told["type"], told["id"]) == ("failed", 1)
    assert "not this one" in told["message"]
    page.say({"type": "begin", "id": 2, "name": "canceled", "size": 9, "media": ""})
    page.hear()
    page.say({"type": "cancel", "id": 2})
    page.say({"type": "piece", "id": 2, "offset": 0, "last": True}, b"x")
    page.say({"type": "nonsense", "id": 2})
    page.say({"type": "begin", "id": 3, "name": "skips", "size": 9, "media": ""})
    assert page.hear()["id"] == 3
    page.say({"type": "piece", "id": 3, "offset": 5, "last": True}, b"x")
    assert "was lost" in page.hear()["message"]
    assert "canceled" not in [name for name, _ in backend.call("query", "files:names")]


def test_it_takes_functions(kernel: Kernel) -> None:
    ran = kernel.run("nbreactive.FileUpload(5)")
    assert ran.error is not None
    assert "takes a function such as" in ran.error["evalue"]
