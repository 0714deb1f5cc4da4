"""Saved outputs without a kernel: how soon they are live on a page just opened, and how soon somebody else's change shows."""

from __future__ import annotations

from tests.e2e.people import Person, write_notebook

from .browser import notebook_in_a_browser
from .figures import Figure
from .floors import percentile

MANY = 20
SETUP = "%load_ext nbreactive\nimport time\nfrom IPython.display import display\nfrom nbreactive import api"
MODULE = """%%reactive deploy bench
from nbreactive import query, mutation

@query
def notes(ctx, limit: int):
    return ctx.db.query("bench").order("desc").take(limit)

@mutation
def add(ctx, body: str):
    ctx.db.insert("bench", {"body": body, "author": "Ada", "likes": 3})
"""
FILL = "for n in range(100): api.bench.add(body=f'a note of usual length, as people write them: {n}')"
SHOW = f"for n in range({MANY}): display(api.bench.notes.live(limit=30 + n))"
CHANGES = """
for n in range({many}):
    api.bench.add(body=f'change {{n}} sent {{time.time() * 1000}}')
    time.sleep(0.25)
"""
# For each output: when it came into the page, when it was live, and how long after it was sent it showed each change; the
# last two as of the moment after the frame.
WATCH = """
window.watched = new Map();
const now = () => performance.timeOrigin + performance.now();
const afterFrame = work => requestAnimationFrame(() => setTimeout(() => work(now())));
const tablesOf = ({ target, addedNodes }) => {
    const table = target.parentElement?.closest('.nbr-live');
    return table ? [table] : [target, ...addedNodes].flatMap(node => [...(node.querySelectorAll?.('.nbr-live') ?? [])]);
};
new MutationObserver(records => {
    for (const table of new Set(records.flatMap(tablesOf))) {
        if (!window.watched.has(table)) {
            window.watched.set(table, { begun: now(), live: 0, delays: {} });
        }
        const seen = window.watched.get(table);
        if (table.dataset.status === 'live' && seen.live === 0) {
            seen.live = NaN;
            afterFrame(at => { seen.live = at; });
        }
        const first = table.querySelector('.nbr-grid-layer')?.firstElementChild?.textContent ?? '';
        for (const [, n, sent] of first.matchAll(/change (\\d+) sent (\\d{13}\\.\\d+)/g)) {
            if (!(n in seen.delays)) {
                seen.delays[n] = NaN;
                afterFrame(at => { seen.delays[n] = at - Number(sent); });
            }
        }
    }
}).observe(document, { childList: true, subtree: true, attributes: true, characterData: true });
"""
LIVE = f"""() => {{
    const shown = [...window.watched].filter(([table]) => table.isConnected);
    return shown.length === {MANY} && shown.every(([, {{ live }}]) => live > 0);
}}"""
TOLD = "many => [...window.watched].filter(([, { delays }]) => delays[many - 1] > 0).length === " + str(MANY)
SEEN = "() => [...window.watched.values()]"


def outputs_in_a_browser(*, quick: bool) -> list[Figure]:
    """Save a notebook of twenty live outputs, end its kernel, open it again, have it changed by somebody else."""
    many = 20 if quick else 100
    with notebook_in_a_browser(SETUP, MODULE, FILL, SHOW) as (alice, lab):
        alice.run_all()
        live = f"() => document.querySelectorAll('.nbr-live[data-status=live]').length === {MANY}"
        alice.page.wait_for_function(live, timeout=60_000)
        alice.save()
        for kernel in lab.request("GET", "api/kernels", token="alice-token").json():
            lab.request("DELETE", f"api/kernels/{kernel['id']}", token="alice-token")
        saved = (lab.root / "notebook.ipynb").read_text()
        (lab.root / "saved.ipynb").write_text(saved.replace('"kernelspec"', '"no_kernelspec"'))
        write_notebook(lab.root / "writer.ipynb", SETUP, CHANGES.format(many=many))

        assert alice.context.browser is not None
        bob = Person("Bob", alice.context.browser.new_context(viewport={"width": 1280, "height": 1400}), lab)
        bob.page.add_init_script(WATCH)
        opened: list[float] = []
        for _ in range(3 if quick else 7):
            bob.look_at("saved.ipynb")
            bob.page.wait_for_function(LIVE, timeout=60_000)
            opened += [seen["live"] - seen["begun"] for seen in bob.page.evaluate(SEEN)]

        alice.open("writer.ipynb")
        alice.start_cell(0)
        alice.start_cell(1)
        bob.page.wait_for_function(TOLD, arg=many, timeout=180_000)
        delays = [delay for seen in bob.page.evaluate(SEEN) for delay in seen["delays"].values()]
    assert len(delays) == MANY * many
    return [
        Figure(
            "outputs", f"{MANY} saved outputs: from a page's output to live, p95", percentile(opened, 0.95), "ms", 1000
        ),
        Figure("outputs", f"{MANY} outputs: from a change to its frame, median", percentile(delays, 0.5), "ms", 50),
        Figure("outputs", f"{MANY} outputs: from a change to its frame, p95", percentile(delays, 0.95), "ms", 100),
    ]
