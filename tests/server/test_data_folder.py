from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nbreactive.errors import DataFolderError
from nbreactive.server import _drives, data_folder
from nbreactive.server.data_folder import DataFolder, running_backend


def test_one_backend_at_a_time_also_from_another_process_case_45(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.announce("http://127.0.0.1:1", "0")
    running = running_backend(folder.path)
    assert running is not None and running.url == "http://127.0.0.1:1"
    with pytest.raises(DataFolderError, match=f"process id {running.pid} at http://127.0.0.1:1"):
        DataFolder(folder.path)
    script = "import sys; from pathlib import Path; from nbreactive.server.data_folder import DataFolder; DataFolder(Path(sys.argv[1]))"
    other = subprocess.run(
        [sys.executable, "-c", script, str(folder.path)], capture_output=True, text=True, check=False
    )
    assert other.returncode != 0 and "in use by the backend" in other.stderr
    folder.close()
    assert running_backend(folder.path) is None
    DataFolder(folder.path).close()


def test_another_format_is_refused_and_left_alone_case_45(tmp_path: Path) -> None:
    DataFolder(tmp_path).close()
    (tmp_path / "format").write_text("99\n")
    for _ in range(2):
        with pytest.raises(DataFolderError, match="format '99'"):
            DataFolder(tmp_path)


def test_the_admin_key_is_private_and_stays(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    key = folder.admin_key()
    assert len(key) > 40 and folder.admin_key() == key
    assert stat.S_IMODE((tmp_path / "admin.key").stat().st_mode) == 0o600
    folder.close()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataFolderError, match="cannot be made"):
        DataFolder(tmp_path / "file" / "data")


def test_network_drives_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "network_file_system", lambda folder: "nfs4")
    with pytest.raises(DataFolderError, match=r"network drive \(nfs4\).*--data"):
        DataFolder(tmp_path)


def test_the_innermost_mount_decides() -> None:
    mounts = [
        ("/", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/local", "xfs"),
        ("/homes", "cifs"),
        ("/mnt", "ext4"),
        ("/mnt", "fuse.sshfs"),
    ]
    assert _drives.kind_of_mount(Path("/home/ada/data"), mounts) == "nfs4"
    assert _drives.kind_of_mount(Path("/home/ada/local/data"), mounts) == "xfs"
    assert _drives.kind_of_mount(Path("/homeless"), mounts) == "ext4"
    assert _drives.kind_of_mount(Path("/mnt/x"), mounts) == "fuse.sshfs"


def test_this_machine_is_asked(tmp_path: Path) -> None:
    assert _drives.network_file_system(tmp_path) is None
