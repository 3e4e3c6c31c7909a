"""``ostinato demo``: the main job on text that every Python carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ostinato.cli.arguments import Flag
from ostinato.errors import BundleError


def demo(
    *,
    out: Annotated[Path, Parameter(alias="-o")] = Path("ostinato-demo"),
    minutes: float = 1.0,
    force: Flag = False,
) -> None:
    """Train on Python's own language reference, compare, sample, score: the main job in under two minutes.

    Parameters
    ----------
    out
        The folder to make: text.txt and model/.
    minutes
        Time for training.
    force
        Replace what the folder holds from an earlier demo.
    """
    from rich.console import Console

    from ostinato.cli.console import TrainConsole
    from ostinato.pipeline import train

    say = Console(highlight=False, soft_wrap=True).print
    text = out / "text.txt"
    source = write_text(text, force=force)
    say(f"text     {source} -> {text}; the last tenth is held out")
    with TrainConsole(json=False) as console:
        model = train(text, out=out / "model", minutes=minutes, force=force, listener=console)
    say("\nHeld-out text, bits per character (fewer is better):")
    for name, bits in [*_baselines(text, minutes), ("this model", model.training["valid"]["bits_per_char"])]:
        say(f"  {name:32} {bits:6.3f}")
    say(f"\nIt writes (ostinato sample {out / 'model'} --prompt 'The ' --temperature 0.7 --seed 1):\n")
    say("The " + model.generate("The ", tokens=400, temperature=0.7, seed=1), markup=False)
    line = "The try statement specifies exception handlers for a group of statements."
    say(f"\nIt scores: {model.score(line).bits_per_char:.2f} bits per character for {line!r},")
    shuffled = " ".join(sorted(line.split()))
    say(f"           {model.score(shuffled).bits_per_char:.2f} for the same words out of order.")
    say(
        f"\nThe model lies in {out / 'model'}. Try next:\n"
        f"  ostinato sample {out / 'model'} --prompt 'A class '\n"
        f"  ostinato score {out / 'model'} FILE --per line\n"
        f"  ostinato inspect {out / 'model'}\n"
        f"  ostinato train YOUR.txt -o your-model"
    )


def write_text(path: Path, *, force: bool = False) -> str:
    """Write the demo's text; give the name of where it is from. Another text is replaced only with ``force``."""
    name, text = _language_reference() or _docstrings()
    if path.exists() and not force and path.read_bytes() != text.encode():
        raise BundleError(f"{path} is there already and holds another text; use another -o, or --force to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return name


def _language_reference() -> tuple[str, str] | None:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions leave it out
        return None
    return "Python's language reference (pydoc_data.topics)", "\n".join(topics[name] for name in sorted(topics))


def _docstrings() -> tuple[str, str]:
    """Docstrings of the standard library, read from its source without importing it."""
    import ast
    import sysconfig

    texts = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        texts += [text for node in nodes if (text := ast.get_docstring(node))]
    return "docstrings of Python's standard library", "\n\n".join(texts)


def _baselines(text: Path, minutes: float) -> list[tuple[str, float]]:
    """A unigram and an interpolated 5-gram of the same tokens, fitted and scored on the same parts of the text."""
    import math

    import numpy as np

    from ostinato.pipeline.prepare import prepare
    from ostinato.pipeline.settings import TextSettings
    from ostinato.score.ngram import NgramModel, UnigramModel

    prepared = prepare([text], TextSettings(), minutes)
    parts, vocab = prepared.store.parts, prepared.tokenizer.vocab_size
    train, valid = parts["train"].astype(np.int64), parts["valid"].astype(np.int64)
    per_char = 1.0 / math.log(2.0) / prepared.facts("valid")["chars"]
    level = prepared.tokenizer.level
    return [
        (f"unigram of {level} tokens", UnigramModel.fit(train, vocab).nats(valid) * per_char),
        (f"interpolated 5-gram of {level} tokens", NgramModel.fit(train, 5, vocab).nats(valid) * per_char),
    ]
