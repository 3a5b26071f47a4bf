"""`make demo`: the main job from end to end, on real photographs, checked.

Plays every part by hand that several parties play in real life: an EU Centre lists pictures and
URLs, a hosting provider scans uploads under an order, a verification service takes the sealed
candidates, two reviewers open one and confirm, the provider's vault names the account to its report
desk, which drafts a report. Prints each command as one would type it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from rich.console import Console
from rich.table import Table

from pipeline import keys, vouchers
from pipeline import order as orders
from pipeline.epoch_keys import FIRST_VERSION
from pipeline.items import Tally
from pipeline.rpc import verdicts as wire
from pipeline.rpc.sluis.verification.v1 import candidate_pb2
from pipeline.verification.release import release

sys.path.insert(0, str(Path(__file__).parent))
import uploads as demo_uploads

HERE = Path(__file__).parent
OUTPUT = HERE.parent.parent / "demo-output"
SLUIS = Path(sys.executable).parent / "sluis"
REFERENCE = "DEMO-2026-0001"

out = Console(highlight=False)


def main() -> None:
    """Run the demo in a fresh demo-output/; exit 1 if anything is not as it must be."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    os.chdir(OUTPUT)
    os.environ |= {"SLUIS_STATE": "state", "SLUIS_REVIEWER_KEYS": "keys/reviewer-1"}

    step("Keys and certificates, one folder for each party")
    sluis("keys", "new", "keys")

    step("The EU Centre lists pictures and URLs (here: benign photographs and made-up addresses)")
    build_sets()

    step("The provider receives a detection order")
    write_order()
    sluis("order", "check", "order.yaml")

    step("Users upload: photographs, edits of listed ones, and all that goes wrong in life")
    made = demo_uploads.make(HERE / "photos", Path("uploads"))
    demo_uploads.write_manifest(made, Path("uploads.csv"))
    out.print(f"{len(made)} rows in uploads.csv")

    step("Verification and the provider's vault run elsewhere, with keys of their own")
    with (
        served("verification", "--store", "verification.sqlite3") as address,
        served(
            "vault", "--identities", "identities", "--register", "vault-register.sqlite3"
        ) as vault,
    ):
        os.environ |= {"SLUIS_VERIFICATION": address, "SLUIS_VAULT": vault}

        step("The scan: gate, read, decode, hash, match, seal, emit")
        scan("run-1")
        report = json.loads(Path("run-1/report.json").read_text())

        step("What became of each class of upload")
        candidates = opened_candidates()
        failures = check_classes(made, report, candidates)

        step("New material: an account's only hit, which nobody can open")
        failures += check_held()

        step("New material: another account's two distinct hits, which opened each other")
        pair, wrong = check_groups(candidates)
        failures += wrong

        step("Scanning again adds nothing: a candidate's id depends on what it is, not on when")
        scan("run-2")
        again = opened_candidates()
        failures += check(
            "candidates at verification after both scans", len(again), len(candidates)
        )

        failures += review(pair)
        failures += report_desk(pair)
        failures += rejection(candidates, report)

    out.print()
    if failures:
        out.print(f"[bold red]{failures} checks failed.[/]")
        sys.exit(1)
    out.print(
        "[bold green]All as it must be.[/] Look at demo-output/run-1/report.html and "
        f"demo-output/reports/{pair[0]}.html"
    )


# --- people ---------------------------------------------------------------------------------


def review(pair: list[str]) -> int:
    """Two reviewers open the first of the pair and confirm it."""
    step("A reviewer opens one of the two and confirms: no name in it, and no verdict yet")
    sluis("verification", "open", pair[0])
    sluis("verification", "decide", pair[0], "confirmed", "--reason", "plays the part")
    sluis("verdicts", "fetch", "verdicts.jsonl", "--order", "order.yaml")
    failures = check("verdicts after one reviewer", len(verdicts()), 0)

    step("A second, different reviewer opens it too and confirms")
    sluis("verification", "decide", pair[0], "confirmed", "--keys", "keys/reviewer-2")
    return failures


