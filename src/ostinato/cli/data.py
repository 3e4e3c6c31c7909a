"""``ostinato data``: the named corpora, what is at hand, and fetching one."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ostinato.cli.arguments import Flag
from ostinato.errors import TextError
from ostinato.text import sources
from ostinato.text.fetch import Progress
from ostinato.text.sources import SOURCES, Paths, Source, at_hand, resolve


def data(name: str | None = None, *, verify: Flag = False, json: Flag = False) -> None:
    """List the named corpora, or fetch one.

    `ostinato train NAME` fetches what it needs by itself. A folder that OSTINATO_DATA names is looked at first;
    fetched files are kept in OSTINATO_CACHE (default: ostinato in XDG_CACHE_HOME or ~/.cache).

    Parameters
    ----------
    name
        The corpus to fetch; none: list them all.
    verify
        Read the files that are at hand and compare their checksums.
    json
        Print JSON.
    """
    if name is None and not verify:
        _list(json)
    elif verify:
        _verify([name] if name else [known for known in SOURCES if at_hand(known)], json)
    else:
        _fetch(str(name), json)


def _list(json: bool) -> None:
    entries = [_entry(source) for source in SOURCES.values()]
    if json:
        print(jsonlib.dumps(entries, indent=1))
        return
    widest = max(map(len, SOURCES))
    for entry in entries:
        where = entry["files"]["train"] if entry["files"] else "to fetch" + _megabytes(entry["bytes"])
        print(f"{entry['name']:{widest}}  {entry['about']}{'' if entry['verified'] else ', no checksum known'}")
        print(f"{'':{widest}}  {where}")


def _entry(source: Source) -> dict[str, Any]:
    sizes = [download.size for download in source.downloads]
    return {
        "name": source.name,
        "about": source.about,
        "urls": [download.url for download in source.downloads],
        "bytes": None if None in sizes else sum(filter(None, sizes)),
        "verified": source.verified,
        "files": _files(at_hand(source.name)),
    }


def _files(paths: Paths | None) -> dict[str, str]:
    parts: dict[str, Path | None] = vars(paths) if paths else {}
    return {part: str(path) for part, path in parts.items() if path is not None}


def _megabytes(size: int | None) -> str:
    return "" if size is None else f", {size / 1e6:.1f} MB"


def _verify(names: list[str], json: bool) -> None:
    verdicts = {str(path): verdict for name in names for path, verdict in sources.verify(name).items()}
    if json:
        print(jsonlib.dumps(verdicts, indent=1))
    else:
        for path, verdict in verdicts.items():
            print(f"{verdict:13} {path}")
        if not verdicts:
            print("nothing is at hand; fetch a corpus with: ostinato data NAME")
    changed = [path for path, verdict in verdicts.items() if verdict == "changed"]
    if changed:
        raise TextError(f"{', '.join(changed)}: not what was published or fetched; remove it and fetch it again")


def _fetch(name: str, json: bool) -> None:
    with _shown() as progress:
        files = _files(resolve(name, progress))
    if json:
        print(jsonlib.dumps(files, indent=1))
        return
    for part, path in files.items():
        print(f"{part:6} {path}")
    if not SOURCES[name].verified:
        print(f"unverified: no checksum of {name} is known")
    print(f"next: ostinato train {name} -o model")


@contextmanager
def _shown() -> Iterator[Progress]:
    """Progress on stderr: bars on a terminal, else a line for each file."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def update(file: str, here: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=here)

        yield update


def _lines() -> Progress:
    begun: set[str] = set()

    def line(file: str, here: int, total: int | None) -> None:
        if file not in begun:
            begun.add(file)
            print(f"fetching {file}{_megabytes(total)}", file=sys.stderr)
        elif here == total:
            print(f"fetched {file}", file=sys.stderr)

    return line
