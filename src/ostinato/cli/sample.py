"""``ostinato sample``: write."""

from __future__ import annotations

import io
import secrets
import sys
from json import dumps
from pathlib import Path
from typing import Any

from ostinato.cli.arguments import Flag, for_terminal
from ostinato.cli.tunes import write_tunes
from ostinato.errors import ConfigError
from ostinato.language_model import LanguageModel, Writing, load
from ostinato.tunes import MOST_TOKENS, REDRAW

TOKENS = 400


def sample(
    model: Path,
    *,
    prompt: str = "",
    tokens: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    no_repeat_ngram: int = 0,
    stop: list[str] | None = None,
    seed: int | None = None,
    count: int = 1,
    allow_unknown: Flag = False,
    abc: Path | None = None,
    redraw: int | None = None,
    sound: Flag = False,
    json: Flag = False,
) -> None:
    """Write with a model, from the beginning of a line or after a prompt.

    Parameters
    ----------
    model
        The model folder.
    prompt
        Text to go on from.
    tokens
        How many tokens to write (characters, bytes, words or pieces of words, as the model has them); default: 400, of
        a tune 4000 at most.
    temperature
        0 always takes the likeliest token, 1 follows the model, more is more surprising.
    top_k
        Draw from this many of the likeliest tokens only.
    top_p
        Draw from the likeliest tokens that together have this probability only; 1 is off.
    min_p
        Draw from tokens at least this many times as likely as the likeliest only; 0 is off.
    repetition_penalty
        Make tokens of the last 128 that were written less likely; 1 is off, 1.2 is usual.
    no_repeat_ngram
        Write no sequence of so many tokens twice within the last 128; 0 is off.
    stop
        End before this text; may be given several times.
    seed
        The same seed gives the same text.
    count
        How many samples to write, with --- between them.
    allow_unknown
        Read characters or words of the prompt that the model never saw as unknown ones.
    abc
        Write tunes, each to its own end, into this file in ABC notation. The prompt is the beginning of the header, its
        lines with their ends, which may be written \\n; what is no tune is reported and left out.
    redraw
        With --abc: how often a bar that breaks the metre, a repeat, a tie or a chord is drawn again; default: 8 times.
    sound
        With --abc: each tune as .mid too, where the music extra is, and as .wav, where fluidsynth is.
    json
        One JSON object a sample: seed, index, prompt, text, tokens, logprob (nats, under the model itself); with --abc:
        seed, index, tune, bars, fit, ended.
    """
    if count < 1:
        raise ConfigError(f"count is {count}; expected 1 or more")
    if sound and abc is None:
        raise ConfigError("--sound plays tunes; give --abc FILE too")
    if redraw is not None and abc is None:
        raise ConfigError("--redraw is for tunes; give --abc FILE too")
    if abc is not None and (repetition_penalty != 1.0 or no_repeat_ngram):
        raise ConfigError("tunes repeat themselves; leave out --repetition-penalty and --no-repeat-ngram with --abc")
    lm = load(model)
    options: Writing = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": no_repeat_ngram,
        "stop": stop or (),
        "seed": secrets.randbits(32) if seed is None else seed,
        "allow_unknown": allow_unknown,
    }
    if abc is not None:
        most, again = (MOST_TOKENS if tokens is None else tokens), (REDRAW if redraw is None else redraw)
        write_tunes(lm, abc, prompt, count, most, again, options, sound=sound, json=json)
        return
    tokens = TOKENS if tokens is None else tokens
    for index in range(count):
        options["index"] = index
        if json:
            _write_json(lm, prompt, tokens, options)
        else:
            print("---\n" if index else "", end="")
            _write(lm, prompt, tokens, options)


def _write(lm: LanguageModel, prompt: str, tokens: int, options: Writing) -> None:
    """Show a sample as it is made, and what it was on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not know every character
    made, logprob, last = 0, 0.0, "\n"
    stream = lm.stream_tokens(prompt, tokens, **options)
    _show(prompt)
    last = prompt[-1:] or last
    for token in stream:
        _show(token.text)
        made, logprob, last = made + 1, logprob + token.logprob, token.text[-1:] or last
    print("" if last == "\n" else "\n", end="", flush=True)
    each = f", {logprob / made:.3f} each" if made else ""
    print(
        f"[seed {options['seed']}, sample {options['index']}: {made} tokens, log-probability {logprob:.2f} nats{each}]",
        file=sys.stderr,
    )


def _show(text: str) -> None:
    # What a model makes up must not steer a terminal.
    print(for_terminal(text) if sys.stdout.isatty() else text, end="", flush=True)


def _write_json(lm: LanguageModel, prompt: str, tokens: int, options: Writing) -> None:
    made = list(lm.stream_tokens(prompt, tokens, **options))
    record: dict[str, Any] = {
        "seed": options["seed"],
        "index": options["index"],
        "prompt": prompt,
        "text": "".join(token.text for token in made),
        "tokens": len(made),
        "logprob": sum(token.logprob for token in made),
    }
    print(dumps(record, ensure_ascii=False), flush=True)