def report_desk(pair: list[str]) -> int:
    """The report desk fetches the verdict, the vault names the account to it, a draft follows."""
    step("The report desk fetches the verdict; the vault writes who it is into its folder")
    sluis("verdicts", "fetch", "verdicts.jsonl", "--order", "order.yaml")
    failures = check("verdicts after two reviewers", len(verdicts()), 1)
    sluis("vault", "identify", "verdicts.jsonl")
    files = sorted(path.name for path in Path("identities").iterdir())
    failures += check("identities in the desk's folder", len(files), 1)
    who = json.loads(Path("identities", f"{pair[0]}.json").read_text())
    out.print(f"the desk now knows: item {who['item_id']} of account {who['account_id']}")
    failures += check("the account is the one with two hits", who["account_id"], "user-with-two")
    sluis("vault", "identify", "verdicts.jsonl")
    sluis("vault", "register", "--register", "vault-register.sqlite3")

    step("The report desk drafts the report; a person completes, signs and sends it")
    sluis("reports", "draft", pair[0], "--verdicts", "verdicts.jsonl", "--order", "order.yaml")
    drafted = json.loads(Path("reports", f"{pair[0]}.json").read_text())
    failures += check(
        "urgency is left to a person", drafted["urgency"]["urgent_action_required"], None
    )
    failures += check("the draft's account", drafted["user"]["account_id"], "user-with-two")
    return failures


def rejection(candidates: list[dict[str, str]], report: dict[str, object]) -> int:
    """A false positive: rejected, refused by the vault, explained, and not sent again."""
    step("A false positive: rejected by one reviewer, and the vault opens nothing for it")
    benign = next(c["candidate_id"] for c in candidates if c["kind"] == "known")
    sluis("verification", "decide", benign, "rejected", "--reason", "a cat, benign")
    sluis("verdicts", "fetch", "verdicts.jsonl", "--order", "order.yaml")
    refused = ("vault", "identify", "verdicts.jsonl", "--candidate", benign)
    failures = check("identify ends with", sluis(*refused, expected=4), 4)
    failures += check("identities in the desk's folder", len(list(Path("identities").iterdir())), 1)

    step("A complaint about it is answered: what matched, who decided, when; no content")
    sluis("verification", "explain", benign, "--reference", "C-2026/1")

    step("A scan that is given the verdicts does not send the rejected pair again")
    scan("run-3", "--suppress", "verdicts.jsonl")
    before = Tally.from_json(report["tally"])  # type: ignore[arg-type]
    after = Tally.from_json(json.loads(Path("run-3/report.json").read_text())["tally"])
    failures += check("skipped: rejected_before", after.skipped["rejected_before"], 1)
    return failures + check("candidates", after.candidate, before.candidate - 1)


def verdicts() -> list[str]:
    """The lines of the report desk's file of verdicts."""
    path = Path("verdicts.jsonl")
    return path.read_text().splitlines() if path.exists() else []


# --- the parties ----------------------------------------------------------------------------


