"""Recordings of single digits to lists to train on, and to strings of digits to hold out and to test on.

    python strings.py ARCHIVE OUT [SPEAKER]

OUT gets ``recordings/`` and, each with the sounds it names:

- ``train.tsv``: recordings 10 to 49 of every digit and speaker, one a line;
- ``valid.tsv``: strings of recordings 5 to 9;
- ``test.tsv``: strings of recordings 0 to 4, the official test split; ``noisy.tsv``: the same strings under noise.

With SPEAKER nothing of that speaker is trained on or held out, and test strings are of all 500 recordings of it.

A string is of one speaker: the recordings of a part are shuffled and cut into strings of 1 to 7 digits, each of them
once in a round, with pauses of 0.05 to 0.5 seconds before, between and after. Each string has its own loudness; in the
pauses is faint noise 45 to 75 dB below full scale, and in ``noisy.tsv``, and every other string of ``valid.tsv``, noise
5 to 20 dB below the speech. All of it hangs on the seeds below. A third column says when each digit begins and ends, a
fourth which recording it is.
"""

from __future__ import annotations

import sys
import tarfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.data.sounds import noise, quantised
from ostinato.sound import read_wav

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
LONGEST = 7
PAUSE = (0.05, 0.5)
TEST, VALID = range(5), range(5, 10)
ROUNDS = 4
"""Strings that a test recording is part of."""


@dataclass(frozen=True)
class Recording:
    """One digit, by one speaker."""

    digit: int
    speaker: str
    index: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.digit}_{self.speaker}_{self.index}.wav"


def main(archive: str, out: str, left_out: str | None = None) -> None:
    """Write everything."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    recordings = unpack(Path(archive), folder)
    speakers = sorted({each.speaker for each in recordings})
    if left_out is not None and left_out not in speakers:
        sys.exit(f"no speaker {left_out!r}; expected one of {', '.join(speakers)}")
    known = [each for each in recordings if each.speaker != left_out]
    train = [each for each in known if each.index not in (*TEST, *VALID)]
    lines = [f"recordings/{each.name}\t{WORDS[each.digit]}" for each in train]
    (folder / "train.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    valid = [each for each in known if each.index in VALID]
    test = [each for each in recordings if (each.index in TEST if left_out is None else each.speaker == left_out)]
    rounds = ROUNDS if left_out is None else 1
    write(folder, "valid", strings(valid, 1, seed=1), seed=2, noisy=lambda number: number % 2 == 1)
    for name, noisy in (("test", False), ("noisy", True)):
        write(folder, name, strings(test, rounds, seed=3), seed=4, noisy=lambda _, noisy=noisy: noisy)


def unpack(archive: Path, folder: Path) -> list[Recording]:
    """The recordings of the archive, written to ``folder/recordings``; nothing else of it is."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            digit, _, rest = Path(member.name).stem.partition("_")
            speaker, _, index = rest.rpartition("_")
            if member.isfile() and digit.isdigit() and index.isdigit() and speaker.isalpha():
                found.append(Recording(int(digit), speaker, int(index)))
                tar.extract(member, folder, filter="data")
    return sorted(found, key=lambda each: each.name)


def strings(recordings: list[Recording], rounds: int, seed: int) -> Iterator[list[Recording]]:
    """Every recording once in a round, those of a speaker together."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        for speaker in sorted({each.speaker for each in recordings}):
            own = [each for each in recordings if each.speaker == speaker]
            rest = [own[k] for k in rng.permutation(len(own))]
            while rest:
                count = int(rng.integers(1, LONGEST + 1))
                yield rest[:count]
                rest = rest[count:]


def write(folder, name, made, seed, noisy) -> None:
    """The strings as WAV files, and the list of them."""
    (folder / name).mkdir(exist_ok=True)
    rng, lines = np.random.default_rng(seed), []
    for number, string in enumerate(made):
        samples, times = join(folder, string, rng, noisy(number))
        path = f"{name}/{number:04}.wav"
        with wave.open(str(folder / path), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(quantised(samples).tobytes())
        said = " ".join(WORDS[each.digit] for each in string)
        lines.append(f"{path}\t{said}\t{times}\t{' '.join(each.name for each in string)}")
    (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", "utf-8")


def join(
    folder: Path, string: list[Recording], rng: np.random.Generator, noisy: bool
) -> tuple[NDArray[np.float32], str]:
    """The samples of a string, and when each digit begins and ends. Draws the same whether noisy or not."""
    parts = [read_wav(folder / "recordings" / each.name, RATE)[0] for each in string]
    pauses = [int(rng.uniform(*PAUSE) * RATE) for _ in range(len(parts) + 1)]
    loud, faint, below = (10 ** (rng.uniform(*span) / 20) for span in ((-9, 0), (-75, -45), (-20, -5)))
    made = noise(sum(map(len, parts)) + sum(pauses), rng) * np.float32(faint)
    over, start, times = noise(len(made), rng), 0, []
    for pause, part in zip(pauses, parts, strict=False):
        start += pause
        made[start : start + len(part)] += part * np.float32(loud)
        times.append(f"{start / RATE:.3f}-{(start + len(part)) / RATE:.3f}")
        start += len(part)
    if noisy:
        power = np.mean(np.concatenate(parts) ** 2)
        made += over * np.float32(below * loud * np.sqrt(power))
    return np.float32(0.95) * made / max(np.float32(1.0), np.abs(made).max()), " ".join(times)


if __name__ == "__main__":
    main(*sys.argv[1:])
