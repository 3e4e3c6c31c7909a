"""``ostinato caption``: what images show."""

from __future__ import annotations

import sys
from dataclasses import asdict
from json import dumps
from pathlib import Path

from ostinato.captioner import Caption, load
from ostinato.cli.arguments import Flag, for_terminal
from ostinato.errors import ConfigError, ImageError


def caption(
    model: Path,
    *images: Path,
    temperature: float = 0.0,
    count: int = 1,
    beam: int = 5,
    seed: int | None = None,
    json: Flag = False,
) -> None:
    """Caption images: one line a caption, with the image, the caption and its log-probability in nats.

    An image that cannot be read is reported and does not stop the others; the exit status is then 1.

    Parameters
    ----------
    model
        The folder of a model trained with --task caption.
    images
        Image files: PNG, JPEG, GIF, BMP, WebP, TIFF or PPM.
    temperature
        0 searches for the likeliest captions, more draws some, the higher the more freely.
    count
        How many captions of each image.
    beam
        At temperature 0: hypotheses that the search keeps; 1 is greedy.
    seed
        The same seed draws the same captions.
    json
        One JSON object an image: image, and captions with text, logprob and ended.
    """
    if not images:
        raise ConfigError("no image was given; name one or more image files")
    captioner = load(model)
    failed = False
    for image in images:
        try:
            found = captioner.caption(image, temperature=temperature, count=count, beam=beam, seed=seed)
        except ImageError as error:
            failed = True
            print(f"ostinato: {error}", file=sys.stderr)
            continue
        if json:
            captions = [asdict(one) for one in found]
            print(dumps({"image": str(image), "captions": captions}, ensure_ascii=False), flush=True)
        else:
            _show(str(image), found)
    if failed:
        sys.exit(1)


def _show(image: str, captions: list[Caption]) -> None:
    for one in captions:
        line = f"{image}\t{one.text}\t{one.logprob:.2f}"
        # What a model makes up must not steer a terminal.
        print(for_terminal(line) if sys.stdout.isatty() else line, flush=True)
