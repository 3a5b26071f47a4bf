"""The command line as a person uses it: every command, its errors and its exit status."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support import rulings
from support import world as worlds
from support.pictures import smooth
from support.videos import clip, encode

from matchers import indicators, urls
from pipeline import cli, keys, order, verdict_file, verdicts
from pipeline.text import has_control
from pipeline.verdicts import REJECTED, sign_decision
from pipeline.verification import expiry
from pipeline.verification.store import open_store

COMMANDS = [
    ["scan"], ["report"], ["order", "example"], ["order", "check"], ["keys", "new"],
    ["keys", "list"], ["keys", "rotate"], ["keys", "destroy"], ["verification", "sweep"],
    ["verification", "close"], ["verification", "checkpoint"], ["verification", "audit"],
    ["indicators", "build"], ["indicators", "verify"], ["verification", "serve"],
    ["verification", "list"], ["verification", "open"], ["verification", "decide"],
    ["verification", "explain"], ["verdicts", "fetch"], ["verdicts", "show"], ["verdicts", "sweep"],
    ["vault", "serve"], ["vault", "identify"], ["vault", "register"], ["reports", "draft"], ["reports", "check"],
    ["reports", "schema"], ["reports", "sweep"], ["reports", "sent"], ["reports", "close"],
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


def serving(deployed: worlds.World, store: Path):
    """A service of today, for the order that the commands have written."""
    return worlds.verification(
        deployed, store, orders=[order.load(Path("order.yaml"))], clock=time.time
    )


@pytest.mark.parametrize(
    "command",
    [["list"], ["open", "00" * 16], ["decide", "00" * 16, "confirmed"],
     ["explain", "00" * 16, "--reference", "C-1"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_who_reviews_is_said_and_never_guessed(sluis, deployed, command):
    """No folder that happens to lie here makes anybody reviewer 1."""
    assert Path("keys/reviewer-1").is_dir()
    done = sluis("verification", *command, "--verification", "127.0.0.1:9")
    assert done.status == 2
    assert "--keys" in done.err
    assert "SLUIS_REVIEWER_KEYS" in done.err


def signer(folder: str) -> str:
    """The id of the key that signs a reviewer's decisions."""
    return verdicts.reviewer_id(keys.signing_key(Path(folder) / "decision.key").public_key())


def test_from_keys_to_a_verdict_by_commands_alone(sluis, deployed, tmp_path, monkeypatch):
    """The whole path of the README, typed."""
    monkeypatch.setenv("SLUIS_REVIEWER_KEYS", "keys/reviewer-1")
    assert (
        "signature, data and period are in order" in sluis("indicators", "verify", "sets/known").out
    )
    Path("photos").mkdir()
    for name in ("cat", "fig"):
        shutil.copy(worlds.PHOTOS / f"{name}.jpg", "photos")
    with serving(deployed, tmp_path / "store.sqlite3") as address:
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
        assert "1 candidate waits for your decision" in listed.out
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
        assert no_reason.status == 2
        assert "--reason" in no_reason.err
        decided = sluis(
            "verification", "decide", name, "rejected", "--reason", "a cat", "--verification",
            address, "--keys", "keys/reviewer-2",
        )  # fmt: skip
        assert "say rejected; now rejected (a verdict, number 1 of its order)" in decided.out
        assert f"you, {signer('keys/reviewer-2')}, say" in decided.out
        state = sluis("verification", "list", "--state", "rejected", "--verification", address)
        assert "1 rejected candidate" in state.out.splitlines()


