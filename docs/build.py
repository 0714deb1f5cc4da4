"""The documentation as a site: ``./dev docs`` serves it, ``./dev docs build`` writes it into ``.dev/docs/site``.

The pages are those of this folder, which read as well without a site: their blocks of code say in which file they are, or who runs
them, and tests run them. Here that becomes a title, links that lead out of the documentation become text, and the reference is
made from the docstrings. Nothing is asked of any other host: no fonts, no scripts, no pictures.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
STAGE = ROOT / ".dev" / "docs"
SITE = STAGE / "site"

TUTORIAL = ["tutorial.md", "coming-from-convex.md"]
REFERENCE = ["types.md", "limits.md", "convex-clients.md", "convex-cli.md"]
EXPLANATION = ["architecture.md", "contributing.md"]
API = {
    "Functions": (
        "What modules of functions import.",
        (
            "query mutation action internal_query internal_mutation internal_action http_action http_router HttpRouter Response"
            " cron_jobs rules PaginationOpts PaginationResult pagination_opts_validator pagination_result_validator"
            " reciprocal_rank_fusion QueryCtx MutationCtx ActionCtx BlockingActionCtx"
        ),
    ),
    "Schema and values": (
        "What documents are.",
        "define_schema define_table v Id Int64 UNSET",
    ),
    "Notebooks and scripts": (
        "What notebooks and scripts import.",
        (
            "connect api internal use_query use_mutation use_paginated_query use_presence presence table load export sql history render"
            " upload download http_url http_headers SKIP insert_at_top insert_at_bottom_if_loaded insert_at_position update_in_page"
            " load_ipython_extension unload_ipython_extension"
        ),
    ),
    "Live objects and widgets": (
        "What these return, and what cells show.",
        "Client LiveQuery LiveFrame PaginatedQuery LocalStore PresenceBar FileUpload",
    ),
    "Errors": (
        "All of them are `NBReactiveError`, and say what was wrong, where, and the fix.",
        "NBReactiveError AppError ArgumentError FunctionFailed FunctionNotFound NotConnected Refused RuleRefused Unauthenticated",
    ),
}
"""Pages of the reference; a public name that is in none of them goes with the live objects."""

ELSEWHERE = {"presence": "client.presence.join"}
"""Of a name that is a module: what of it is public."""

HOME = """# nbreactive

A reactive database for notebooks: functions written in Python, results that follow the data, in every notebook, browser and
script at once.

