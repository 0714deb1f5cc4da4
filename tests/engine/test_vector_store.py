"""Vector indexes on disk: what is found at any timestamp, whatever has happened to the files, against plain Python."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nbreactive.engine._vector_files import FOREVER, VectorFile, VectorFilesError, paths
from nbreactive.engine._vector_search import nearest
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite, VectorState
from nbreactive.engine.vector_store import fill
from nbreactive.engine.vector_values import VectorRow, filter_code, normalised
from nbreactive.errors import ReadOnly
from nbreactive.values.packing import pack
from tests.engine.vector_model import Row, agree, exact

TABLE, INDEX = 10_001, 10_001 << 16 | 2
DIMENSIONS = 3
VECTORS = st.lists(st.integers(-3, 3).map(float), min_size=DIMENSIONS, max_size=DIMENSIONS).filter(any)
IDS = st.integers(0, 12).map(lambda n: bytes([n]) * 8 + bytes([n % 3]) * 8)  # the half that is sorted by is not unique
CODES = st.sampled_from([filter_code("ko"), filter_code("ja")])


def begun(complete: bool = True) -> dict[int, VectorState]:
    return {INDEX: VectorState(DIMENSIONS, 1, complete, new=True)}


def completed() -> dict[int, VectorState]:
    return {INDEX: VectorState(DIMENSIONS, 1, complete=True)}


def commit(ts: int, *writes: tuple[bytes, list[float] | None, bytes], **more: object) -> Applied:
    rows = [
        RowWrite(
            TABLE,
            id,
            pack({"e": vector}) if vector is not None else None,
            vectors=[VectorRow(INDEX, (normalised(vector, DIMENSIONS) or b"") if vector else b"", code)],
        )
        for id, vector, code in writes
    ]
    return Applied(ts, rows, **more)  # type: ignore[arg-type]


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.index = RowIndex.open(Path(self.folder.name), map_size=1 << 26)
        self.index.trust()
        self.ts = 0
        self.states: dict[int, dict[bytes, tuple[list[float], bytes]]] = {0: {}}

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.write([commit(self.next(), vectors=begun())])

    def next(self) -> int:
        self.ts += 1
        return self.ts

    def write(self, batch: list[Applied]) -> None:
        self.index.apply(batch)

    @rule(
        writes=st.lists(
            st.lists(st.tuples(IDS, st.none() | VECTORS, CODES), max_size=5, unique_by=lambda w: w[0]), max_size=4
        )
    )
    def apply(self, writes: list[list[tuple[bytes, list[float] | None, bytes]]]) -> None:
        batch: list[Applied] = []
        for several in writes:
            state = dict(self.states[max(self.states)])
            for id, vector, code in several:
                state.pop(id, None)
                if vector is not None:
                    state[id] = vector, code
            batch.append(commit(self.next(), *several))
            self.states[self.ts] = state
        if batch:
            self.write(batch)

    @rule(back=st.integers(0, 6))
    def rewind(self, back: int) -> None:
        to = sorted(self.states)[max(0, len(self.states) - 1 - back)]
        if to == 0:
            return
        self.index.rewind(to)
        self.states = {ts: state for ts, state in self.states.items() if ts <= to}

    @rule()
    def restart(self) -> None:
        self.index.close()
        self.index = RowIndex.open(Path(self.folder.name), map_size=1 << 26)

    @precondition(lambda self: len(self.states) > 1)
    @rule(writes=st.lists(st.tuples(IDS, st.none() | VECTORS, CODES), max_size=5, unique_by=lambda w: w[0]))
    def die_before_the_commit(self, writes: list[tuple[bytes, list[float] | None, bytes]]) -> None:
        """The files have a commit, the row index has not."""
        self.index.vectors.apply([commit(self.ts + 1, *writes)])
        self.index.close()
        self.index = RowIndex.open(Path(self.folder.name), map_size=1 << 26)

    @invariant()
    def searches_are_exact(self) -> None:
        with self.index.reader() as reader:
            view = reader.vectors(INDEX)
            if view is None:
                assert max(self.states) <= 1
                return
            for ts in sorted(self.states)[-4:]:
                rows = [Row(id, vector, {"code": code}) for id, (vector, code) in self.states[ts].items()]
                for query in ([1.0, 0.0, 0.0], [-1.0, 2.0, 3.0]):
                    wanted = normalised(query, DIMENSIONS)
                    assert wanted is not None
                    for limit in (1, 4, 20):
                        assert agree(nearest(view, wanted, limit, ts, []), rows, query, limit)
                        code = filter_code("ko")
                        found = nearest(view, wanted, limit, ts, [(0, code)])
                        assert agree(found, rows, query, limit, code=code)
                        hidden = set(list(self.states[ts])[:3])
                        left = [row for row in rows if row.id not in hidden]
                        assert agree(nearest(view, wanted, limit, ts, [], hidden), left, query, limit)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.fixture
def index(tmp_path: Path):
    index = RowIndex.open(tmp_path / "index", map_size=1 << 26)
    index.trust()
    yield index
    index.close()


def id_of(n: int) -> bytes:
    return n.to_bytes(16, "big")


def found(index: RowIndex, query: list[float], limit: int, ts: int) -> list[int]:
    wanted = normalised(query, DIMENSIONS)
    assert wanted is not None
    with index.reader() as reader:
        view = reader.vectors(INDEX)
        assert view is not None
        return [int.from_bytes(id, "big") for _, id in nearest(view, wanted, limit, ts, [])]


def test_many_rows_among_which_few_are_nearest(index: RowIndex) -> None:
    index.apply([commit(1, vectors=begun())])
    vectors = [[float(n % 17 - 8), float(n % 29 - 14), float(n % 5 + 1)] for n in range(5000)]
    for start in range(0, 5000, 1000):
        batch = [(id_of(n), vectors[n], b"12345678") for n in range(start, start + 1000)]
        index.apply([commit(2 + start, *batch)])
    query = [2.0, -3.0, 1.0]
    expected = exact([Row(n, vector, {}) for n, vector in enumerate(vectors)], query, 10)
    assert found(index, query, 10, 5000) == [n for _, n in expected]
    # Few of them are visible at an early timestamp
    expected = exact([Row(n, vector, {}) for n, vector in enumerate(vectors[:1000])], query, 10)
    assert found(index, query, 10, 2) == [n for _, n in expected]


def test_equal_scores_are_ordered_by_id(index: RowIndex) -> None:
    writes = [(id_of(n), [float(n), float(n), 0.0], b"12345678") for n in range(1, 100)]
    index.apply([commit(1, vectors=begun()), commit(2, *writes)])
    assert found(index, [1.0, 1.0, 0.0], 10, 2) == list(range(1, 11))


def test_a_document_is_put_into_an_index_that_is_made_anew_once(index: RowIndex) -> None:
    index.apply([commit(1, vectors=begun(complete=False)), commit(5, (id_of(1), [1.0, 0.0, 0.0], b"12345678"))])
    file = index.vectors.file(INDEX)
    assert file is not None
    assert not file.note.complete
    for n, vector in ((1, [9.0, 9.0, 9.0]), (2, [0.0, 1.0, 0.0])):
        fill(file, id_of(n), VectorRow(INDEX, normalised(vector, 3) or b"", b"12345678"), version=3)
    file.flush()
    index.note_vectors()
    assert file.live == 2
    index.apply([commit(6, vectors=completed())])
    assert found(index, [1.0, 0.0, 0.0], 1, 6) == [1]
    assert found(index, [0.0, 1.0, 0.0], 9, 6) == [2, 1]
    with index.reader() as reader:
        view = reader.vectors(INDEX)
        assert view is not None
        assert view.note.since == 6


def test_an_index_that_was_complete_later_than_what_is_left_is_not_complete(index: RowIndex) -> None:
    index.apply([commit(1, vectors=begun(complete=False)), commit(2, (id_of(1), [1.0, 0.0, 0.0], b"12345678"))])
    index.apply([commit(3, vectors=completed())])
    index.rewind(2)
    with index.reader() as reader:
        view = reader.vectors(INDEX)
    assert view is not None
    assert view.note.since == FOREVER
    assert view.note.rows == 1


def test_an_index_whose_files_are_gone_is_not_complete_when_its_backfill_ends(index: RowIndex) -> None:
    index.apply([commit(1, vectors=begun(complete=False)), commit(2, (id_of(1), [1.0, 0.0, 0.0], b"12345678"))])
    index.vectors.drop(INDEX)
    index.apply([commit(3, vectors=completed())])
    with index.reader() as reader:
        view = reader.vectors(INDEX)
    assert view is not None
    assert view.note.since == FOREVER


def test_an_index_that_never_was_leaves_nothing(index: RowIndex) -> None:
    index.apply([commit(1), commit(2, (id_of(1), [1.0, 0.0, 0.0], b"12345678"), vectors=begun())])
    folder = index.vectors.folder
    assert list(folder.iterdir())
    index.rewind(1)
    with index.reader() as reader:
        assert reader.vectors(INDEX) is None
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "damage", ["rows gone", "vectors gone", "rows short", "vectors short", "another index's", "rows empty"]
)
def test_damaged_files_are_noticed_and_forgotten(tmp_path: Path, damage: str) -> None:
    index = RowIndex.open(tmp_path / "index", map_size=1 << 26)
    index.trust()
    writes = [(id_of(n), [float(n + 1), 1.0, 0.0], b"12345678") for n in range(2000)]
    index.apply([commit(1, vectors=begun()), commit(2, *writes)])
    note = index.vectors.notes[INDEX]
    index.close()
    rows, vectors = paths(tmp_path / "index" / "vectors", INDEX, note.token)
    if damage.endswith("gone"):
        (rows if damage.startswith("rows") else vectors).unlink()
    elif damage.endswith("short"):
        os.truncate(rows if damage.startswith("rows") else vectors, 30_000 if damage.startswith("rows") else 20_000)
    elif damage == "rows empty":
        rows.write_bytes(b"")
    else:
        data = bytearray(rows.read_bytes())
        data[8:12] = (INDEX + 1).to_bytes(4, "little")
        rows.write_bytes(data)
    index = RowIndex.open(tmp_path / "index", map_size=1 << 26, readonly=True)
    with index.reader() as reader, pytest.raises(VectorFilesError):
        reader.vectors(INDEX)
    index.close()
    index = RowIndex.open(tmp_path / "index", map_size=1 << 26)
    with index.reader() as reader:
        assert reader.vectors(INDEX) is None
        assert reader.document(TABLE, id_of(7), 2) is not None
    assert not list((tmp_path / "index" / "vectors").iterdir())
    index.close()


def test_changed_bytes_are_found(index: RowIndex) -> None:
    writes = [(id_of(n), [float(n + 1), 1.0, 0.0], b"12345678") for n in range(100)]
    index.apply([commit(1, vectors=begun()), commit(2, *writes)])
    file = index.vectors.file(INDEX)
    assert file is not None
    assert not file.damage(0, 100)
    with paths(index.vectors.folder, INDEX, file.note.token)[1].open("r+b") as vectors:
        vectors.seek(50 * 12 + 3)
        vectors.write(b"\x11")
    assert file.damage(0, 100)
    assert not file.damage(51, 100)


def test_a_full_disk_changes_nothing(index: RowIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    index.apply([commit(1, vectors=begun()), commit(2, (id_of(1), [1.0, 0.0, 0.0], b"12345678"))])

    def flush(self: VectorFile) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(VectorFile, "flush", flush)
        with pytest.raises(ReadOnly, match="No space left"):
            index.apply([commit(3, (id_of(1), None, b""), (id_of(2), [0.0, 1.0, 0.0], b"12345678"))])
    assert index.applied == 2
    assert found(index, [0.0, 1.0, 0.0], 9, 3) == [1]
    index.apply([commit(4, (id_of(2), [0.0, 1.0, 0.0], b"12345678"))])
    assert found(index, [0.0, 1.0, 0.0], 9, 4) == [2, 1]


def test_a_reader_goes_on_with_what_it_has_mapped(index: RowIndex) -> None:
    index.apply([commit(1, vectors=begun()), commit(2, (id_of(1), [1.0, 0.0, 0.0], b"12345678"))])
    wanted = normalised([1.0, 0.0, 0.0], 3)
    assert wanted is not None
    with index.reader() as reader:
        old = reader.vectors(INDEX)
        assert old is not None
        writes = [(id_of(n), [1.0, 0.0, 0.0], b"12345678") for n in range(5000)]
        index.apply([commit(3, *writes)])
        assert nearest(old, wanted, 5, 2, []) == [(1.0, id_of(1))]
        reader.renew()
        new = reader.vectors(INDEX)
        assert new is not None
        assert new.map is not old.map
        assert len(nearest(new, wanted, 5, 3, [])) == 5
        assert nearest(new, wanted, 5, 2, []) == [(1.0, id_of(1))]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**53), 2**53), min_size=2, max_size=5))
@example([5e-324, 5e-324])
@example([1e308, 1e308])
@example([0.0, -0.0])
def test_normalised_vectors_have_length_one(vector: list[float]) -> None:
    import math
    from array import array

    data = normalised(vector, len(vector))
    if data is None:
        assert not all(map(math.isfinite, vector)) or not any(vector)
    else:
        assert abs(math.hypot(*array("f", data)) - 1) < 1e-6


@pytest.mark.parametrize(
    "value", [None, "abc", [1.0], [1.0, "a"], [1.0, True], [0.0, 0.0], {"a": 1}, [1.0, 2.0, 3.0], [1e999, 1.0]]
)
def test_what_is_no_vector_of_that_size(value: object) -> None:
    assert normalised(value, 2) is None
