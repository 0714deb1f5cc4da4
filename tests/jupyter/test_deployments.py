"""Several deployments in one Jupyter server: one backend, separate data, functions, variables and modes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.jupyter.servers import JupyterProcess
from tests.jupyter.test_two_servers import DEPLOY, Kernel

CONFIG = """
c.NBReactiveApp.deployments = {"staging": "dev", "production": "prod"}
c.NBReactiveApp.limits = {"documents_written": 3}
"""
WRONG = """
try:
    api.notes.wrong()
except Exception as error:
    print("TOLD", "a detail" in str(error), error)
"""


@pytest.mark.slow
def test_a_notebook_works_with_each_of_them(tmp_path: Path) -> None:
    with JupyterProcess(tmp_path, CONFIG, people=False) as server:
        health = server.request("GET", "nbreactive/api/health").json()
        assert health["deployments"] == ["default", "staging", "production"] and health["deployment"] == "default"
        assert server.request("GET", "nbreactive/staging/api/health").json()["deployment"] == "staging"
        assert server.request("GET", "nbreactive/nothing/api/health").status == 404
        assert server.request("GET", "nbreactive/nothing/api/admin/status").status == 404

        kernel = Kernel(server)
        assert "deployment default on your server · data .nbreactive/" in kernel.run("%load_ext nbreactive")
        kernel.run("from nbreactive import api")
        wrong = "@query\ndef wrong(ctx):\n    raise ValueError('a detail')\n"
        for name in ("default", "staging", "production"):
            said = kernel.run(f"%reactive connect --deployment {name}")
            suffix = "" if name == "default" else f"-{name}"
            assert f"deployment {name} on your server · data .nbreactive{suffix}/ · shared with nobody" in said
            kernel.run(DEPLOY + wrong)
            kernel.run(f"api.notes.add(text='in {name}')")
            assert kernel.run("print(api.notes.texts())").strip() == f"['in {name}']"
            assert f"TOLD {name != 'production'} " in kernel.run(WRONG)
            assert f"deployment {name} on" in kernel.run("%reactive status")
        kernel.run("%reactive env set ONLY_HERE=1")
        assert "ONLY_HERE (1 character)" in kernel.run("%reactive env")
        kernel.run("%reactive connect --deployment staging")
        assert "no environment variables" in kernel.run("%reactive env")
        refused = kernel.run(
            "try:\n    get_ipython().run_line_magic('reactive', 'connect --deployment nothing')\nexcept Exception as e: print(e)"
        )
        assert "has no deployment 'nothing'; it has: default, staging, production" in refused
        kernel.run(
            "%%reactive deploy many\nfrom nbreactive import mutation\n@mutation\ndef go(ctx):\n    for n in range(4): ctx.db.insert('t', {})\n"
        )
        limited = kernel.run("try:\n    api.many.go()\nexcept Exception as e: print(e)")
        assert "4 documents written by one call, at most 3 are allowed" in limited
        kernel.close()

        query = json.dumps({"path": "notes:texts", "args": {}}).encode()
        headers = {"Content-Type": "application/json"}
        for address, text in (("", "default"), ("default/", "default"), ("production/", "production")):
            answer = server.request("POST", f"nbreactive/{address}api/query", query, headers=headers).json()
            assert answer == {"status": "success", "value": [f"in {text}"]}
        folders = {path.name for path in server.root.iterdir()}
        assert folders >= {".nbreactive", ".nbreactive-staging", ".nbreactive-production"}


@pytest.mark.slow
def test_a_kernel_may_be_told_its_deployment_beforehand(tmp_path: Path) -> None:
    with JupyterProcess(tmp_path, CONFIG, people=False) as server:
        server.environment["NBREACTIVE_DEPLOYMENT"] = "staging"
        kernel = Kernel(server)
        assert "deployment staging on your server" in kernel.run("%load_ext nbreactive")
        kernel.close()