def test_from_a_candidate_to_a_report_by_commands_alone(sluis, deployed, tmp_path, monkeypatch):
    """The reviewers' and the report desk's day, as docs/review.md tells it."""
    Path("photos").mkdir()
    for name in ("cat", "coffee"):
        shutil.copy(worlds.PHOTOS / f"{name}.jpg", "photos")
    valid = order.load(Path("order.yaml"))
    now = {"clock": time.time, "orders": [valid]}
    with (
        worlds.verification(deployed, tmp_path / "store.sqlite3", **now) as address,
        worlds.vault(deployed, tmp_path, orders=[valid]) as vault,
    ):
        monkeypatch.setenv("SLUIS_VERIFICATION", address)
        monkeypatch.setenv("SLUIS_VAULT", vault)
        monkeypatch.setenv("SLUIS_REVIEWER_KEYS", "keys/reviewer-1")
        scan = ["scan", "photos", "--order", "order.yaml", "--indicators", "sets/known",
                "--consent", "given"]  # fmt: skip
        assert sluis(*scan, "--run-dir", "run").status == 0
        listed = sluis("verification", "list", "--json").out.splitlines()
        names = {(one := json.loads(line))["indicator"]: one["candidate_id"] for line in listed}
        cat, coffee = names["cat.jpg"], names["coffee.jpg"]

        first = sluis("verification", "decide", cat, "confirmed")
        assert "now confirmed_once (a second, different reviewer must look)" in first.out
        assert "you: confirmed" in sluis("verification", "list", "--state", "confirmed_once").out
        two = ("--keys", "keys/reviewer-2")
        for who, waiting in (((), [coffee]), (two, [cat, coffee])):
            todo = sluis("verification", "list", "--json", *who).out.splitlines()
            assert [json.loads(line)["candidate_id"] for line in todo] == waiting
        dispute = sluis("verification", "decide", coffee, "confirmed")
        twice = sluis("verification", "decide", coffee, "confirmed")
        assert (twice.status, "had decided already: confirmed" in twice.out) == (0, True)
        other = sluis("verification", "decide", coffee, "rejected", "--reason", "no")
        assert (other.status, "you have already decided" in other.err) == (4, True)
        dispute = sluis("verification", "decide", coffee, "rejected", "--reason", "coffee", *two)
        assert "now disputed (reviewers disagree" in dispute.out
        early = sluis("reports", "draft", cat, "--verdicts", "verdicts.jsonl", "--order",
                      "order.yaml")  # fmt: skip
        assert (early.status, "verdicts fetch" in early.err) == (2, True)
        assert "a verdict, number 1" in sluis("verification", "decide", cat, "confirmed", *two).out

        fetch = ["verdicts", "fetch", "verdicts.jsonl", "--order", "order.yaml"]
        assert "1 new verdict in" in sluis(*fetch).out
        assert "0 new verdicts" in sluis(*fetch).out
        assert sluis("verdicts", "sweep", "verdicts.jsonl").out == "0 payloads deleted\n"
        monkeypatch.setenv("COLUMNS", "80")
        narrow = sluis("verdicts", "show", "verdicts.jsonl").out  # folded, nothing is cut off
        assert "…" not in narrow
        column = narrow.splitlines()[0].index("candidate")
        cells = (line[column:].split(" ")[0] for line in narrow.splitlines()[1:-1])
        assert "".join(cells) == cat
        monkeypatch.setenv("COLUMNS", "200")
        shown = sluis("verdicts", "show", "verdicts.jsonl")
        assert (
            "1 verdict, all signed by verification and reviewers: 1 confirmed, 0 rejected"
            in shown.out
        )
        assert cat in shown.out

        draft = ["reports", "draft", cat, "--verdicts", "verdicts.jsonl", "--order", "order.yaml"]
        blind = sluis(*draft, "--reports", "blind")
        assert "Ask the vault" in blind.out
        identified = sluis("vault", "identify", "verdicts.jsonl")
        assert identified.out.strip() == f"{cat}: handed over"
        assert sluis("vault", "identify", "verdicts.jsonl").out.strip() == f"{cat}: repeated"
        unknown = sluis("vault", "identify", "verdicts.jsonl", "--candidate", coffee)
        assert (unknown.status, "no verdict" in unknown.err) == (2, True)
        acts = sluis("vault", "register", "--register", "register.sqlite3").out
        assert "3 acts, each following" in acts

        done = sluis(*draft)
        assert "16 fields still to be filled in" in done.out
        path = Path("reports") / f"{cat}.json"
        report = json.loads(path.read_text())
        assert report["content"]["item_id"] == "cat.jpg"
        assert path.with_suffix(".html").exists()
        again = sluis(*draft)
        assert (again.status, "exists" in again.err) == (2, True)
        checked = sluis("reports", "check", str(path))
        assert (checked.status, "urgency.urgent_action_required" in checked.out) == (1, True)
        sent = ["reports", "sent", cat, "--reference", "EU-1"]
        empty = sluis(*sent)
        assert (empty.status, "16 fields still to be filled in" in empty.err) == (2, True)
        absent = sluis(*sent, "--reports", "elsewhere")
        assert (absent.status, "reports draft" in absent.err) == (2, True)
        fill_in(report)
        path.write_text(json.dumps(report))
        complete = sluis("reports", "check", str(path))
        assert (complete.status, "complete" in complete.out) == (0, True)

        close = ["reports", "close", cat, "--note", "done"]
        turn = sluis(*close)
        assert (turn.status, "closed follows" in turn.err) == (4, True)
        assert "reported" in sluis(*sent).out
        assert sluis(*sent, "--reports", "elsewhere", "--even-if-incomplete").status == 0
        assert "closed" in sluis(*close).out

        explain = ["verification", "explain", cat, "--reference", "C-1"]
        told = sluis(*explain)
        assert "number 1 of the order" in told.out
        assert "decision 2" in told.out
        told = json.loads(sluis(*explain, "--json").out)
        assert (told["set"], told["radius_bits"], told["state"]) == ("known", 31, "closed")
        assert len(told["decisions"]) == 2
        assert "token" not in json.dumps(told)
        refused = sluis("verification", "explain", cat, "--reference", "Jane Doe")
        assert (refused.status, "no name" in refused.err) == (4, True)

        assert json.loads(sluis("reports", "schema").out)["title"] == "Report"
        assert sluis("reports", "sweep").out.strip() == "0 reports deleted"


