from __future__ import annotations

from typing import Any

import pytest

from nbreactive.engine.catalog import CREATION_TIME, SCHEDULED, Catalog
from nbreactive.engine.prepare import check_writes
from nbreactive.engine.scheduled import BY_STATE, PENDING, finished, job_document, job_problem, shortened
from nbreactive.engine.transactions import Write
from nbreactive.errors import InvalidValue, LimitExceeded
from nbreactive.values.keys import encode_key
from nbreactive.values.limits import SCHEDULED_ARGS, SCHEDULED_TEXT
from nbreactive.values.packing import pack

JOB = job_document("m:f", {"n": [1, {"b": b"x"}]}, 1000.5, 2000.0)
ID = bytes(16)


def test_a_job_is_found_by_its_state_and_its_time() -> None:
    table = Catalog().number(SCHEDULED)
    assert table is not None and table.name == "_scheduled_functions"
    keys = dict(table.entries(JOB, ID).keys)
    assert keys[BY_STATE] == PENDING + encode_key(1000.5) + encode_key(2000.0) + ID


def test_workers_add_pending_jobs_and_cancel_them() -> None:
    canceled = finished(JOB, "canceled", 3000)
    assert job_problem(JOB, new=True) == ""
    assert job_problem(canceled, new=True) == ""
    assert job_problem(canceled, new=False) == ""
    assert canceled["completedTime"] == 3000.0


@pytest.mark.parametrize(
    "forged",
    [
        5,
        {},
        finished(JOB, "success", 3000),
        finished(JOB, "failed", 3000, "x"),
        JOB | {"state": {"kind": "inProgress"}},
        JOB | {"state": {"kind": "pending", "error": "x"}},
        JOB | {"state": {"kind": "canceled"}},
        JOB | {"completedTime": 1.0},
        finished(JOB, "canceled", float("inf")),
        JOB | {"scheduledTime": float("nan")},
        JOB | {"scheduledTime": "soon"},
        JOB | {"name": "m:" + "f" * 300},
        JOB | {"args": []},
        JOB | {"args": [{}, {}]},
        JOB | {"args": [[]]},
        JOB | {"more": 1},
        {name: value for name, value in JOB.items() if name != CREATION_TIME},
    ],
)
def test_everything_else_that_a_worker_may_send_is_refused(forged: Any) -> None:
    assert job_problem(forged, new=True)
    with pytest.raises(InvalidValue, match="malformed scheduled function"):
        check_writes([Write(SCHEDULED, ID, pack(forged))], Catalog(), "internal")


def test_a_worker_cannot_delete_or_revive_a_job_and_the_backend_can() -> None:
    for doc in (None, pack(JOB)):
        with pytest.raises(InvalidValue, match="malformed scheduled function"):
            check_writes([Write(SCHEDULED, ID, doc, 7)], Catalog(), "public")
        check_writes([Write(SCHEDULED, ID, doc, 7)], Catalog(), "system")


def test_arguments_of_jobs_have_limits_of_their_own() -> None:
    def writes(count: int, size: int) -> list[Write]:
        packed = pack(job_document("m:f", {"text": "x" * size}, 0, 0))
        return [Write(SCHEDULED, number.to_bytes(16, "big"), packed) for number in range(count)]

    check_writes(writes(4, SCHEDULED_ARGS), Catalog(), "public")
    with pytest.raises(LimitExceeded, match="arguments of a scheduled function"):
        check_writes(writes(1, 2 * SCHEDULED_ARGS), Catalog(), "public")
    with pytest.raises(LimitExceeded, match="bytes of scheduled functions"):
        check_writes(writes(9, SCHEDULED_ARGS), Catalog(), "public")
    check_writes(writes(9, SCHEDULED_ARGS), Catalog(), "system", None)


def test_long_texts_are_cut() -> None:
    assert shortened("x" * SCHEDULED_TEXT) == "x" * SCHEDULED_TEXT
    cut = shortened("x" * (SCHEDULED_TEXT + 1))
    assert len(cut) == SCHEDULED_TEXT and cut.endswith("...")
