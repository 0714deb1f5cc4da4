from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from nbreactive.engine import _row_changes, _trust
from nbreactive.engine._trust import believed
from nbreactive.engine.catalog import index_id
from nbreactive.engine.entries import Request
from nbreactive.engine.row_index import Applied, RowIndex, RowWrite
from nbreactive.errors import DataFolderError, InvalidValue, ReadOnly
from tests.engine.row_model import RowModel

TABLE = 10_001
BY_ID, BY_CREATION, BY_TEXT = (index_id(TABLE, slot) for slot in range(3))
COUNTER = BY_TEXT.to_bytes(4, "big")
IDS = [bytes([0, number]) * 8 for number in range(6)]
LONG = b"L" * 390
TEXTS = [b"a", b"b", b"bb", LONG, LONG + b"0123456789", LONG + b"0123456789a", LONG + b"0123456789" + b"z" * 90]
TEXTS += [b"x" * 383, b"x" * 384, b"x" * 385, b"x" * 386]  # around the place where keys begin to be cut


def text_key(text: bytes, id: bytes) -> bytes:
    return text + b"\0" + id


def bounds() -> st.SearchStrategy[bytes]:
    keys = st.builds(text_key, st.sampled_from(TEXTS), st.sampled_from(IDS))
    return st.sampled_from(TEXTS) | keys | keys.map(lambda key: key + b"\0") | st.just(b"")


