"""The command line as a person uses it: every command, its errors and its exit status."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from support import world as worlds

from pipeline import cli


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


@pytest.fixture
def sluis(monkeypatch, capsys, tmp_path):
    """Run `sluis …` in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUIS_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["sluis", *map(str, arguments)])
        status = 0
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return run


COMMANDS = [
    ["scan"], ["report"], ["order", "example"], ["order", "check"], ["keys", "new"],
    ["indicators", "build"], ["indicators", "verify"], ["verification", "serve"],
    ["verification", "list"], ["verification", "open"], ["verification", "decide"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(sluis, command):
    """--help teaches: a sentence for the command and one for each option."""
    done = sluis(*command, "--help")
    assert done.status == 0
    assert "Usage:" in done.out
    import typer

    group = typer.main.get_command(cli.app)
    for name in command:
        group = group.commands[name]
    assert group.help
    for parameter in group.params:
        assert parameter.help, f"{' '.join(command)} {parameter.name} has no help"


def test_the_example_order_passes_its_own_check(sluis, tmp_path):
    """`order example` prints a file that `order check` accepts, while it is in force."""
    example = sluis("order", "example").out
    values = yaml.safe_load(example)
    today = worlds.real_now().date()
    values |= {"valid_from": today, "valid_until": today}
    Path("order.yaml").write_text(yaml.safe_dump(values))
    done = sluis("order", "check", "order.yaml")
    assert done.status == 0, done.err
    assert "complete and in force" in done.out


def test_a_defective_order_names_every_field_and_the_remedy(sluis):
    """One pass shows all that is wrong, with what to do, and the status says refused."""
    values = yaml.safe_load(sluis("order", "example").out)
    del values["redress"]
    values["service"]["risk_category"] = "enormous"
    Path("order.yaml").write_text(yaml.safe_dump(values))
    done = sluis("order", "check", "order.yaml")
    assert done.status == 2
    assert "redress: is missing [insufficient_information]" in done.err
    assert "service.risk_category" in done.err
    assert "Traceback" not in done.err


@pytest.fixture
def deployed(sluis, tmp_path):
    """Keys, order and a set made by the commands of the README."""
    assert sluis("keys", "new", "keys").status == 0
    today = worlds.real_now().date()
    values = worlds.order_values(
        legal_profile="be2024", valid_from=today, valid_until=today.replace(year=today.year + 1)
    )
    Path("order.yaml").write_text(yaml.safe_dump(values))
    Path("listed").mkdir()
    for name in ("cat", "coffee"):
        shutil.copy(worlds.PHOTOS / f"{name}.jpg", "listed")
    Path("listed", "broken.jpg").write_text("no picture")
    done = sluis(
        "indicators", "build", "listed", "sets/known", "--set-id", "known", "--kind", "known",
        "--order", worlds.REFERENCE, "--not-after", "2099-01-01", "--provenance", "test",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert "left out: broken.jpg: unrecognised_format" in done.err
    return worlds.World(tmp_path)


def test_from_keys_to_a_verdict_by_commands_alone(sluis, deployed, tmp_path):
    """The whole path of the README, typed."""
    assert (
        "signature, data and period are in order" in sluis("indicators", "verify", "sets/known").out
    )
    Path("photos").mkdir()
    for name in ("cat", "fig"):
        shutil.copy(worlds.PHOTOS / f"{name}.jpg", "photos")
    with worlds.verification(deployed, tmp_path / "store.sqlite3") as address:
        scan = ["scan", "photos", "--order", "order.yaml", "--indicators", "sets/known",
                "--verification", address]  # fmt: skip
        refused = sluis(*scan, "--run-dir", "run")
        assert refused.status == 2
        assert "--consent given" in refused.err
        done = sluis(*scan, "--run-dir", "run", "--consent", "given")
        assert done.status == 0, done.err
        assert "2 of 2 items" in done.err
        assert "= clear + candidate + skipped + failed" in done.out
        assert Path("run/report.html").exists()
        again = sluis(*scan, "--run-dir", "run", "--consent", "given")
        assert again.status == 0
        assert "holds a complete run" in again.err
        fast = [*scan, "--run-dir", "run-fast", "--consent", "given", "--pdq-mode"]
        assert sluis(*fast, "fast").status == 0
        assert json.loads(Path("run-fast/report.json").read_text())["pdq_mode"] == "fast"
        assert "'faster' is not one of 'exact', 'fast'" in sluis(*fast, "faster").err
        Path("run/report.html").unlink()
        assert sluis("report", "run").status == 0
        assert Path("run/report.html").exists()

        listed = sluis("verification", "list", "--verification", address)
        assert "1 released candidates" in listed.out
        assert "known/cat.jpg" in listed.out
        (one,) = map(
            json.loads,
            sluis("verification", "list", "--verification", address, "--json").out.splitlines(),
        )
        name = one["candidate_id"]
        opened = sluis("verification", "open", name, "--verification", address)
        assert "opaque" in opened.out
        assert "cat.jpg" in opened.out
        assert json.loads(
            sluis("verification", "open", name, "--verification", address, "--json").out
        ) == one  # fmt: skip
        no_reason = sluis("verification", "decide", name, "rejected", "--verification", address)
        assert no_reason.status == 4
        assert "needs a reason" in no_reason.err
        decided = sluis(
            "verification", "decide", name, "rejected", "--reason", "a cat", "--verification",
            address, "--keys", "keys/reviewer-2",
        )  # fmt: skip
        assert "rejected by spiffe://sluis/reviewer/reviewer-2" in decided.out
        state = sluis("verification", "list", "--state", "rejected", "--verification", address)
        assert "1 rejected candidates" in state.out


def test_errors_end_in_one_message_and_a_status(sluis, deployed):
    """Each kind of refusal has its status, says what to do, and shows no trace."""
    Path("photos").mkdir()
    shutil.copy(worlds.PHOTOS / "cat.jpg", "photos")
    scan = ["scan", "photos", "--order", "order.yaml", "--indicators", "sets/known",
            "--verification", "127.0.0.1:9", "--run-dir", "run", "--consent", "given"]  # fmt: skip

    def changed(option: str, value: str) -> list[str]:
        place = scan.index(option)
        return [*scan[: place + 1], value, *scan[place + 2 :]]

    cases = [
        (scan, 3, "cannot be reached"),
        (changed("--order", "none.yaml"), 2, "order example"),
        (changed("--indicators", "nowhere"), 1, "not an indicator set"),
        ([*scan, "--keys", "keys/reviewer-1"], 2, "keys/reviewer-1"),
        (["scan", "nothing", *scan[2:-2]], 2, "does not exist"),
        (["report", "run-unknown"], 2, "holds no complete run"),
        (["keys", "new", "keys"], 2, "never overwritten"),
        (["verification", "open", "abc", "--verification", "127.0.0.1:9"], 2, "32 hex digits"),
        (["verification", "list", "--verification", "127.0.0.1:9"], 3, "cannot be reached"),
        (["scan"], 2, "Missing argument"),
        (["scan", "photos", "--colour"], 2, "No such option"),
        (["indicators", "build", "listed", "sets/known", "--set-id", "known", "--kind", "known",
          "--order", "X", "--not-after", "2099-01-01", "--provenance", "x"], 1, "never changed"),
        (["indicators", "build", "listed", "sets/x", "--set-id", "X Y", "--kind", "known",
          "--order", "X", "--not-after", "2099-01-01", "--provenance", "x"], 1, "set_id"),
    ]  # fmt: skip
    for arguments, status, message in cases:
        done = sluis(*arguments)
        assert (done.status, message in done.err) == (status, True), (arguments, done)
        assert "Traceback" not in done.err


def test_options_for_directories_are_refused_for_a_manifest(sluis, deployed):
    """A manifest says row by row what a directory cannot; saying it twice is a mistake."""
    Path("m.csv").write_text("item_id,uri,part,encryption,account_class\n")
    done = sluis("scan", "m.csv", "--order", "order.yaml", "--indicators", "sets/known",
                 "--verification", "127.0.0.1:9", "--run-dir", "run", "--part", "x")  # fmt: skip
    assert done.status == 2
    assert "row by row" in done.err


def test_an_order_with_several_parts_asks_which_one_a_directory_is(sluis, deployed):
    """The part of a directory is never guessed."""
    values = yaml.safe_load(Path("order.yaml").read_text())
    values["service"]["parts"] = ["gallery", "avatars"]
    Path("order.yaml").write_text(yaml.safe_dump(values))
    Path("photos").mkdir()
    done = sluis("scan", "photos", "--order", "order.yaml", "--indicators", "sets/known",
                 "--verification", "127.0.0.1:9", "--run-dir", "run")  # fmt: skip
    assert done.status == 2
    assert "gallery, avatars" in done.err
