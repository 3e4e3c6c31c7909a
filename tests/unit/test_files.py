"""Files that are there whole or not at all, and places where none can be."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ostinato.files import check_place, whole, write_whole


def test_a_file_takes_the_place_of_another_in_one_move(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "before")
    with whole(path) as part:
        part.write_text("half")
        assert path.read_text() == "before"
    assert path.read_text() == "half"
    write_whole(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_goes_wrong_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "before")

    def fail() -> None:
        with whole(path) as part:
            part.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(caught.value, OSError):
        assert (caught.value.errno, caught.value.filename) == (28, str(path))


def test_errors_name_the_file_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def fail(wrong: str) -> None:
        with whole(path):
            raise FileNotFoundError(2, "No such file or directory", wrong)

    for wrong, named in ((f"{path}.part", str(path)), ("a program", "a program")):
        with pytest.raises(FileNotFoundError) as caught:
            fail(wrong)
        assert caught.value.filename == named


def test_a_link_stays_and_leads_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.txt").write_text("before")
    (tmp_path / "far" / "real.txt").chmod(0o600)
    (tmp_path / "link.txt").symlink_to("far/real.txt")
    write_whole(tmp_path / "link.txt", "after")
    assert (tmp_path / "link.txt").readlink() == Path("far/real.txt")
    assert (tmp_path / "far" / "real.txt").read_text() == "after"
    assert (tmp_path / "far" / "real.txt").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["real.txt"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_whole(pipe, "all of it")
    reader.join()
    assert heard == ["all of it"]
    assert pipe.is_fifo()
    code = "from ostinato.files import write_whole; write_whole('/dev/stdout', 'heard')"
    with (tmp_path / "out.txt").open("a") as out:
        out.write("before, ")
        out.flush()
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
        out.write(", after")
    assert (tmp_path / "out.txt").read_text() == "before, heard, after"
    write_whole("/dev/null", "nothing")
    assert Path("/dev/null").is_char_device()


def test_text_that_ends_in_gz_is_packed(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt.gz", "text")
    assert gzip.decompress((tmp_path / "a.txt.gz").read_bytes()) == b"text"
    write_whole(tmp_path / "a.bin.gz", b"tensors")
    assert (tmp_path / "a.bin.gz").read_bytes() == b"tensors"


def test_what_is_read_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("read")
    (tmp_path / "b.txt").hardlink_to(tmp_path / "a.txt")
    check_place(tmp_path / "c.txt", [tmp_path / "a.txt", tmp_path / "none", "-"])
    for name in ("a.txt", "b.txt", "../" + tmp_path.name + "/a.txt"):
        with pytest.raises(FileExistsError, match="this is what is read; give what is written another name"):
            check_place(tmp_path / name, [tmp_path / "none", tmp_path / "a.txt"])


def test_places_where_no_file_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_place(tmp_path / "a.txt")
    for write in (check_place, lambda path: write_whole(path, "")):
        with pytest.raises(IsADirectoryError, match="this is a folder") as caught:
            write(tmp_path)
        assert caught.value.filename == str(tmp_path)
        with pytest.raises(FileNotFoundError, match=r"there is no folder .*none to write it to") as caught:
            write(tmp_path / "none" / "a.txt")
        assert caught.value.filename == str(tmp_path / "none" / "a.txt")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        check_place(tmp_path / "a.txt")