def test_a_complaint_is_answered_also_after_the_content_is_erased(
    sluis, world, tmp_path, monkeypatch
):
    """Who decided what, when, stays; what matched does not."""
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    shutil.copy(worlds.PHOTOS / "cat.jpg", uploads)
    store = tmp_path / "store.sqlite3"
    with worlds.verification(world, store) as address:
        world.scan(uploads, world.config(address), tmp_path / "run")
        with worlds.reviewer(world, address) as reviewer:
            (item,) = list(reviewer.list(0))
            reviewer.decide(item.candidate.candidate_id, "rejected", "a cat")
        later = open_store(store, clock=lambda: worlds.clock().timestamp() + 400 * 86_400)
        assert expiry.sweep(later).erased == 1
        later.close()
        connect = ("--verification", address, "--keys", world.keys / "reviewer-1")
        listed = sluis("verification", "list", "--state", "all", *connect)
        assert "is erased" in listed.err
        explain = ["verification", "explain", item.candidate.candidate_id.hex()]
        told = sluis(*explain, "--reference", "C-2", "--json", *connect)
        answer = json.loads(told.out)
        assert answer["matched"] == "erased: its retention is over"
        assert answer["decisions"][0]["reason"] == "a cat"


def test_reasons_cannot_steer_the_terminal_they_are_shown_on(sluis, world, tmp_path):
    """Not even those that a service has taken and signed."""
    about, folder = rulings.subject(), world.keys
    decision = sign_decision(
        keys.signing_key(folder / "reviewer-1" / "decision.key"), about, value=REJECTED,
        payload=b"", pair_id=b"", reason="a cat\x1b]0;owned\x07\x1b[2J confirmed",
    )  # fmt: skip
    rejection = rulings.Ruling(about, (decision,), b"", REJECTED)
    path = tmp_path / "verdicts.jsonl"
    service = keys.signing_key(folder / "verification" / "verdict.key")
    verdict_file.append(path, [rejection.sign(service)])
    done = sluis("verdicts", "show", path, "--keys", folder / "desk")
    assert "a cat" in done.out
    assert not has_control(done.out.replace("\n", ""))


