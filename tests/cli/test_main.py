"""What is said when the system refuses, or the other side dies: a sentence, never a traceback."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_backup import NOTES
from tests.served import KEY, ROOT, Served

_LIMITED = """
import resource, sys
from nbreactive.cli.main import main

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


def limited(largest: int, *arguments: object) -> str:
    """Run a command that can make no larger file, as on a full disk; returns what it says of its failure."""
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(largest), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the size of files")
def test_a_full_disk_is_said_in_a_sentence_and_leaves_no_drafts(tmp_path: Path) -> None:
    with Served(tmp_path, {"notes": NOTES}) as backend:
        for n in range(40):
            backend.call("mutation", "notes:write", n=n, text=random.Random(n).randbytes(1000).hex())
        for largest in (0, 20_000):
            assert "disk is full" in limited(largest, "backup", backend.url, tmp_path / "b", "--admin-key", KEY)
            assert "disk is full" in limited(
                largest, "export", tmp_path / "e.zip", "--at", backend.url, "--admin-key", KEY
            )
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "b").exists() and not (tmp_path / "e.zip").exists()
    assert "cannot be opened" in limited(10, "serve", "--data", backend.data, "--port", "0")
    with backend:
        assert len(backend.call("query", "notes:everything")) == 40


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_backend_that_dies_while_it_is_backed_up_is_said_in_a_sentence(tmp_path: Path) -> None:
    with Served(tmp_path, {"notes": NOTES}) as backend:
        for n in range(12):  # more than what is on its way at any moment
            backend.call("mutation", "notes:write", n=n, text=random.Random(n).randbytes(400_000).hex())
        target = tmp_path / "there" / "b"
        target.parent.mkdir()
        command = [sys.executable, "-m", "nbreactive", "backup", backend.url, str(target), "--admin-key", KEY]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as client:
            while not list(target.parent.glob("*.part")):
                assert client.poll() is None
            client.send_signal(signal.SIGSTOP)  # stopped, so that it does not come to the end before
            backend.kill()
            client.send_signal(signal.SIGCONT)
            _, said = client.communicate(timeout=60)
    assert client.returncode == 1
    assert "the backend's answer was cut short" in said and "Traceback" not in said
    assert list(target.parent.iterdir()) == []
