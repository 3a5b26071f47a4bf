"""The commands that the documents print: each can be typed as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
import zipfile
from typing import Any

import pytest
import typer
from support import world as worlds

from pipeline import cli

DOCUMENTS = ("README.md", "docs/review.md", "docs/verification.md")


def commands(document: str) -> list[list[str]]:
    """Every `sluis …` line of a document's blocks of code, continued lines joined."""
    text = (worlds.REPOSITORY / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("sluis ")]


def exported(document: str) -> dict[str, str]:
    """What a document says to export."""
    text = (worlds.REPOSITORY / document).read_text(encoding="utf-8")
    lines = re.findall(r"^export (.*)$", text, re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_printed_command_has_what_it_needs(document, monkeypatch):
    """Each parses with the exported variables and nothing else."""
    for name in ("SLUIS_VERIFICATION", "SLUIS_VAULT", "SLUIS_REVIEWER_KEYS", "SLUIS_STORE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in exported(document).items():
        monkeypatch.setenv(name, value)
    printed = commands(document)
    assert len(printed) >= 5
    for line in printed:
        words = line[: line.index(">")] if ">" in line else line
        group = typer.main.get_command(cli.app)
        rest = words
        while hasattr(group, "commands"):
            group = group.commands[rest[0]]
            rest = rest[1:]
        with group.make_context("sluis", list(rest)):
            pass  # parsed: a missing option or argument raises
        assert "…" not in " ".join(words), f"{document}: {words} cannot be typed"


def test_the_library_examples_do_what_they_say(monkeypatch, tmp_path, capsys):
    """README's Python runs as it is printed, one example after the other."""
    text = (worlds.REPOSITORY / "README.md").read_text(encoding="utf-8")
    look_up, look_inside = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for name in ("listed.jpg", "upload.jpg"):
        shutil.copy(worlds.PHOTOS / "cat.jpg", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(look_up, names)
    assert len(names["hits"].query) == 1
    with zipfile.ZipFile(tmp_path / "upload.zip", "w") as archive:
        archive.write(tmp_path / "upload.jpg", "a.jpg")
    exec(look_inside, names)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"(1,) full {names['listed'].hex(0)}"
    assert len(others) > 50
