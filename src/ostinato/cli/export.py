"""``ostinato export``: a copy of a model to ship."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ostinato.cli.arguments import Flag
from ostinato.pipeline.export import export as run


def export(
    model: Path,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    int8: Flag = False,
    force: Flag = False,
    json: Flag = False,
) -> None:
    """Copy a model without what its training left; with --int8 at about a quarter of the size.

    The copy samples, scores and fills as the model does. It cannot be resumed.

    Parameters
    ----------
    model
        The model folder.
    out
        The folder to make.
    int8
        Store the matrices in eight bits, with a scale for each row, and run in eight bits; else in float32.
    force
        Replace what the folder holds.
    json
        Print JSON: folder, weights, and the size of the weights in bytes, of the copy and of the original.
    """
    copy = run(model, out, int8=int8, force=force)
    if json:
        print(dumps({**asdict(copy), "folder": str(copy.folder)}, ensure_ascii=False))
    else:
        share = copy.weights_bytes / copy.original_bytes
        print(f"{copy.folder}: weights in {copy.weights}, {copy.weights_bytes:,} bytes, {share:.1%} of the original's")
