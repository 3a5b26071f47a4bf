"""`make demo`: the main job from end to end, on real photographs, checked.

Plays every part by hand that several parties play in real life: an EU Centre lists pictures and
URLs, a hosting provider scans uploads under an order, a verification service takes the sealed
candidates, a reviewer opens one and decides. Prints each command as one would type it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
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
from pipeline.items import Tally
from pipeline.vouchers import Policy

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
    os.environ["SLUIS_STATE"] = "state"

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

    step("Verification runs elsewhere, with keys of its own")
    with verification() as address:
        os.environ["SLUIS_VERIFICATION"] = address

        step("The scan: gate, read, decode, hash, match, seal, emit")
        scan("run-1")
        report = json.loads(Path("run-1/report.json").read_text())

        step("What became of each class of upload")
        candidates = opened_candidates()
        failures = check_classes(made, report, candidates)

        step("New material: a second distinct hit opens both, a single one stays shut")
        failures += check_groups(candidates)

        step("Scanning again adds nothing: a candidate's id depends on what it is, not on when")
        scan("run-2")
        again = opened_candidates()
        failures += check(
            "candidates at verification after both scans", len(again), len(candidates)
        )

        step("A reviewer opens a candidate and decides; no name stands in it")
        first = candidates[0]["candidate_id"]
        sluis("verification", "open", first)
        sluis("verification", "decide", first, "rejected", "--reason", "a cat, benign")
        left = len(opened_candidates("released"))
        failures += check("candidates still to decide", left, len(candidates) - 1)

    out.print()
    if failures:
        out.print(f"[bold red]{failures} checks failed.[/]")
        sys.exit(1)
    out.print("[bold green]All as it must be.[/] Look at demo-output/run-1/report.html")


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
          "known", *common)  # fmt: skip
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
        "prior_known_order": "DEMO-2025-0001",
        "uploaded_from": "2020-01-01",
        "valid_from": f"{today.tm_year}-01-01",
        "valid_until": f"{today.tm_year + 1}-12-31",
    }
    Path("order.yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


@contextlib.contextmanager
def verification() -> Iterator[str]:
    """A verification service on a free port, stopped at the end."""
    command = [
        "verification",
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--store",
        "verification.sqlite3",
        "--order",
        "order.yaml",
    ]
    show(command)
    process = subprocess.Popen([SLUIS, *command], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        out.print(line.strip())
        if " serves on " not in line:
            sys.exit("the verification service did not start")
        yield line.split(" serves on ")[1].split(",")[0]
    finally:
        process.terminate()
        process.wait(20)


def scan(run: str) -> None:
    """Scan the uploads into a run folder."""
    sets = [
        part
        for name in ("known", "exact", "new", "urls")
        for part in ("--indicators", f"sets/{name}")
    ]
    sluis("scan", "uploads.csv", "--order", "order.yaml", *sets, "--run-dir", run)


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
    clear_expected = sum(u.expected == "clear" for u in made)

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
    waiting = sum(upload.expected == demo_uploads.HELD for upload in made)
    readable = sum(upload.expected == "candidate" for upload in made)
    wrong += check("candidates a reviewer can read", sum(named.values()), readable)
    shut = tally.candidate - sum(named.values())
    wrong += check("hits on new material that nobody can read yet", shut, waiting)
    return wrong


def check_groups(candidates: list[dict[str, str]]) -> int:
    """Candidates on new material come in opened groups, of one account each."""
    groups = defaultdict(list)
    for candidate in candidates:
        if candidate["kind"] == "new":
            groups[candidate.get("opened_with", "")].append(item_of(candidate))
    for reference, items in groups.items():
        out.print(f"opened together as {reference[:8]}…: {', '.join(sorted(items))}")
    opened = sorted(groups.values(), key=len)
    return check("hits in the one open group", len(opened[-1]) if opened else 0, 2)


def item_of(candidate: dict[str, str]) -> str:
    """The provider's vault at work: an opaque token -> the item (here without a verdict)."""
    context = keys.order_context(REFERENCE, Policy(group_by="account"))
    token = base64.b64decode(candidate["content_token"])
    return vouchers.open_token(keys.token_key(Path("keys/provider")), "content", context, token)


def check(what: str, seen: int, expected: int) -> int:
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


def sluis(*command: str) -> None:
    """Run a command of ours, shown; stop the demo if it fails."""
    show(list(command))
    sys.stdout.flush()
    if subprocess.run([SLUIS, *command], check=False).returncode != 0:
        sys.exit(f"`sluis {' '.join(command[:2])}` failed")


if __name__ == "__main__":
    main()
