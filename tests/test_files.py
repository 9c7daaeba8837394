"""A file is written whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tersor.errors import ExportError
from tersor.files import temporary_folder, write_atomically


def _full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writes_bytes(tmp_path):
    write_atomically(tmp_path / "a.bin", b"abc")
    assert (tmp_path / "a.bin").read_bytes() == b"abc"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]


def test_replaces_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old and longer")
    write_atomically(str(path), b"new")
    assert path.read_bytes() == b"new"


def test_files_beside_it_move_along(tmp_path):
    def write(path):
        path.write_bytes(b"model")
        path.with_name("a.onnx.data").write_bytes(b"weights")

    write_atomically(tmp_path / "a.onnx", write)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == {
        "a.onnx": b"model",
        "a.onnx.data": b"weights",
    }


def test_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("old", [None, b"old"])
def test_full_disk_leaves_everything_as_it_was(tmp_path, monkeypatch, old):
    path = tmp_path / "model.onnx"
    if old is not None:
        path.write_bytes(old)
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(os, "fsync", _full_disk)
    with pytest.raises(ExportError, match=r"model\.onnx.*No space left on device"):
        write_atomically(path, b"new")
    assert sorted(tmp_path.iterdir()) == before
    assert old is None or path.read_bytes() == old


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_content_that_meets_a_really_full_device(tmp_path):
    def write(_):
        with open("/dev/full", "wb") as full:  # noqa: PTH123
            full.write(b"x")

    with pytest.raises(ExportError, match="No space left"):
        write_atomically(tmp_path / "a", write)
    assert not list(tmp_path.iterdir())


def test_missing_folder(tmp_path):
    with pytest.raises(ExportError, match=r"nowhere.*No such file or directory"):
        write_atomically(tmp_path / "nowhere" / "a.onnx", b"")
    assert not list(tmp_path.iterdir())


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="Not a directory"):
        write_atomically(tmp_path / "file" / "a.onnx", b"")


def test_path_that_is_a_folder(tmp_path):
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(ExportError, match=r"a\.onnx"):
        write_atomically(tmp_path / "a.onnx", b"")
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_read_only_folder(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(ExportError, match="Permission denied"):
        write_atomically(folder / "a.onnx", b"")


def test_read_only_file_system(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(ExportError, match="Read-only file system"):
        write_atomically(tmp_path / "a.onnx", b"")
    assert not list(tmp_path.iterdir())


def test_other_errors_pass_through_and_leave_nothing(tmp_path):
    def write(path):
        path.write_bytes(b"half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write_atomically(tmp_path / "a", write)
    assert not list(tmp_path.iterdir())


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    owner = path.stat().st_uid + (1 if os.geteuid() == 0 else 0)
    os.chown(path, owner, -1)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert path.stat().st_uid == owner


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_file_is_written(exists, tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "b", tmp_path / "a"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(Path("there") / "b")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [file.name for file in (tmp_path / "there").iterdir()] == ["b"]


@pytest.mark.parametrize("what", ["pipe", "/dev/null"])
def test_pipes_and_devices_are_refused(what, tmp_path):
    path = Path(what)
    if what == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(ExportError, match="a pipe or a device"):
        write_atomically(path, b"new")
    assert not path.is_file()


@pytest.mark.parametrize("length", [200, 255])
def test_long_names(length, tmp_path):
    path = tmp_path / ("a" * length)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(ExportError, match="File name too long"):
        write_atomically(tmp_path / ("a" * 256), b"new")


def test_a_read_only_file_is_replaced_and_stays_so(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o444)
    write_atomically(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o444)


_HOLD = """
import sys, time
from tersor.files import temporary_folder
with temporary_folder(sys.argv[1]) as folder:
    (folder / "half").write_bytes(b"x")
    print("made", flush=True)
    time.sleep(60)
"""


def test_folders_of_killed_runs_go_and_those_of_live_ones_stay(tmp_path):
    command = [sys.executable, "-c", _HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as run:  # noqa: S603
        assert run.stdout is not None
        assert run.stdout.readline() == b"made\n"
        (live,) = tmp_path.iterdir()
        with temporary_folder(tmp_path) as other:
            assert {*tmp_path.iterdir()} == {live, other}
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert [*tmp_path.iterdir()] == [live]
    write_atomically(tmp_path / "a", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