class Machine(RuleBasedStateMachine):
    """Anything, in any order, against the model."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.index = RowIndex.open(self.folder)
        self.index.trust()
        self.model = RowModel()
        self.horizon = 0
        self.highest = 0
        self.held = None
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(_row_changes, "_RECORD_KEYS", 2)  # so that most commits have several records in the journal

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
        if hasattr(self, "index"):
            self.index.close()
            shutil.rmtree(self.folder)

    def commit(
        self, ts: int, changes: list[tuple[bytes, bytes | None]], live: dict[bytes, tuple[bytes, int]]
    ) -> Applied:
        writes: list[RowWrite] = []
        for id, text in changes:
            before = live.pop(id, None)
            if before is None and text is None:
                continue
            old = {(BY_TEXT, text_key(before[0], id)), (BY_CREATION, b"c" + id)} if before else set()
            new = {(BY_TEXT, text_key(text, id)), (BY_CREATION, b"c" + id)} if text is not None else set()
            counts = [(COUNTER + before[0], -1)] if before else []
            if text is not None:
                counts.append((COUNTER + text, 1))
                live[id] = (text, ts)
            counts.append((COUNTER, len(new) - len(old)))
            puts, dels = sorted(new - old), sorted(old - new)
            writes.append(RowWrite(TABLE, id, text, before[1] if before else 0, puts, dels, counts))
        return Applied(ts, writes, Request(IDS[0], IDS[1], ts, b"%d" % ts) if ts % 3 else None)

    @rule(
        batch=st.lists(
            st.dictionaries(st.sampled_from(IDS), st.none() | st.sampled_from(TEXTS), min_size=1),
            min_size=1,
            max_size=4,
        ),
        gap=st.integers(1, 5),
    )
    def apply(self, batch: list[dict[bytes, bytes | None]], gap: int) -> None:
        ts = self.highest
        live = {id: found for id in IDS if (found := self.model.document(TABLE, id, ts + 1)) is not None}
        commits: list[Applied] = []
        for changes in batch:
            ts += gap
            commits.append(self.commit(ts, list(changes.items()), live))
        self.index.apply(commits, log_position=ts)
        self.model.apply(commits)
        self.highest = ts

    @rule(times=st.integers(9, 30))
    def make_many_versions(self, times: int) -> None:
        for number in range(times):
            self.apply([{IDS[2]: TEXTS[0], IDS[4]: TEXTS[number % 2]}], 1)

    @rule(back=st.integers(0, 8))
    def rewind(self, back: int) -> None:
        to = max(self.horizon, self.model.applied - back)
        self.index.rewind(to)
        self.model.rewind(to)

    @rule(back=st.integers(0, 20), limit=st.integers(1, 30))
    def collect(self, back: int, limit: int) -> None:
        self.held = None
        before = self.index.horizon
        self.index.collect(self.model.applied - back, limit)
        self.horizon = self.index.horizon
        assert before <= self.horizon <= max(before, self.model.applied - back)

    @rule()
    def collect_all(self) -> None:
        self.held = None
        while self.index.collect(self.model.applied, 10) >= 10:
            pass
        self.horizon = self.index.horizon
        with self.index.reader() as reader:  # exactly what lives is left
            live = sum(1 for _ in reader.scan(BY_ID, b"", None, self.highest))
        with self.index._env.begin() as txn:
            assert txn.stat(self.index._dbs.documents)["entries"] == live
            assert txn.stat(self.index._dbs.entries)["entries"] == 2 * live
            assert txn.stat(self.index._dbs.journal)["entries"] == 0

    @rule()
    def reopen(self) -> None:
        self.held = None
        self.index.close()
        self.index = RowIndex.open(self.folder)
        assert self.index.trusted

    @precondition(lambda self: self.horizon <= self.model.applied)
    @rule(low=bounds(), high=bounds(), reverse=st.booleans(), ago=st.integers(0, 25))
    def read(self, low: bytes, high: bytes, reverse: bool, ago: int) -> None:
        ts = max(self.horizon, self.model.applied - ago)
        with self.index.reader() as reader:
            for index in (BY_ID, BY_CREATION, BY_TEXT):
                assert list(reader.scan(index, low, high, ts, reverse)) == self.model.scan(
                    index, low, high, ts, reverse
                )
            for key, id, doc, version in reader.scan_documents(BY_TEXT, low, high, ts, reverse):
                assert key == text_key(doc, id)
                assert self.model.document(TABLE, id, ts) == (doc, version)
            for id in IDS:
                assert reader.document(TABLE, id, ts) == self.model.document(TABLE, id, ts)
                assert reader.document(TABLE + 1, id, ts) is None
            for text in (b"", *TEXTS):
                assert reader.count(COUNTER + text, ts) == self.model.count(COUNTER + text, ts)

    @rule()
    def hold_a_reader(self) -> None:
        ts = self.model.applied
        self.held = (self.index.reader(), ts, self.model.scan(BY_TEXT, b"", None, ts, False))

    @precondition(lambda self: self.held is not None)
    @rule()
    def read_from_the_past(self) -> None:
        reader, ts, rows = self.held
        assert list(reader.scan(BY_TEXT, b"", None, ts)) == rows

    @invariant()
    def numbers_agree(self) -> None:
        if hasattr(self, "index"):
            assert self.index.applied == self.model.applied
            assert self.index.highest == self.highest
            assert self.index.epoch == self.model.epoch
            for ts in range(max(1, self.highest - 3), self.highest + 1):
                found = self.index.request(IDS[0], IDS[1], ts)
                assert found == self.model.requests.get((IDS[0], IDS[1], ts))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def insert(ts: int, number: int, request: Request | None = None) -> Applied:
    id = number.to_bytes(16, "big")
    return Applied(
        ts, [RowWrite(TABLE, id, b"doc %d" % number, 0, [(BY_CREATION, b"c" + id)], (), [(COUNTER, 1)])], request
    )


def test_a_fresh_index_is_not_trusted_and_a_closed_one_is(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    assert not index.trusted
    index.apply([insert(3, 3)])
    index.close()
    index = RowIndex.open(tmp_path)
    assert not index.trusted
    index.trust()
    assert index.trusted
    assert (index.applied, index.epoch, index.horizon, index.log_position) == (0, 0, 0, 0)
    index.apply([insert(5, 1)], log_position=7)
    index.close()
    index.close()
    index = RowIndex.open(tmp_path)
    assert index.trusted
    assert (index.applied, index.log_position) == (5, 7)
    index.close()


def test_after_a_power_cut_an_open_index_is_empty_and_a_closed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = RowIndex.open(tmp_path)
    index.trust()
    index.apply([insert(5, 1)])
    index.close()
    monkeypatch.setattr(_trust, "boot_id", lambda: "another boot")
    index = RowIndex.open(tmp_path)
    assert index.applied == 5
    index._env.close()  # not closed in order
    monkeypatch.setattr(_trust, "boot_id", lambda: "a third boot")
    index = RowIndex.open(tmp_path)
    assert not index.trusted
    assert index.applied == 0
    index.close()


def test_an_index_that_another_interpreter_has_filled_is_empty_if_that_knows_other_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = RowIndex.open(tmp_path)
    index.trust()
    index.apply([insert(5, 1)])
    index.close()
    monkeypatch.setattr(_trust.unicodedata, "unidata_version", "99.0.0")
    index = RowIndex.open(tmp_path)
    assert not index.trusted
    index.close()


def test_a_copy_of_an_open_index_is_not_trusted(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path / "one")
    index.trust()
    index.apply([insert(5, 1)])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    copy = RowIndex.open(tmp_path / "two")
    assert not copy.trusted
    copy.close()
    index.close()


def test_timestamps_only_grow(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.apply([insert(5, 1)])
    with pytest.raises(InvalidValue, match="is at 6 already"):
        index.apply([insert(6, 2), insert(6, 3)])
    assert index.applied == 5
    index.close()


def test_a_rewind_below_the_horizon_is_refused(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.apply([insert(ts, ts) for ts in range(1, 10)])
    assert index.collect(4) == 8  # four commits, a counter each
    with pytest.raises(DataFolderError, match="delete the folder 'index'"):
        index.rewind(3)
    assert index.rewind(4) == 5
    assert index.epoch == 1
    assert index.rewind(4) == 0
    assert index.epoch == 1
    index.close()


def test_how_far_a_backfill_is_goes_with_the_commits(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    for ts in range(1, 10):
        upto = ts.to_bytes(16, "big")
        index.apply([Applied(ts, (), None, {BY_TEXT: upto, BY_TEXT + 1: b"other"} if ts > 3 else {})])
        assert index.filled(BY_TEXT) == (upto if ts > 3 else None)
    index.collect(6)
    index.apply([Applied(10, (), None, {BY_TEXT: b"ten"})])
    index.rewind(8)
    assert index.filled(BY_TEXT) == (8).to_bytes(16, "big")
    index.rewind(6)
    assert index.filled(BY_TEXT) == (6).to_bytes(16, "big")
    index.apply([Applied(11, (), None, {BY_TEXT: None})])
    assert index.filled(BY_TEXT) is None
    assert index.filled(BY_TEXT + 1) == b"other"
    index.close()


def test_a_large_commit_is_cleaned_up_in_pieces_and_rewound_as_one(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    ids = [number.to_bytes(16, "big") for number in range(1, 2001)]
    index.apply([Applied(1, [RowWrite(TABLE, id, b"a", 0, [], (), [(COUNTER + id, 1)]) for id in ids])])
    index.apply([Applied(2, [RowWrite(TABLE, id, b"b", 1, [], (), [(COUNTER + id, 1)]) for id in ids])])
    index.apply([Applied(3, [RowWrite(TABLE, ids[0], b"c", 2)])])
    assert index.rewind(2) == 1
    looked = [index.collect(2, 100)]
    assert index.horizon == 1
    while looked[-1] >= 100:
        looked.append(index.collect(2, 100))
    assert len(looked) > 5
    assert max(looked) < 1000
    assert index.horizon == 2
    with index.reader() as reader:
        assert [reader.document(TABLE, id, 2) for id in (ids[0], ids[-1])] == [(b"b", 2), (b"b", 2)]
        assert reader.count(COUNTER + ids[7], 2) == 2
    with index._env.begin() as txn:
        assert txn.stat(index._dbs.journal)["entries"] == 0
        assert txn.stat(index._dbs.documents)["entries"] == len(ids)
    index.apply([Applied(4, [RowWrite(TABLE, id, b"d", 2) for id in ids])])
    assert index.rewind(2) == 1
    with index.reader() as reader:
        assert reader.document(TABLE, ids[5], 4) == (b"b", 2)
    index.close()


def test_requests_are_answered_until_they_are_dropped(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    who, session = b"i" * 16, b"s" * 16
    index.apply([insert(ts, ts, Request(who, session, ts, b'"%d"' % ts)) for ts in range(1, 30)])
    assert index.request(who, session, 7) == (7, b'"7"')
    assert index.request(who, session, 30) is None
    assert index.request(session, who, 7) is None
    assert index.drop_requests(10, limit=5) == 5
    assert index.drop_requests(10) == 4
    assert index.drop_requests(10) == 0
    assert index.request(who, session, 9) is None
    assert index.request(who, session, 10) == (10, b'"10"')
    index.close()


def test_entries_without_a_document(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.apply([insert(1, 1)])
    id = (1).to_bytes(16, "big")
    index.apply([Applied(2, [RowWrite(0, id, None, 0, [(BY_TEXT, b"t" + id)], (), [(COUNTER + b"t", 1)])])])
    with index.reader() as reader:
        assert list(reader.scan(BY_TEXT, b"", None, 2)) == [(b"t" + id, id)]
        assert list(reader.scan(BY_TEXT, b"", None, 1)) == []
        assert reader.document(TABLE, id, 2) == (b"doc 1", 1)
        assert reader.count(COUNTER + b"t", 2) == 1
    index.close()


def test_a_scan_is_lazy_and_a_reader_stays_where_it_is(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.apply([insert(ts, ts) for ts in range(1, 1001)])
    reader = index.reader()
    rows = reader.scan(BY_CREATION, b"", None, 1000)
    assert next(rows)[1] == (1).to_bytes(16, "big")
    index.apply([insert(2000, 2000)])
    assert reader.document(TABLE, (2000).to_bytes(16, "big"), 2000) is None
    reader.renew()
    assert reader.document(TABLE, (2000).to_bytes(16, "big"), 2000) == (b"doc 2000", 2000)
    reader.close()
    reader.renew()
    assert reader.count(COUNTER, 2000) == 1001
    index.close()


def test_a_full_map_grows_under_open_readers(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path, map_size=1 << 18)
    reader = index.reader()
    index.apply([insert(1, 1)])
    with _reading_process(tmp_path) as process:
        for ts in range(2, 300):
            index.apply([Applied(ts, [RowWrite(TABLE, ts.to_bytes(16, "big"), b"x" * 4000)])])
        assert index._env.info()["map_size"] > 1 << 18
        reader.renew()
        assert reader.document(TABLE, (299).to_bytes(16, "big"), 299) is not None
        out, _ = process.communicate(b"299\n", timeout=30)
        assert out.split() == [b"1", b"299"]
    index.close()


_READ = """
import sys
from nbreactive.engine.row_index import RowIndex
index = RowIndex.open(sys.argv[1], map_size=1 << 18, readonly=True)
with index.reader() as reader:
    print(reader.document(10001, (1).to_bytes(16, "big"), 1)[1], flush=True)
    last = int(sys.stdin.readline())
    reader.renew()
    print(reader.document(10001, last.to_bytes(16, "big"), last)[1], flush=True)
