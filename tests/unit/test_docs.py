"""Pages that are generated are what the code says; commands that pages show exist, and the README's Python runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from runs import prose

from ostinato.cli.main import VERBS

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_command_line_is_what_the_verbs_say() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs" / "cli.md").read_text("utf-8") == generate.page(), "run: make docs"


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("It was the best of times.\n" + prose())
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert "minutes=5" in code
    exec(compile(code.replace("minutes=5", "steps=3, hidden=16"), "README.md", "exec"), {})
    assert re.search(r"^[0-9.]+ [0-9.]+ [0-9.]+$", capsys.readouterr().out, re.MULTILINE)  # the scores


@pytest.mark.parametrize("page", ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))])
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", ["README.md", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md"))])
def test_every_verb_and_flag_that_a_page_shows_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    helped = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for line in re.findall(r"^\s*(?:\$ )?ostinato (.+)$", text, re.MULTILINE):
        verb = line.split()[0]
        if verb.islower() and verb.isalpha():
            assert verb in VERBS, line
            section = helped.split(f"## ostinato {verb}\n")[1].split("\n## ")[0]
            for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", line):
                assert flag in section, f"{flag} in: ostinato {line}"