def test_verdicts_are_followed_until_one_stops_it(world, tmp_path):
    """A process of its own writes each verdict as it is made; Ctrl-C ends it in order."""
    path = tmp_path / "verdicts.jsonl"
    (tmp_path / "order.yaml").write_text(yaml.safe_dump(worlds.order_values()))
    command = ["verdicts", "fetch", path, "--order", tmp_path / "order.yaml", "--follow", "--keys",
               world.keys / "desk"]  # fmt: skip
    config = world.config
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    shutil.copy(worlds.PHOTOS / "cat.jpg", uploads)
    with worlds.verification(world, tmp_path / "store.sqlite3") as address:
        world.scan(uploads, config(address), tmp_path / "run")
        following = subprocess.Popen(
            [Path(sys.executable).parent / "sluis", *command, "--verification", address],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert following.stdout.readline().startswith("0 new verdicts")
        with worlds.reviewer(world, address) as reviewer:
            (item,) = list(reviewer.list(0))
            reviewer.decide(item.candidate.candidate_id, "rejected", "a cat")
        assert following.stdout.readline() == "1: rejected\n"
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0
        following.stdout.close()
    assert len(path.read_text().splitlines()) == 1


def fill_in(report: dict) -> None:
    """Complete a report as a person would."""
    values = {
        "urgent_action_required": False,
        "uploaded_at": "2026-03-01T12:00:00+01:00",
        "signed_at": "2026-03-02T09:00Z",
        "access": "removed",
    }
    for section in report.values():
        if isinstance(section, dict):
            for name, value in section.items():
                if value is None and name != "grounds":
                    section[name] = values.get(name, "none")


@pytest.mark.parametrize("kind", ["new", "url"])
def test_a_second_version_carries_on_the_first(sluis, deployed, kind):
    """By commands: days, clusters and the key of URLs stay, though every line of the list moves."""
    listed = {"new": ["00" * 32, "ff" * 32], "url": ["http://a.example/", "http://b.example/"]}[
        kind
    ]
    added = {"new": "0f" * 32, "url": "http://c.example/"}[kind]
    says = {"new": ["--algorithm", "pdq"], "url": []}[kind]
    found = []
    for version, lines, more in (
        (1, listed, ["--effective", "2026-01-01"]),
        (
            2,
            [added, *listed],
            ["--version", 2, "--previous", "sets/v1", "--effective", "2026-02-01"],
        ),
    ):
        Path("list.txt").write_text("\n".join(lines))
        done = sluis("indicators", "build", "list.txt", f"sets/v{version}", "--set-id", "listed",
                     "--kind", kind, "--order", "X", "--not-after", "2099-01-01",
                     "--provenance", "x", *says, *more)  # fmt: skip
        assert done.status == 0, done.err
        key = keys.trusted_centre_keys(deployed.keys / "provider")
        found.append(indicators.load(f"sets/v{version}", key, today=dt.date(2026, 3, 1)))
    first, second = found
    assert second.manifest.lineage == (first.manifest.sha256,)
    assert second.url_key == first.url_key
    days = [second.effective_day(row) for row in range(3)]
    assert days == [dt.date(2026, month, 1) for month in (2, 1, 1)]
    if kind == "new":
        assert [second.cluster(row) for row in (1, 2)] == [first.cluster(row) for row in (0, 1)]
    else:
        assert second.exact.find(urls.keyed_digest(listed[0], first.url_key)) == 1


def test_errors_end_in_one_message_and_a_status(sluis, deployed):
    """Each kind of refusal has its status, says what to do, and shows no trace."""
    Path("photos").mkdir()
    shutil.copy(worlds.PHOTOS / "cat.jpg", "photos")
    scan = ["scan", "photos", "--order", "order.yaml", "--indicators", "sets/known",
            "--verification", "127.0.0.1:9", "--run-dir", "run", "--consent", "given"]  # fmt: skip

    def changed(option: str, value: str) -> list[str]:
        place = scan.index(option)
        return [*scan[: place + 1], value, *scan[place + 2 :]]

    def next_version(set_id: str, *more: object) -> list[object]:
        return ["indicators", "build", "listed", "sets/next", "--set-id", set_id, "--kind", "known",
                "--order", "X", "--not-after", "2099-01-01", "--provenance", "x", *more]  # fmt: skip

    me = ("--keys", "keys/reviewer-1")
    cases = [
        (scan, 3, "cannot be reached"),
        (changed("--order", "none.yaml"), 2, "order example"),
        (changed("--indicators", "nowhere"), 1, "not an indicator set"),
        ([*scan, "--keys", "keys/reviewer-1"], 2, "keys/reviewer-1"),
        (["scan", "nothing", *scan[2:-2]], 2, "does not exist"),
        (["report", "run-unknown"], 2, "there is no folder run-unknown"),
        (["report", "photos"], 2, "holds no complete run"),
        ([*scan, "--keys", "keys/verification"], 2, "another party's folder (give the provider's)"),
        ([*scan, "--pdq-mode", "fst"], 2, "'--pdq-mode': 'fst' is not one of"),
        (["indicators", "build", "listed", "sets/y", "--set-id", "y", "--kind", "known", "--order",
          "X", "--not-after", "2020-01-01", "--provenance", "x"], 1, "not_after is 2020-01-01; must"),
        (["keys", "new", "keys"], 2, "never overwritten"),
        (["verification", "open", "abc", "--verification", "127.0.0.1:9", *me], 2, "32 hex digits"),
        (["verification", "list", "--verification", "127.0.0.1:9", *me], 3, "cannot be reached"),
        (["scan"], 2, "Missing argument"),
        (["scan", "photos", "--colour"], 2, "No such option"),
        (["indicators", "build", "listed", "sets/known", "--set-id", "known", "--kind", "known",
          "--order", "X", "--not-after", "2099-01-01", "--provenance", "x"], 1, "never changed"),
        (["indicators", "build", "listed", "sets/x", "--set-id", "X Y", "--kind", "known",
          "--order", "X", "--not-after", "2099-01-01", "--provenance", "x"], 1, "set_id"),
        (next_version("known", "--version", 2), 2, "version 2 carries on an earlier one"),
        (next_version("known", "--previous", "sets/known"), 2, "version 1 is the first"),
        (next_version("other", "--version", 2, "--previous", "sets/known"), 1, "set_id is not"),
    ]  # fmt: skip
    for arguments, status, message in cases:
        done = sluis(*arguments)
        assert (done.status, message in done.err) == (status, True), (arguments, done)
        assert "Traceback" not in done.err


def test_what_the_values_of_a_list_are_is_never_guessed(sluis, deployed):
    """SHA-256 digests would pass for PDQ codes and match nothing, in silence."""
    build = ["--set-id", "x", "--kind", "known", "--order", "X", "--not-after", "2099-01-01",
             "--provenance", "x"]  # fmt: skip
    Path("list.txt").write_text("00" * 32)
    Path("list.csv").write_text(f"name,sha256\na,{'00' * 32}\n")
    Path("two.csv").write_text(f"md5,sha256\n{'00' * 16},{'00' * 32}\n")
    for source in ("list.txt", "two.csv"):
        refused = sluis("indicators", "build", source, "sets/x", *build)
        assert refused.status == 2
        assert "--algorithm" in refused.err
        assert not Path("sets/x").exists()
    asked = sluis("indicators", "build", "list.txt", "sets/1", *build, "--algorithm", "sha256")
    assert "1 sha256 indicator," in asked.out
    assert "1 sha256 indicator," in sluis("indicators", "build", "list.csv", "sets/2", *build).out
    refused = sluis("indicators", "build", "list.csv", "sets/3", *build, "--algorithm", "pdq")
    assert (refused.status, "values are sha256, not pdq" in refused.err) == (1, True)


def test_a_set_of_videos_is_built_from_a_folder(sluis, deployed):
    """A file is an indicator, whether a video or a published list; what is left out is named."""
    folder = Path("clips")
    folder.mkdir()
    scenes = [smooth(96, 128, seed) for seed in range(5)]
    (folder / "clip.mp4").write_bytes(encode(clip(*((scene, 4) for scene in scenes))))
    codes = "".join(f"{n},100,{f'{n}f' * 32},0.000\n" for n in range(5))
    (folder / "listed.txt").write_text(f"{codes}5,20,{'f0' * 32},0.033\n")
    (folder / "broken.mp4").write_bytes(b"nothing")
    done = sluis("indicators", "build", "clips", "sets/clips", "--algorithm", "vpdq", "--set-id",
                 "clips", "--kind", "known", "--order", "X", "--not-after", "2099-01-01",
                 "--provenance", "x", "--min-share-percent", "70")  # fmt: skip
    assert (done.status, "left out: broken.mp4: corrupt" in done.err) == (0, True)
    assert "2 videos of 10 vpdq frames" in done.out
    shown = sluis("indicators", "verify", "sets/clips")
    assert shown.status == 0
    assert "70 % of an indicator's frames" in shown.out
    unsaid = sluis("indicators", "build", "clips", "sets/no", "--set-id", "no", "--kind", "known",
                   "--order", "X", "--not-after", "2099-01-01", "--provenance", "x")  # fmt: skip
    assert (unsaid.status, "--algorithm vpdq" in unsaid.err) == (1, True)
    refused = sluis("indicators", "build", "clips", "sets/no", "--algorithm", "md5", "--set-id",
                    "no", "--kind", "known", "--order", "X", "--not-after", "2099-01-01",
                    "--provenance", "x")  # fmt: skip
    assert (refused.status, "a folder gives pdq or vpdq" in refused.err) == (2, True)


def test_the_address_of_another_service_is_told_from_a_refusal(sluis, deployed, tmp_path):
    """The vault where verification is meant: the message names the mistake."""
    Path("photos").mkdir()
    shutil.copy(worlds.PHOTOS / "cat.jpg", "photos")
    with worlds.vault(deployed, tmp_path, orders=[order.load(Path("order.yaml"))]) as vault:
        for command in (
            ["scan", "photos", "--order", "order.yaml", "--indicators", "sets/known", "--run-dir",
             "run", "--consent", "given"],
            ["verification", "list", "--keys", "keys/reviewer-1"],
        ):  # fmt: skip
            done = sluis(*command, "--verification", vault)
            assert done.status == 3
            assert "that this is its address and not another service's" in done.err


def test_options_for_directories_are_refused_for_a_manifest(sluis, deployed):
    """A manifest says row by row what a directory cannot; saying it twice is a mistake."""
    Path("m.csv").write_text("item_id,uri,part,encryption,account_class\n")
    done = sluis("scan", "m.csv", "--order", "order.yaml", "--indicators", "sets/known",
                 "--verification", "127.0.0.1:9", "--run-dir", "run", "--part", "x")  # fmt: skip
    assert done.status == 2
    assert "row by row" in done.err


def test_a_part_that_the_order_does_not_name_is_refused(sluis, deployed):
    """A slip of the pen is no complete run in which everything was skipped."""
    Path("photos").mkdir()
    shutil.copy(worlds.PHOTOS / "cat.jpg", "photos")
    done = sluis("scan", "photos", "--order", "order.yaml", "--indicators", "sets/known",
                 "--verification", "127.0.0.1:9", "--run-dir", "run", "--consent", "given",
                 "--part", "public-galery")  # fmt: skip
    assert done.status == 2
    assert "(public-gallery)" in done.err
    assert not Path("run").exists()


@pytest.mark.parametrize("group_by", ["account", "material"])
def test_a_directory_under_an_order_for_new_material_is_warned_about(sluis, deployed, group_by):
    """Its items have no account, so that no two of their hits ever meet."""
    values = yaml.safe_load(Path("order.yaml").read_text())
    scan = ["scan", "photos", "--order", "order.yaml", "--indicators", "sets/known",
            "--verification", "127.0.0.1:9", "--run-dir", "run", "--consent", "given"]  # fmt: skip
    Path("photos").mkdir()
    shutil.copy(worlds.PHOTOS / "cat.jpg", "photos")
    assert "names no accounts" not in sluis(*scan).err
    values |= {"kinds": ["known", "new"], "media": ["image"], "prior_known_order": "X-1",
               "group_hits_by": group_by}  # fmt: skip
    Path("order.yaml").write_text(yaml.safe_dump(values))
    warned = "names no accounts" in sluis(*scan, "--run-dir", "run-2").err
    assert warned == (group_by == "account")


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


LOGGING = """
import logging, sys
from pipeline import cli

def say() -> None:
    try:
        raise ValueError("of holiday.jpg")
    except ValueError:
        logging.getLogger("pipeline.verification.service").exception("the sweep has failed")
    logging.getLogger("pipeline.verification.service").info("all is well")
    logging.getLogger("grpc._cython.cygrpc").error("unexpected: of holiday.jpg")

cli.app = lambda **_options: say()
cli.main()
"""


def test_a_service_logs_its_own_warnings_without_the_text_of_faults():
    """On stderr, for whoever keeps it; libraries' messages are not shown."""
    done = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, text=True, timeout=60, check=True
    )
    assert "ERROR: the sweep has failed\n(ValueError)\n" in done.stderr
    assert len(done.stderr.splitlines()) == 2