index.close()
"""


def _reading_process(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _READ, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_dead_reader_is_cleared_away(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path)
    index.apply([insert(1, 1)])
    with _reading_process(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert index.reader_check() == 1
    index.close()


@pytest.mark.skipif(os.name != "posix", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_read_only(tmp_path: Path) -> None:
    import resource

    index = RowIndex.open(tmp_path)
    index.apply([insert(1, 1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "data.mdb").stat().st_size + 4096, hard))
    try:
        with pytest.raises(ReadOnly, match="free some space"):
            index.apply([Applied(2, [RowWrite(TABLE, IDS[1], b"x" * 100_000)])])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert index.applied == 1
    index.apply([Applied(2, [RowWrite(TABLE, IDS[1], b"x" * 100_000)])])
    with index.reader() as reader:
        assert reader.document(TABLE, IDS[1], 2) == (b"x" * 100_000, 2)
    index.close()


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFolderError, match="cannot be opened"):
        RowIndex.open(tmp_path, readonly=True)


def test_a_damaged_marker_stops_nobody(tmp_path: Path) -> None:
    index = RowIndex.open(tmp_path / "index")
    index.trust()
    index.close()
    marker = tmp_path / "index" / "marker.json"
    whole, told = marker.read_bytes(), set[bool]()
    for place in range(len(whole)):
        marker.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        told.add(believed(tmp_path / "index"))  # a name that nobody knows is left out, and what it said is the default
    assert False in told


def test_a_marker_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    RowIndex.open(tmp_path / "index").close()
    index = RowIndex.open(tmp_path / "index")
    index.trust()
    index.close()
    (tmp_path / "index" / "marker.json.new").mkdir()  # as on a full disk
    with pytest.raises(DataFolderError, match=r"the row index in .* cannot be opened: .*free some space"):
        RowIndex.open(tmp_path / "index")
    (tmp_path / "index" / "marker.json.new").rmdir()
    index = RowIndex.open(tmp_path / "index")
    assert index.trusted
    index.close()
