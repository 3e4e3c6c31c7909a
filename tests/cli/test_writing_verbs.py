"""sample, score and fill as a user meets them: output, JSON, exit status, one line for every error."""

import gzip
import io
import json
import os
import subprocess
import sys

import pytest
from small_models import TEXT, write_folder

import ostinato
from ostinato.cli.main import run

CODE = "import sys; from ostinato.cli.main import run; run(sys.argv[1:])"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for level in ("char", "byte", "word", "bpe"):
        write_folder(folder / level, level)
        write_folder(folder / f"{level}-both", level, bidirectional=True)
    return folder


@pytest.fixture
def call(capsys):
    def call(*arguments, status=0):
        """Run a command in this process; give what it wrote to stdout and stderr."""
        with pytest.raises(SystemExit) as caught:
            run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (caught.value.code or 0) == status, err
        return out, err

    return call


@pytest.fixture
def refused(call):
    def refused(*arguments):
        """The one line of a stated failure."""
        _, err = call(*arguments, status=1)
        assert err.startswith("ostinato: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    return refused


def records(out):
    return [json.loads(line) for line in out.splitlines()]


def test_sample_writes_after_the_prompt(call, models):
    lm = ostinato.load(models / "char")
    out, err = call("sample", models / "char", "--prompt", "to be", "--tokens", "30", "--seed", "7")
    assert out == "to be" + lm.generate("to be", 30, seed=7) + "\n"
    assert err.startswith("[seed 7, sample 0: 30 tokens, log-probability -")
    again, _ = call("sample", models / "char", "--prompt", "to be", "--tokens", "30", "--seed", "7")
    assert again == out


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_sample_json(call, models, level):
    arguments = ("sample", models / level, "--tokens", "12", "--seed", "3", "--json")
    three = records(call(*arguments, "--count", "3")[0])
    assert [record["index"] for record in three] == [0, 1, 2]
    assert len({record["text"] for record in three}) == 3
    assert records(call(*arguments)[0]) == three[:1]
    lm = ostinato.load(models / level)
    made = list(lm.stream_tokens(tokens=12, seed=3, index=2))
    assert three[2]["text"] == "".join(token.text for token in made)
    assert three[2]["logprob"] == pytest.approx(sum(token.logprob for token in made))
    assert three[2]["tokens"] == 12


def test_samples_are_told_apart(call, models):
    lm = ostinato.load(models / "char")
    texts = [lm.generate("to", 10, seed=3, index=index) for index in range(2)]
    out, err = call("sample", models / "char", "--prompt", "to", "--tokens", "10", "--seed", "3", "--count", "2")
    assert out == "---\n".join(f"to{text}".rstrip("\n") + "\n" for text in texts)
    assert err.count("\n") == 2


def test_sample_without_a_seed_says_which_it_took(call, models):
    (record,) = records(call("sample", models / "char", "--tokens", "20", "--json")[0])
    (again,) = records(call("sample", models / "char", "--tokens", "20", "--json", "--seed", record["seed"])[0])
    assert again == record


def test_sample_options_reach_the_model(call, models):
    greedy = call("sample", models / "char", "--tokens", "20", "--temperature", "0")[0]
    for option in (("--top-k", "1"), ("--top-p", "0.0001"), ("--min-p", "1")):
        assert call("sample", models / "char", "--tokens", "20", *option)[0] == greedy
    whole = call("sample", models / "char", "--tokens", "100", "--seed", "1")[0]
    stops = (whole[40:42], whole[60:63])
    stopped = call("sample", models / "char", "--tokens", "100", "--seed", "1", "--stop", stops[0], "--stop", stops[1])[
        0
    ]
    assert stopped.rstrip("\n") == whole[: min(whole.find(stop) for stop in stops)].rstrip("\n")


def test_sample_controls_repetition(call, models):
    """Sequences that come twice within 128 tokens, by level; a line end may end one again."""

    def repeated(*options):
        (record,) = records(call("sample", models / "char", "--tokens", "128", "--seed", "1", "--json", *options)[0])
        grams = [record["text"][at : at + 3] for at in range(len(record["text"]) - 2)]
        return len(grams) - len(set(grams)) - sum(gram[-1] == "\n" for gram in grams)

    assert repeated("--temperature", "0.3") > 20
    assert repeated("--temperature", "0.3", "--no-repeat-ngram", "3") <= 0
    assert repeated("--temperature", "0.3", "--repetition-penalty", "3") < repeated("--temperature", "0.3")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["char", "--repetition-penalty", "0"], "repetition_penalty is 0.0; expected 1 (off) or more"),
        (["char", "--no-repeat-ngram", "-2"], "no_repeat_ngram is -2; expected 0 (off)"),
        (["char", "--temperature", "-1"], "temperature is -1.0; expected 0 (greedy) or more"),
        (["char", "--top-k", "0"], "top_k is 0"),
        (["char", "--count", "0"], "count is 0"),
        (["char", "--tokens", "-1"], "tokens is -1"),
        (["char", "--seed", "-1"], "seed is -1"),
        (["char", "--stop", ""], "stop string is empty"),
        (["char", "--prompt", "Zoë"], "'Z', 'ë'"),
        (["word", "--prompt", "a zebra"], "'a', 'zebra'"),
        (["char-both"], "ostinato fill"),
        (["nothing"], "does not exist"),
        (["."], "config.json is missing"),
        (["char/config.json"], "is a file"),
    ],
)
def test_sample_refuses(refused, models, arguments, complaint):
    assert complaint in refused("sample", models / arguments[0], *arguments[1:])


