"""Files chosen in a notebook go straight to the Jupyter server, and live tables show their images."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from playwright.sync_api import Request, expect

from tests.e2e.people import PATIENCE, App, Person, write_notebook
from tests.jupyter.servers import JupyterProcess

DEPLOY = """%load_ext nbreactive
import nbreactive
from nbreactive import api
"""
MODULE = """%%reactive deploy pictures{app}
from nbreactive import Id, mutation, query

@mutation
def generate_upload_url(ctx):
    return ctx.storage.generate_upload_url(max_size=5_000_000)

@mutation
def save_file(ctx, storage_id: Id["_storage"], name: str, type: str):
    if name.startswith("refused"):
        raise ValueError("this one is not wanted")
    return ctx.db.insert("pictures{app}", {{"file": storage_id, "name": name, "type": type}})

@query
def listed(ctx):
    files = ctx.db.query("pictures{app}")
    return [{{"name": file["name"], "picture": ctx.storage.get_url(file["file"])}} for file in files]
"""
UPLOAD = "nbreactive.FileUpload(api.pictures{app}.generate_upload_url, api.pictures{app}.save_file)"
SHOW = "api.pictures{app}.listed.live()"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGM4IScHQQxwFgBBAAYZPEVBlgAAAABJRU5ErkJggg=="
)
"""Three by two pixels."""
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='window.hacked = 1'></svg>"


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_upload_and_thumbnails(person: Callable[[str], Person], lab: JupyterProcess, app: App) -> None:
    cells = [cell.format(app=app) if "{app}" in cell else cell for cell in (DEPLOY, MODULE, UPLOAD, SHOW)]
    write_notebook(lab.root / app / "files.ipynb", *cells)
    alice = person("Alice")
    uploads: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            uploads.append(request.url)

    alice.page.on("request", note)
    alice.open(f"{app}/files.ipynb", app)
    alice.run_all()
    box = alice.page.locator(".nbr-upload:visible").first
    expect(box).to_be_visible(timeout=PATIENCE)
    files = [("a.png", "image/png", PNG), ("b.svg", "image/svg+xml", SVG), ("refused.png", "image/png", PNG)]
    files += [("large.bin", "", bytes(5_000_001))]
    box.locator("input[type=file]").set_input_files(
        [{"name": name, "mimeType": kind, "buffer": data} for name, kind, data in files]
    )
    for name, said in (("a.png", "saved"), ("b.svg", "saved"), ("refused", "not wanted"), ("large", "at most 5000000")):
        item = box.locator("li", has_text=name)
        expect(item.locator(".nbr-upload-state")).to_contain_text(said, timeout=PATIENCE)
    mine = [url for url in uploads if "/api/storage/" in url]
    assert len(mine) == 4
    assert all(url.startswith(f"{lab.url}/nbreactive/default/api/storage/upload?upload_token=") for url in mine)
    alice.sees("a.png")
    image = alice.table.locator("img.nbr-thumbnail")
    expect(image).to_be_visible(timeout=PATIENCE)
    assert image.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [3, 2]
    assert str(image.get_attribute("src")).startswith("blob:")
    row = alice.table.get_by_role("row").filter(has_text="b.svg")
    expect(row).to_contain_text("/api/storage/")  # it stays text
    expect(alice.table.locator("img")).to_have_count(1)
    assert alice.page.evaluate("window.hacked") is None
    assert alice.errors == []