* **[An hour with nbreactive](tutorial.md)**: from an empty notebook to something that a colleague uses with you.
* **How to**: one page for each thing that one may want to do.
* **Reference**: every public name, from its own documentation; limits; what Convex's clients find.
* **Explanation**: [the house](architecture.md), its parts and why they are as they are.
"""


def stage() -> None:
    """Write the pages as the site takes them."""
    shutil.rmtree(STAGE, ignore_errors=True)
    pages = STAGE / "docs"
    (pages / "api").mkdir(parents=True)
    (pages / "index.md").write_text(HOME, "utf-8")
    for source in [*DOCS.glob("*.md"), ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]:
        name = source.name.lower()
        (pages / name).write_text(staged(source), "utf-8")
    for picture in DOCS.glob("*.png"):
        shutil.copy(picture, pages / picture.name)
    sections: list[str] = []
    for title, (what, names) in api_pages().items():
        path = f"api/{title.lower().replace(' ', '-')}.md"
        (pages / path).write_text(
            f"# {title}\n\n{what}\n\n" + "\n".join(f"::: nbreactive.{ELSEWHERE.get(name, name)}\n" for name in names),
            "utf-8",
        )
        sections.append(f'    {{ "{title}" = "{path}" }},')
    (STAGE / "zensical.toml").write_text(CONFIG.format(nav=navigation(sections), root=ROOT.as_posix()), "utf-8")


def staged(source: Path) -> str:
    """Return a page as the site takes it."""
    parts = re.split(r"(^```.*?^```$)", source.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return "".join(_code(part) if part.startswith("```") else _prose(part, source) for part in parts)


def _code(block: str) -> str:
    return re.sub(r"\A(```\w+) +(\S+).*", _fence, block)


def _prose(text: str, source: Path) -> str:
    text = re.sub(r"<(table|tr|td|th)>", r'<\1 markdown="1">', text)
    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", lambda link: _link(link, source), text)


def _fence(fence: re.Match[str]) -> str:
    return f'{fence[1]} title="{fence[2]}"' if "." in fence[2] else fence[1]


def _link(link: re.Match[str], source: Path) -> str:
    mark, text, address = link.groups()
    path, _, anchor = address.partition("#")
    if "://" in address or not path:
        return link[0]
    found = (source.parent / path).resolve()
    if not found.exists():
        sys.exit(f"{source.name}: {address} does not exist")
    if found.parent == DOCS or found in (ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"):
        return (
            f"{mark}[{text}]({found.name.lower() if found.suffix == '.md' else found.name}{'#' * bool(anchor)}{anchor})"
        )
    return text  # a file of the repository, and no page


def api_pages() -> dict[str, tuple[str, list[str]]]:
    """Return title, first line and names of each page of the reference: all public names, each once."""
    sys.path.insert(0, str(ROOT))
    import nbreactive

    pages = {title: (what, names.split()) for title, (what, names) in API.items()}
    told = [name for _, names in pages.values() for name in names]
    missing = sorted({*nbreactive.__all__} - {*told, "__version__"})
    pages["Live objects and widgets"][1].extend(missing)
    return pages


def navigation(reference: list[str]) -> str:
    """Return the navigation; pages that are named nowhere are instructions."""
    named = {*TUTORIAL, *REFERENCE, *EXPLANATION}
    guides = sorted(page.name for page in DOCS.glob("*.md") if page.name not in named)

    def group(title: str, pages: list[str], more: list[str] | None = None) -> str:
        lines = [f'    {{ "{_title(page)}" = "{page}" }},' for page in pages] + (more or [])
        return f'  {{ "{title}" = [\n' + "\n".join(lines) + "\n  ] },"

    return "\n".join(
        [
            '  { "Home" = "index.md" },',
            group("Tutorial", TUTORIAL),
            group("How to", guides),
            group("Reference", REFERENCE, reference),
            group("Explanation", EXPLANATION),
        ]
    )


def _title(page: str) -> str:
    heading = re.search(r"^# (.+)$", (STAGE / "docs" / page).read_text("utf-8"), re.MULTILINE)
    return (heading[1] if heading else page).partition(":")[0].replace("`", "").replace('"', "'")


CONFIG = """
[project]
site_name = "nbreactive"
site_description = "A reactive database for notebooks"
docs_dir = "docs"
site_dir = "site"
use_directory_urls = false
nav = [
{nav}
]

[project.theme]
language = "en"
font = false
features = ["content.code.copy", "navigation.footer", "navigation.sections", "navigation.tabs", "navigation.top", "search.highlight"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Light"

[project.markdown_extensions]
attr_list = {{}}
md_in_html = {{}}
tables = {{}}
toc.permalink = true
pymdownx.highlight.pygments_lang_class = true
pymdownx.superfences = {{}}

[project.plugins.mkdocstrings.handlers.python]
paths = ["{root}"]

[project.plugins.mkdocstrings.handlers.python.options]
docstring_style = "numpy"
docstring_options = {{ warn_unknown_params = false, warn_missing_types = false }}
heading_level = 2
members_order = "source"
separate_signature = true
show_root_full_path = false
show_root_heading = true
show_root_toc_entry = true
show_signature_annotations = true
show_source = false
extensions = ["{root}/docs/docstrings.py"]
"""


_FETCHED = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
"""What a page fetches from another host by itself."""


def main(command: str = "serve") -> int:
    """Build or serve the site; any warning is an error."""
    stage()
    if command != "build":
        return subprocess.run([sys.executable, "-m", "zensical", "serve"], cwd=STAGE, check=False).returncode
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=STAGE, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    complaints = [line for line in said.splitlines() if line.startswith("griffe:")]  # which are no warnings to zensical
    outside = sorted(
        {address for page in SITE.rglob("*.html") for address in _FETCHED.findall(page.read_text("utf-8"))}
    )
    if done.returncode or complaints or outside:
        print(said, *(f"asks another host: {address}" for address in outside), sep="\n")
        return 1
    print(f"{SITE.relative_to(ROOT)}: {len(list(SITE.rglob('*.html')))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