def build_sets() -> None:
    """Four signed sets: known (perceptual and exact), new, and URLs."""
    photos = HERE / "photos"
    listed = Path("listed")
    listed.mkdir()
    for name in demo_uploads.LISTED:
        shutil.copy(photos / f"{name}.jpg", listed)
    listed_new = Path("listed-new")
    listed_new.mkdir()
    for name in demo_uploads.LISTED_NEW:
        shutil.copy(photos / f"{name}.jpg", listed_new)
    digest = subprocess.run(
        [sys.executable, "-c",
         "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())",
         photos / f"{demo_uploads.LISTED_EXACTLY}.jpg"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    Path("listed.txt").write_text(digest)
    Path("listed-urls.txt").write_text("\n".join(demo_uploads.LISTED_URLS) + "\n")
    common = ("--order", REFERENCE, "--not-after", "2099-12-31", "--provenance", "demo")
    sluis("indicators", "build", "listed", "sets/known", "--set-id", "demo-known", "--kind",
          "known", "--profile", "thorough", *common)  # fmt: skip
    sluis("indicators", "build", "listed.txt", "sets/exact", "--set-id", "demo-exact", "--kind",
          "known", "--algorithm", "sha256", *common)  # fmt: skip
    sluis("indicators", "build", "listed-new", "sets/new", "--set-id", "demo-new", "--kind", "new",
          *common)  # fmt: skip
    sluis("indicators", "build", "listed-urls.txt", "sets/urls", "--set-id", "demo-urls", "--kind",
          "url", *common)  # fmt: skip


def write_order() -> None:
    """The example order, filled in for the demo."""
    today = time.gmtime()
    values = yaml.safe_load(orders.example())
    values |= {
        "reference": REFERENCE,
        "indicator_sets": ["demo-known", "demo-exact", "demo-new", "demo-urls"],
        "kinds": ["known", "new", "url"],
        "media": ["image", "video", "url"],
        "prior_known_order": "DEMO-2025-0001",
        "uploaded_from": "2020-01-01",
        "valid_from": f"{today.tm_year}-01-01",
        "valid_until": f"{today.tm_year + 1}-12-31",
    }
    Path("order.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@contextlib.contextmanager
def served(what: str, *options: str) -> Iterator[str]:
    """A party's service on a free port, stopped at the end; its address."""
    command = [what, "serve", "--order", "order.yaml", "--listen", "127.0.0.1:0", *options]
    show(command)
    process = subprocess.Popen([SLUIS, *command], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        out.print(line.strip())
        if " serves on " not in line:
            sys.exit(f"{what} did not start")
        yield line.split(" serves on ")[1].strip()
    finally:
        process.terminate()
        process.wait(20)


def scan(run: str, *options: str) -> None:
    """Scan the uploads into a run folder."""
    sets = [
        part
        for name in ("known", "exact", "new", "urls")
        for part in ("--indicators", f"sets/{name}")
    ]
    sluis("scan", "uploads.csv", "--order", "order.yaml", *sets, *options, "--run-dir", run)


def opened_candidates(state: str = "all") -> list[dict[str, str]]:
    """What a reviewer sees: every candidate, opened."""
    command = [SLUIS, "verification", "list", "--state", state, "--json"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


# --- the checks -----------------------------------------------------------------------------


def check_classes(
    made: list[demo_uploads.Upload], report: dict[str, object], candidates: list[dict[str, str]]
) -> int:
    """Hold what happened against what was expected of each class; return how many are off.

    A run keeps no outcome of a single item that is clear, skipped or a candidate. So candidates
    are named by opening their content tokens, as the provider's vault does after a verdict;
    failures stand in failed.parquet; the rest is known by count and reason.
    """
    named = Counter(item_of(candidate) for candidate in candidates)
    failed = {
        row["item_id"]: f"failed: {row['stage']}: {row['reason']}"
        for row in pq.read_table("run-1/failed.parquet").to_pylist()
    }
    tally = Tally.from_json(report["tally"])  # type: ignore[arg-type]
    skipped = Counter(u.expected for u in made if u.expected.startswith("skipped"))
    clear_expected = sum((u.expected == "clear") + u.clear_parts for u in made)

    by_class: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for upload in made:
        if upload.expected == "candidate":
            held = named[upload.name] == 1
        elif upload.expected == demo_uploads.HELD:
            held = named[upload.name] == 0
        elif upload.expected.startswith("failed"):
            held = failed.get(upload.name) == upload.expected
        elif upload.expected.startswith("skipped"):
            reason = upload.expected.removeprefix("skipped: ")
            held = tally.skipped[reason] == skipped[upload.expected]
        else:
            held = tally.clear == clear_expected
        by_class[upload.about, upload.expected].append(
            held and (upload.expected == "candidate" or named[upload.name] == 0)
        )
    table = Table(header_style="bold", box=None)
    for column in ("upload", "items", "outcome", ""):
        table.add_column(column, justify="right" if column == "items" else "left")
    wrong = 0
    for (about, expected), held in by_class.items():
        wrong += not all(held)
        table.add_row(
            about, str(len(held)), expected, "[green]ok[/]" if all(held) else "[red]NO[/]"
        )
    out.print(table)
    wrong += check("rows accounted for", tally.rows, len(made))
    inside = sum(upload.clear_parts for upload in made)
    wrong += check("parts found inside containers", tally.inner, inside)
    waiting = sum(upload.expected == demo_uploads.HELD for upload in made)
    readable = sum(upload.expected == "candidate" for upload in made)
    wrong += check("candidates a reviewer can read", sum(named.values()), readable)
    shut = tally.candidate - sum(named.values())
    wrong += check("hits on new material that nobody can read yet", shut, waiting)
    return wrong


def check_held() -> int:
    """Play a thief of verification's database who holds the reviewers' key as well."""
    database = sqlite3.connect("verification.sqlite3")
    single, pair = (
        [
            message
            for (message,) in database.execute(
                "SELECT waiting FROM candidate WHERE state = ? AND waiting IS NOT NULL", (state,)
            )
        ]
        for state in ("held", "released")
    )
    database.close()
    out.print(
        "one account, one listed picture, uploaded twice: two sealed records, one hit. A thief has "
        "the database and the reviewers' key, and tries to open them:"
    )
    failures = check("sealed records", len(single), 2)
    failures += check("opened with the reviewers' key", _read(single), 0)
    opened = _opened_by_shares(single)
    failures += check("opened by putting their shares together", len(opened), 0)
    out.print("the same tried on the other account's two hits, to see that it can succeed:")
    failures += check("opened with the reviewers' key", _read(pair), 0)
    opened = _opened_by_shares(pair)
    failures += check("opened by putting their shares together", len(opened), 2)
    return failures + check("then opened with the reviewers' key", _read(opened), 2)


def _opened_by_shares(records: list[bytes]) -> list[bytes]:
    """The records that their own shares open, each with the seal that was inside."""
    found = release(records)
    return list(found.messages.values()) if found else []


def _read(records: list[bytes]) -> int:
    """How many records the reviewers' key opens, as they are."""
    verifier = keys.verifier_private_key(Path("keys/reviewer-1"))
    opened = 0
    for record in records:
        candidate = candidate_pb2.Candidate.FromString(record)
        subject = wire.subject_of(candidate)
        sealed = candidate.direct.ciphertext or candidate.threshold.ciphertext
        with contextlib.suppress(vouchers.Unsealable):
            vouchers.open_direct(
                verifier, subject.context, subject.hit_day, subject.candidate_id, sealed
            )
            opened += 1
    return opened


def check_groups(candidates: list[dict[str, str]]) -> tuple[list[str], int]:
    """Candidates on new material come in opened groups, of one account each; the open group."""
    groups = defaultdict(list)
    for candidate in candidates:
        if candidate["kind"] == "new":
            groups[candidate.get("opened_with", "")].append(candidate)
    for reference, members in groups.items():
        items = sorted(item_of(member) for member in members)
        out.print(f"opened together as {reference[:8]}…: {', '.join(items)}")
    opened = max(groups.values(), key=len, default=[])
    failures = check("open groups", len(groups), 1) + check("hits in it", len(opened), 2)
    return [member["candidate_id"] for member in opened], failures


def item_of(candidate: dict[str, str]) -> str:
    """For the demo's own checks: an opaque token -> the item, with the provider's token key."""
    policy = vouchers.release_policy("account").policy_id
    context = vouchers.Context(vouchers.order_id(REFERENCE), 0, FIRST_VERSION, policy)
    token = base64.b64decode(candidate["content_token"])
    name = bytes.fromhex(candidate["candidate_id"])
    key = keys.token_key(Path("keys/provider"))
    return vouchers.open_token(key, "content", context, name, token)


def check(what: str, seen: object, expected: object) -> int:
    """Print a check; 1 if it does not hold."""
    held = seen == expected
    out.print(f"{what}: {seen}" + ("  [green]ok[/]" if held else f"  [red]NO, not {expected}[/]"))
    return int(not held)


# --- showing --------------------------------------------------------------------------------


def step(title: str) -> None:
    """Head a step."""
    out.print()
    out.rule(f"[bold]{title}", align="left")


def show(command: list[str]) -> None:
    """Print a command as one would type it."""
    words = " ".join(f"'{word}'" if " " in word else word for word in command)
    out.print(f"[dim]$ sluis {words}[/]", soft_wrap=True)


def sluis(*command: str, expected: int = 0) -> int:
    """Run a command of ours, shown; stop the demo if it ends otherwise than expected."""
    show(list(command))
    sys.stdout.flush()
    status = subprocess.run([SLUIS, *command], check=False).returncode
    if status != expected:
        sys.exit(f"`sluis {' '.join(command[:2])}` ended with {status}, not {expected}")
    return status


if __name__ == "__main__":
    main()