def test_sample_may_read_unknown_characters(call, models):
    out, _ = call("sample", models / "char", "--prompt", "Zoë", "--tokens", "5", "--allow-unknown")
    assert out.startswith("Zoë")


def test_damage_is_one_line(refused, call, tmp_path):
    folder = write_folder(tmp_path / "m")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(good[: len(good) // 2])
        for arguments in (["sample", folder], ["score", folder, folder / "README.md"], ["fill", folder, "___"]):
            assert name in refused(*arguments)
        (folder / name).write_bytes(good)
    call("sample", folder, "--tokens", "1")


def test_a_terminal_gets_whole_characters_and_nothing_to_obey(models):
    """Through a pseudo-terminal, byte level: valid UTF-8, no escape sequences."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", CODE, "sample", models / "byte", "--tokens", "600", "--seed", "1"]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        data = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                break
            if not part:
                break
            data += part
        assert process.wait() == 0
    os.close(ours)
    text = data.decode("utf-8")
    assert len(text) > 200
    assert all(character in "\n\r\t" or character >= " " for character in text)
    assert "\x7f" not in text


def test_a_closed_pipe_is_quiet(models):
    command = [sys.executable, "-c", CODE, "sample", models / "char", "--tokens", "200000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_score_table_and_json(call, models, tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two[b].txt.gz"
    one.write_text(TEXT, encoding="utf-8")
    two.write_bytes(gzip.compress(b"to be\n"))
    lm = ostinato.load(models / "word")
    out, _ = call("score", models / "word", one, two, "--json")
    found = records(out)
    assert [record["file"] for record in found] == [str(one), str(two)]
    assert found[0] == {"file": str(one), **lm.score(TEXT).to_json()}
    table, _ = call("score", models / "word", one, two)
    total = lm.score(TEXT) + lm.score("to be\n")
    assert f"{total.bits_per_byte:.4f}" in table
    assert f"{lm.score(TEXT).perplexity:.3f}" in table
    assert "unknown tokens scored as <unk>" in " ".join(table.split())


def test_score_lines_and_tokens(call, models, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("to be\nor not\n")
    lm = ostinato.load(models / "char")
    lines = records(call("score", models / "char", path, "--per", "line", "--json")[0])
    assert [line["line"] for line in lines] == [1, 2]
    assert sum(line["nats"] for line in lines) == pytest.approx(lm.score("to be\nor not\n").nats)
    tokens = records(call("score", models / "char", path, "--per", "token", "--json")[0])
    assert "".join(token["text"] for token in tokens) == "to be\nor not\n"
    assert [token["line"] for token in tokens] == [1] * 6 + [2] * 7
    assert call("score", models / "char", path, "--per", "line")[0].count("\n") == 4
    assert call("score", models / "char", path, "--per", "token")[0].count("\n") == 15


def test_score_policies(call, models, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("to be zzz\nor not\n")
    options = ("--state", "reset", "--unk", "skip", "--no-line-end")
    (record,) = records(call("score", models / "word", path, "--json", *options)[0])
    expected = ostinato.load(models / "word").score(
        "to be zzz\nor not\n", state="reset", unk="skip", line_end=False, tokens=False
    )
    assert record == {"file": str(path), **expected.to_json()}
    caption = " ".join(call("score", models / "word", path, *options)[0].split())
    assert "every line begins anew, line ends left out, unknown tokens left out" in caption


@pytest.mark.parametrize("arguments", [["-"], []])
def test_score_reads_standard_input(call, models, monkeypatch, arguments):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"to be\n")))
    (record,) = records(call("score", models / "char", *arguments, "--json")[0])
    assert (record["file"], record["chars"]) == ("-", 6)


def test_a_pseudo_score_is_called_so(call, models, tmp_path):
    path = tmp_path / "one.txt"
    path.write_text("to be\n")
    assert "pseudo-perplexity" in call("score", models / "char-both", path, "--per", "line")[0]
    (record,) = records(call("score", models / "char-both", path, "--json")[0])
    assert record["pseudo"] is True
    assert "perplexity" not in record


def test_score_refuses(refused, call, models, tmp_path):
    (tmp_path / "bad").write_bytes(b"to be\nor \xff\n")
    assert "line 2" in refused("score", models / "char", tmp_path / "bad")
    assert "no such file" in refused("score", models / "char", tmp_path / "missing")
    (tmp_path / "empty").write_bytes(b"")
    assert "empty" in refused("score", models / "char", tmp_path / "empty")
    for wrong in (["--per", "page"], ["--state", "kept"], ["--stat", "carry"]):
        with pytest.raises(SystemExit) as caught:
            run(["score", str(models / "char"), *wrong])
        assert caught.value.code != 0


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
def test_fill(call, models, level):
    lm = ostinato.load(models / f"{level}-both")
    filled = lm.fill("to be or ___ to ___2")
    out, _ = call("fill", models / f"{level}-both", "to be or ___ to ___2")
    assert out.splitlines()[0] == filled.text.splitlines()[0]
    assert f"gap 2: {filled.gaps[1].text!r}" in out
    record = json.loads(call("fill", models / f"{level}-both", "to be or ___ to ___2", "--json")[0])
    assert record["text"] == filled.text
    for gap, expected in zip(record["gaps"], filled.gaps, strict=True):
        assert record["text"][gap["start"] : gap["end"]] == gap["text"] == expected.text
        assert gap["alternatives"][0] == list(expected.alternatives[0])
        assert 0 < gap["probability"] <= 1
        assert len(gap["tokens"]) == len(expected.tokens)


def test_fill_draws_with_a_seed(call, models):
    arguments = ("fill", models / "word-both", "to ___3 be", "--temperature", "2", "--seed")
    assert call(*arguments, "1") == call(*arguments, "1")
    assert len({call(*arguments, seed)[0] for seed in range(6)}) > 1


def test_fill_names_what_it_reads_as_unknown(call, models):
    _, notes = call("fill", models / "word-both", "the zebra ___ to Zorn, to ___ the zebra")
    assert "[never seen in training, read as unknown: 'zebra', 'Zorn']" in notes
    assert "'中'" in call("fill", models / "char-both", "中___1")[1]
    assert "unknown" not in call("fill", models / "char-both", "to be ___ to")[1]


def test_fill_refuses(refused, models):
    assert "no gap" in refused("fill", models / "char-both", "to be")
    assert "--bidirectional" in refused("fill", models / "char", "to ___")
    assert "temperature is -1.0" in refused("fill", models / "char-both", "to ___", "--temperature", "-1")
    assert "0 tokens" in refused("fill", models / "char-both", "to ___", "--gap-tokens", "0")
