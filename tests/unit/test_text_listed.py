"""Files that name files: what a line is, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.errors import TextError
from ostinato.text.listed import CAPTIONS, TRANSCRIPTS, Listed, read_listed


def write(folder: Path, content: str, name: str = "captions.tsv") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def test_a_line_is_a_path_and_a_caption(tmp_path: Path) -> None:
    path = write(tmp_path, "a.png\ta dog\r\n\nsub/./b c.png\t two  cats \tmore\t\nx/../d.png\tnaïve café")
    assert read_listed([path], CAPTIONS) == [
        Listed("a.png", "a dog", tmp_path, f"{path}, line 1"),
        Listed("sub/b c.png", "two cats", tmp_path, f"{path}, line 3"),
        Listed("d.png", "naïve café", tmp_path, f"{path}, line 4"),
    ]


def test_lines_of_several_files_each_beside_its_own_images(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    files = [write(tmp_path, "a.png\tone\n"), write(tmp_path / "sub", "a.png\ttwo\n")]
    assert [(line.folder, line.text) for line in read_listed(files, CAPTIONS)] == [
        (tmp_path, "one"),
        (tmp_path / "sub", "two"),
    ]


def test_a_line_longer_than_a_block_stays_whole(tmp_path: Path) -> None:
    caption = "word " * 400_000
    path = write(tmp_path, f"a.png\t{caption}\nb.png\tshort\n")
    assert [len(line.text) for line in read_listed([path], CAPTIONS)] == [len(caption) - 1, 5]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.png a dog", "line 2 has no tab: 'a.png a dog'; expected the path of an image, a tab, and its caption"),
        ("a.png\t", "line 2 has no caption of 'a.png'; expected one after the tab"),
        ("a.png\t \t x", "line 2 has no caption of 'a.png'"),
        ("\ta dog", "line 2 names no image; expected its path before the tab"),
        (".\ta dog", "line 2 names no image"),
        ("../a.png\ta dog", "line 2: '../a.png' leads out of the folder of the images"),
        ("x/../../a.png\ta dog", "leads out of the folder of the images; expected a path inside of it"),
        ("..\ta dog", "leads out of"),
        ("/etc/passwd\ta dog", "line 2: '/etc/passwd' leads out of"),
        ("//x/a.png\ta dog", "leads out of"),
        ("..\\a.png\ta dog", "has '\\\\' in it, which is no letter of a name everywhere; rename it"),
        ("C:/a.png\ta dog", "has ':' in it"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f"good.png\tgood\n{line}\n")
    with pytest.raises(TextError) as caught:
        read_listed([path], CAPTIONS)
    assert str(caught.value).startswith(f"{path}, line 2")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav one", "line 2 has no tab: 'a.wav one'; expected the path of a recording, a tab, and what it says"),
        ("a.wav\t ", "line 2 has no text of 'a.wav'; expected one after the tab"),
        ("\tone", "line 2 names no recording; expected its path before the tab"),
        ("../a.wav\tone", "line 2: '../a.wav' leads out of the folder of the recordings"),
        ("/a.wav\tone", "leads out of the folder of the recordings"),
        ("x/../../a.wav\tone", "leads out of"),
        ("..\\a.wav\tone", "in it, which is no letter of a name"),
    ],
)
def test_a_line_of_a_recording_that_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f"good.wav\tgood\n{line}\n")
    with pytest.raises(TextError) as caught:
        read_listed([path], TRANSCRIPTS)
    assert str(caught.value).startswith(f"{path}, line 2")
    assert message in str(caught.value)
