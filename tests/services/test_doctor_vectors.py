"""The doctor compares vector indexes with the documents."""

from __future__ import annotations

import random
from pathlib import Path

from nbreactive.services.doctor import examine_folder
from tests.cli.test_backup import nbreactive
from tests.crash.test_vectors import MODULE, check, churn
from tests.served import KEY, Served
from tests.services.test_doctor import flip


def test_vectors_that_are_not_those_of_the_documents_are_found(tmp_path: Path) -> None:
    choose = random.Random(31)
    with Served(tmp_path, {"m": MODULE}) as backend:
        for _ in range(3):
            assert churn(backend, choose, adds=60, changes=20, drops=10)
        assert nbreactive("doctor", backend.data, "--admin-key", KEY, "--json")["healthy"]
        check(backend, choose)
    assert examine_folder(backend.data).healthy
    (rows, vectors) = sorted((backend.data / "index" / "vectors").iterdir())
    for row in range(100):  # some of them are not those of documents any more
        flip(vectors, row * 24 + 2)
    report = examine_folder(backend.data)
    assert [problem.part for problem in report.problems] == ["index"]
    assert "the vectors of 'docs'.near are not those of its documents" in report.problems[0].what
    rows.rename(tmp_path / "rows")
    assert "the vectors of 'docs'.near cannot be read" in examine_folder(backend.data).problems[0].what
    with backend:
        check(backend, choose)
    assert examine_folder(backend.data).healthy
