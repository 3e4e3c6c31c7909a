"""Files of transcripts: what a line is, and what is said of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.errors import TextError
from ostinato.text.transcripts import Spoken, read_transcripts


def write(folder: Path, content: str) -> Path:
    path = folder / "list.tsv"
    path.write_text(content, "utf-8")
    return path


def test_a_line_is_a_path_and_a_text(tmp_path: Path) -> None:
    path = write(tmp_path, "a.wav\tone\r\n\nsub/./b c.wav\t two  three \tmore\n")
    assert read_transcripts([path]) == [
        Spoken(tmp_path / "a.wav", "one", f"{path}, line 1"),
        Spoken(tmp_path / "sub/b c.wav", "two three", f"{path}, line 3"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.wav one", "line 2 has no tab: 'a.wav one'; expected the path of a recording, a tab, and what it says"),
        ("a.wav\t ", "line 2 has no text of 'a.wav'; expected one after the tab"),
        ("\tone", "line 2 names no recording; expected its path before the tab"),
        ("../a.wav\tone", "line 2: '../a.wav' leads out of the folder of the recordings"),
        ("/a.wav\tone", "leads out of the folder of the recordings"),
        ("x/../../a.wav\tone", "leads out of"),
        ("..\\a.wav\tone", "leads out of"),
    ],
)
def test_a_line_that_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path, f"good.wav\tgood\n{line}\n")
    with pytest.raises(TextError) as caught:
        read_transcripts([path])
    assert str(caught.value).startswith(f"{path}, line 2")
    assert message in str(caught.value)
