"""Files of music: JSON and MIDI in and out, and everything that is no music."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import symusic
from composing import draw_roll

from ostinato import music
from ostinato.data.rolls import to_roll, to_steps
from ostinato.errors import MusicError, OstinatoError

STEPS = [[60, 64], [60], [], [62, 30], [62, 108], [62]]


def write(folder: Path, content: object, name: str = "piece.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def midi(path: Path, notes: list[tuple[int, int, int]], tpq: int = 96, drums: bool = False) -> Path:
    """Notes of start and length in ticks, and pitch."""
    score = symusic.Score(tpq)
    track = symusic.Track(name="flute", program=0, is_drum=drums)
    for start, length, pitch in notes:
        track.notes.append(symusic.Note(start, length, pitch, 64))
    score.tracks.append(track)
    path.write_bytes(score.dumps_midi())
    return path


def test_parts_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, {"train": [STEPS, [[60]]], "test": [[[61]]]})
    parts = music.read_parts([path, write(tmp_path, [[[70]]], "more.json")], 1.0)
    assert {part: [to_steps(piece.roll) for piece in pieces] for part, pieces in parts.items()} == {
        "train": [[[60, 64], [60], [], [30, 62], [62, 108], [62]], [[60]]],
        "test": [[[61]]],
        "": [[[70]]],
    }
    assert parts["train"][1].place == f"{path}, train piece 2"
    assert len(music.read_pieces(path, 1.0)) == 3


BAD = [
    ("[[[60]], [[60], [12]]]", "piece 2, step 2 has pitch 12; expected a whole number from 21 to 108"),
    ("[[[60]], []]", "piece 2 is empty; expected a step or more; leave it out"),
    ("[[[60],\n\n[6", "line 3, is no JSON"),
    ("", "line 1, is no JSON"),
    ("7", "holds '7'; expected a list of pieces, or train, valid, test with such"),
    ("{}", "holds '{}'; expected a list of pieces"),
    ('{"tran": []}', "has a part 'tran'; expected train, valid, test; did you mean 'train'?"),
    ('{"train": 3}', "train is '3'; expected a list of pieces, each a list of steps"),
    ("[3]", "piece 1 is '3'; expected a list of steps"),
    ("[[3]]", "piece 1, step 1 is '3'; expected a list of MIDI pitches"),
    ("[" * 100_000, "is no JSON"),
    ("[[[" + "6" * 5000 + "]]]", "is no JSON"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_json_that_is_no_music(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MusicError) as caught:
        music.read_pieces(path, 1.0)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MusicError, match=r"a\.json is no JSON; expected pieces as JSON, or MIDI"):
        music.read_pieces(tmp_path / "a.json", 1.0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, [[[60]]], "chorale.json")
    with pytest.raises(MusicError, match=r"no such file of music: .*chorals\.json; did you mean '.*chorale\.json'"):
        music.read_pieces(tmp_path / "chorals.json", 1.0)


def test_too_much_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [[[60]] * 9])
    monkeypatch.setattr(music, "MOST_STEPS", 8)
    with pytest.raises(MusicError, match="piece 1 has 9 steps; expected 8 at most"):
        music.read_pieces(path, 1.0)
    late = midi(tmp_path / "late.mid", [(0, 96, 60), (96 * 9, 96, 60)])
    with pytest.raises(MusicError, match=r"late\.mid has 10 steps; expected 8 at most; cut it, or give longer --beats"):
        music.read_pieces(late, 1.0)
    assert len(music.read_pieces(late, 2.0)[0].roll) == 6
    monkeypatch.setattr(music, "MOST_BYTES", 20)
    with pytest.raises(MusicError, match="bytes; expected 20 at most"):
        music.read_pieces(path, 1.0)


def test_midi_in_steps(tmp_path: Path) -> None:
    """A note sounds from the step nearest to its beginning to that nearest to its end, in one at least."""
    path = midi(tmp_path / "a.mid", [(0, 96, 60), (47, 60, 62), (50, 200, 64), (290, 3, 65), (192, 96, 60)])
    assert to_steps(music.read_pieces(path, 1.0)[0].roll) == [[60, 62], [64], [60, 64], [65]]
    assert to_steps(music.read_pieces(path, 2.0)[0].roll) == [[60, 62, 64], [60], [65]]
    assert to_steps(music.read_pieces(path, 0.5)[0].roll)[:3] == [[60], [60, 62, 64], [64]]


def test_equal_rhythms_stay_equal(tmp_path: Path) -> None:
    """Half a step away from both, a note goes to the later one, on whatever beat."""
    path = midi(tmp_path / "a.mid", [(48 + 96 * k, 48, 60 + k) for k in range(4)])
    assert to_steps(music.read_pieces(path, 1.0)[0].roll) == [[], [60], [61], [62], [63]]
    path = midi(tmp_path / "a.mid", [(96 * k, 48, 60 + k) for k in range(4)])
    assert to_steps(music.read_pieces(path, 1.0)[0].roll) == [[60], [61], [62], [63]]


def test_two_that_are_quiet_at_once_give_the_streams_back(capfd: pytest.CaptureFixture[str]) -> None:
    """One enters while the other is quiet, and leaves after it."""
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with music._quiet():
            time.sleep(0.05)

    thread = threading.Thread(target=second)
    with music._quiet():
        thread.start()
        entered.wait()
        time.sleep(0.02)
    thread.join()
    os.write(1, b"heard")
    assert capfd.readouterr().out == "heard"


@pytest.mark.parametrize("beats", [0.25, 1.0, 1.5])
def test_midi_out_and_in(tmp_path: Path, beats: float) -> None:
    roll = draw_roll(40)
    roll[-1, 5] = True  # else silence at the end is not written
    path = tmp_path / "out.mid"
    music.write_midi(path, [roll], beats, bpm=77.0)
    (piece,) = music.read_pieces(path, beats)
    assert np.array_equal(piece.roll, roll)
    score = symusic.Score.from_midi(path.read_bytes())
    assert score.tempos[0].qpm == pytest.approx(77, rel=1e-4)


def test_what_goes_on_sounding_is_one_note_and_voices_are_tracks(tmp_path: Path) -> None:
    path = tmp_path / "out.mid"
    music.write_midi(path, [to_roll([[60], [60], [62]], ""), to_roll([[40], [], [40]], "")], 0.5)
    score = symusic.Score.from_midi(path.read_bytes())
    found = [[(note.start, note.duration, note.pitch) for note in track.notes] for track in score.tracks]
    assert found == [[(0, 480, 60), (480, 240, 62)], [(0, 240, 40), (480, 240, 40)]]


def test_a_midi_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    music.write_midi(tmp_path / "a.mid", [draw_roll(5), draw_roll(5, 1)], 1.0)
    whole = (tmp_path / "a.mid").read_bytes()
    cut = tmp_path / "cut.mid"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(MusicError, match=r"cut\.mid is (cut|no MIDI file)"):
            music.read_pieces(cut, 1.0)
    cut.write_bytes(whole + b"MTrk and more")
    assert len(music.read_pieces(cut, 1.0)) == 1
    cut.write_bytes(whole[:-4] + bytes(4))
    with pytest.raises(MusicError, match=r"cut\.mid is a damaged MIDI file"):
        music.read_pieces(cut, 1.0)
    cut.write_bytes(b"a tune")
    with pytest.raises(MusicError, match=r"cut\.mid is no MIDI file \(it begins with b'a tu'\); expected MThd"):
        music.read_pieces(cut, 1.0)


def test_midi_outside_of_the_piano(tmp_path: Path) -> None:
    path = midi(tmp_path / "a.mid", [(0, 96, 60), (192, 96, 109)])
    with pytest.raises(
        MusicError, match=r"a\.mid, track 'flute', quarter 2, has pitch 109; expected a whole number from 21 to 108"
    ):
        music.read_pieces(path, 1.0)


def test_drums_are_left_aside(tmp_path: Path) -> None:
    path = midi(tmp_path / "a.mid", [(0, 96, 60)], drums=True)
    with pytest.raises(MusicError, match=r"a\.mid is empty: it has no notes, drums left aside"):
        music.read_pieces(path, 1.0)


def test_a_folder_is_searched_for_midi(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    midi(tmp_path / "b.mid", [(0, 96, 61)])
    midi(tmp_path / "deep" / "a.MIDI", [(0, 96, 62)])
    write(tmp_path, "no music", "notes.txt")
    assert [to_steps(piece.roll) for piece in music.read_pieces(tmp_path, 1.0)] == [[[61]], [[62]]]
    (tmp_path / "none").mkdir()
    with pytest.raises(MusicError, match="none holds no MIDI file"):
        music.read_pieces(tmp_path / "none", 1.0)


def test_json_out_and_in(tmp_path: Path) -> None:
    rolls = [draw_roll(5), draw_roll(3, 1)]
    music.write_json(tmp_path / "out.json", rolls)
    found = music.read_pieces(tmp_path / "out.json", 1.0)
    assert all(np.array_equal(piece.roll, roll) for piece, roll in zip(found, rolls, strict=True))


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(MusicError, match=r"cannot be written: there is no folder .*none to write it to; give"):
        music.write_json(tmp_path / "none" / "out.json", [draw_roll(3)])


def test_without_symusic_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "symusic", None)
    with pytest.raises(OstinatoError, match=r'MIDI needs symusic, which is not here: pip install "ostinato\[music\]"'):
        music.write_midi(tmp_path / "out.mid", [draw_roll(3)], 1.0)
