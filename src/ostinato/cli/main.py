"""``ostinato VERB``: the list of verbs, and what becomes of errors.

Exit status: 0 done, 1 a stated failure (one line on stderr), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import sys

from cyclopts import App

from ostinato import __version__
from ostinato.config import did_you_mean
from ostinato.errors import OstinatoError

VERBS = {
    "demo": "The main job on text that every Python carries, in under two minutes.",
    "train": "Text files in, a model folder out.",
    "sample": "Let a model write.",
    "chat": "Talk with a model.",
    "score": "How well a model predicts a text: perplexity, bits per character and byte.",
    "rescore": "Choose among the hypotheses of n-best lists by language models.",
    "fill": "Let a bidirectional model fill the gaps in a text.",
    "translate": "Lines of one language to lines of another.",
    "classify": "Let a classifier say the label of every line.",
    "caption": "Let a model say what images show.",
    "lattice": "Lattices of a speech recogniser: search, rescore, prune, convert.",
    "transcribe": "Speech to text, with times, whole or while it comes.",
    "compose": "Let a model compose, or harmonise a melody.",
    "inspect": "Sizes of a model; pictures of its gradients and gates.",
    "export": "A copy of a model to ship; in eight bits at a quarter of the size.",
    "data": "Named corpora: list, fetch, verify.",
    "bench": "How fast this machine trains, writes and scores.",
    "doctor": "What this machine has, and what to install.",
}
EXTRAS = {
    "torch": '"ostinato[train]"',
    "matplotlib": '"ostinato[plot]"',
    "PIL": '"ostinato[images]"',
    "symusic": '"ostinato[music]"',
}

app = App(
    name="ostinato",
    usage="Usage: ostinato VERB ...\n",
    help="Recurrent language models: a text file in, a model out that writes, scores and fills gaps.\n\n"
    + "\n".join(f"- `ostinato {verb}`: {about}" for verb, about in VERBS.items())
    + "\n\n`ostinato VERB --help` says more. Begin with `ostinato demo`, or with `ostinato train FILE -o MODEL`.",
    version=__version__,
    version_flags=["--version"],
)
for verb in VERBS:
    # By name: a verb's module, and what it imports, is loaded only when the verb is called.
    app.command(f"ostinato.cli.{verb}:{verb}", name=verb, show=False)


def run(arguments: list[str] | None = None) -> None:
    """The ``ostinato`` command."""
    words = sys.argv[1:] if arguments is None else arguments
    if words and not words[0].startswith("-") and words[0] not in VERBS:
        fail(f"no verb {words[0]!r}; expected one of {', '.join(VERBS)}{did_you_mean(words[0], VERBS)}", 2)
    try:
        app(arguments)
    except OstinatoError as error:
        fail(str(error), 1)
    except KeyboardInterrupt:
        fail("interrupted", 130)
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        fail(f"this needs {error.name}, which is not installed; install it with: pip install {EXTRAS[error.name]}", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = "; make room and try again" if error.errno == errno.ENOSPC else ""
        fail(f"{where}{error.strerror or error}{advice}", 1)
    except MemoryError:
        fail("out of memory; use a smaller --batch, --hidden or --vocab", 1)


def fail(message: str, status: int) -> None:
    """End with one line on stderr."""
    print("ostinato: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(status)
