"""`sluis …`: the command line. Thin: reads options, calls one function, shows what it returns."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional

# Before anything imports gRPC: its own log lines would name peers and paths.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from matchers import limits
from matchers.errors import MatcherError
from pipeline.errors import SluisError

if TYPE_CHECKING:
    from pipeline import run
    from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2

_PLAIN_LINE_SECONDS = 5.0

_GROUP: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": "markdown",
    "pretty_exceptions_enable": False,
}
app = typer.Typer(
    help="Scan hosted images and URLs under a detection order. What resembles an indicator goes, "
    "sealed and pseudonymised, to a verification service where people decide.",
    epilog="Start with `sluis order example`, `sluis keys new` and `sluis indicators build`; the "
    "README walks through all three.",
    add_completion=False,
    **_GROUP,
)
order_app = typer.Typer(help="Detection orders: an example to fill in, and a check.", **_GROUP)
keys_app = typer.Typer(help="Keys and certificates.", **_GROUP)
indicators_app = typer.Typer(help="Signed indicator sets: build and verify.", **_GROUP)
verification_app = typer.Typer(
    help="The other side: serve candidates to reviewers; list, open, decide.", **_GROUP
)
app.add_typer(order_app, name="order")
app.add_typer(keys_app, name="keys")
app.add_typer(indicators_app, name="indicators")
app.add_typer(verification_app, name="verification")

# No markup: orders, paths and names may hold brackets.
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


class Encryption(StrEnum):
    """What a directory's files are stated to be."""

    none = "none"
    e2ee = "e2ee"


class AccountClass(StrEnum):
    """Whose accounts a directory's files are stated to be."""

    ordinary = "ordinary"
    state = "state"


class Consent(StrEnum):
    """Whether a directory's uploaders are stated to have consented."""

    given = "given"
    refused = "refused"


class SetKind(StrEnum):
    """The database a set comes from."""

    known = "known"
    new = "new"
    url = "url"


class SetAlgorithm(StrEnum):
    """What a set's values are."""

    pdq = "pdq"
    md5 = "md5"
    sha1 = "sha1"
    sha256 = "sha256"
    url = "url"


class PdqMode(StrEnum):
    """How closely PDQ codes follow the reference."""

    exact = "exact"
    fast = "fast"


class VerdictWord(StrEnum):
    """A reviewer's decision."""

    confirmed = "confirmed"
    rejected = "rejected"


class StateWord(StrEnum):
    """Candidates to list."""

    released = "released"
    confirmed = "confirmed"
    rejected = "rejected"
    all = "all"


ProviderKeys = Annotated[
    Path,
    typer.Option("--keys", envvar="SLUIS_KEYS", help="The provider's key folder."),
]
ReviewerKeys = Annotated[
    Path,
    typer.Option("--keys", envvar="SLUIS_REVIEWER_KEYS", help="The reviewer's key folder."),
]
Address = Annotated[
    str,
    typer.Option(
        "--verification",
        envvar="SLUIS_VERIFICATION",
        metavar="HOST:PORT",
        help="Address of the verification service.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


def main() -> None:
    """Entry point: errors end in one clear message and a status, not in a trace."""
    warnings.filterwarnings("ignore", module=r"PIL\.")  # odd metadata is no news of ours
    logging.basicConfig(level=logging.CRITICAL)
    os.umask(0o077)  # runs, stores, sets and keys are nobody else's business
    try:
        app(standalone_mode=False)
    except (SluisError, MatcherError) as error:
        _fail(str(error), getattr(error, "exit_status", 1))
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except typer.Abort:
        _fail("stopped", 130)
    except Exception as error:
        show = getattr(error, "show", None)  # click's own usage errors show themselves
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))


# --- scan and report ------------------------------------------------------------------------


@app.command()
def scan(
    source: Annotated[
        Path, typer.Argument(help="A directory, or a manifest: .parquet, .csv or .jsonl.")
    ],
    order: Annotated[Path, typer.Option(help="The detection order (YAML).")],
    indicators: Annotated[
        list[Path],
        typer.Option(help="A signed indicator set; may be given several times.", metavar="SET"),
    ],
    verification: Address,
    run_dir: Annotated[
        Path,
        typer.Option(
            help="Folder of this run: its state while it runs, its report afterwards. Start the "
            "same command again to finish a run that was stopped."
        ),
    ],
    keys: ProviderKeys = Path("keys/provider"),
    state_dir: Annotated[
        Optional[Path],
        typer.Option(
            envvar="SLUIS_STATE",
            help="Folder that outlives runs: set versions already used, built indexes. "
            "[default: ~/.local/state/sluis]",
            show_default=False,
        ),
    ] = None,
    part: Annotated[
        Optional[str],
        typer.Option(
            help="For a directory: the part of the service it belongs to. [default: the order's "
            "part, if it has only one]",
            show_default=False,
        ),
    ] = None,
    encryption: Annotated[
        Optional[Encryption],
        typer.Option(
            help="For a directory: state how its files are encrypted. [default: none]",
            show_default=False,
        ),
    ] = None,
    account_class: Annotated[
        Optional[AccountClass],
        typer.Option(
            help="For a directory: state whose accounts its files are. [default: ordinary]",
            show_default=False,
        ),
    ] = None,
    consent: Annotated[
        Optional[Consent],
        typer.Option(
            help="For a directory: state whether its uploaders consented; needed where the "
            "order's legal profile asks for consent.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Items opened at once.", show_default="one for each core")
    ] = os.cpu_count() or 1,
    pdq_mode: Annotated[
        PdqMode,
        typer.Option(
            help="How images are hashed. exact: bit for bit as the reference. fast: JPEG photos "
            "sooner, a few bits off; docs/pdq.md says how many."
        ),
    ] = PdqMode.exact,
    chunk_rows: Annotated[int, typer.Option(min=1, help="Items in one run of the engine.")] = 8192,
    batch_rows: Annotated[
        Optional[int],
        typer.Option(
            min=1, help="Items opened together. [default: by the source's size]", show_default=False
        ),
    ] = None,
    debug: Annotated[bool, typer.Option(help="Show traces and the engine's own log.")] = False,
) -> None:
    """Scan a directory or manifest; candidates go to the verification service.

    Nothing is opened that the order does not cover. Every item ends as exactly one of clear,
    candidate, skipped (with the reason) or failed (with the reason). Ctrl-C stops after the batch
    at hand; the same command goes on from there.
    """
    if debug:  # the engine's log and ours; decoders would log what pictures hold
        for name in ("apache_beam", "pipeline"):
            logging.getLogger(name).setLevel(logging.DEBUG)
    from matchers.indicators import VersionLedger
    from pipeline import order as orders
    from pipeline import report, run
    from pipeline import scan as scanning
    from pipeline.errors import SourceRefused

    valid = orders.load(order)
    declared = None
    if source.is_dir():
        declared = _declared(valid, part, encryption, account_class, consent)
    elif not source.exists():
        raise SourceRefused(f"{source} does not exist: give a directory or a manifest")
    elif {part, encryption, account_class, consent} != {None}:
        raise typer.BadParameter(
            "--part, --encryption, --account-class and --consent are for directories; a manifest "
            "says it row by row"
        )
    _check_address(verification)
    state = state_dir or Path.home() / ".local" / "state" / "sluis"
    config = scanning.ScanConfig(
        order=valid,
        sets=tuple(indicators),
        key_folder=keys,
        index_folder=state / "indexes",
        verification=verification,
        threads=threads,
        pdq_mode=pdq_mode.value,
    )
    was_complete = (run_dir / "report.json").exists()
    with _stop_on_signal(), _progress() as listener:
        figures = run.scan_source(
            source,
            config,
            run_dir,
            declared=declared,
            version_ledger=VersionLedger(state / "indicator-versions.json"),
            listener=listener,
            chunk_rows=chunk_rows,
            batch_rows=batch_rows,
        )
    if was_complete:
        err.print(f"{run_dir} holds a complete run; name a new --run-dir to scan again.")
    if not (run_dir / "report.html").exists():
        report.write_html(figures, run_dir / "report.html")
    out.print(report.terminal(figures, run_dir))


@app.command("report")
def report_command(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a complete run.")],
) -> None:
    """Show a run's figures and write its report.html again."""
    from pipeline import report, run
    from pipeline.errors import RunRefused

    figures = run.read_json(run_dir / "report.json")
    if figures is None:
        raise RunRefused(
            f"{run_dir} holds no complete run: start its `sluis scan` command again to finish it"
        )
    report.write_html(figures, run_dir / "report.html")
    out.print(report.terminal(figures, run_dir))


# --- orders, keys, indicators ---------------------------------------------------------------


@order_app.command("example")
def order_example() -> None:
    """Print an order file to fill in."""
    from pipeline import order

    sys.stdout.write(order.example())


@order_app.command("check")
def order_check(file: Annotated[Path, typer.Argument(help="The order file.")]) -> None:
    """Say whether an order file is complete and in force, field by field."""
    from pipeline import order
    from pipeline.scan import utc_now

    valid = order.load(file)
    order.check_in_force(valid, utc_now().date())
    out.print(
        f"{file}: order {valid.reference} is complete and in force until {valid.valid_until}. "
        f"It covers {', '.join(valid.media)} of {', '.join(valid.service.parts)} against "
        f"{', '.join(valid.indicator_sets)}."
    )


@keys_app.command("new")
def keys_new(
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    host: Annotated[
        Optional[list[str]],
        typer.Option(
            help="A name or address by which the verification service is reached; may be given "
            "several times. localhost and 127.0.0.1 always are.",
            show_default=False,
        ),
    ] = None,
    reviewers: Annotated[int, typer.Option(min=1, help="How many reviewers get keys.")] = 2,
) -> None:
    """Make a working set of keys and certificates, one folder for each party."""
    from pipeline import keys

    hosts = ["localhost", "127.0.0.1", *(host or [])]
    made = keys.make(folder, hosts=hosts, reviewers=reviewers, now=dt.datetime.now(dt.UTC))
    table = Table(box=None, show_header=False)
    purpose = {
        "ca": "issues certificates: keep it offline",
        "centre": "signs indicator sets, in the EU Centre's place for trials",
        "provider": "for `sluis scan`: can seal, cannot open",
        "verification": "for `sluis verification serve`: holds no private key of the verifier",
    }
    for party in made:
        table.add_row(str(party), purpose.get(party.name, "for one reviewer: opens candidates"))
    out.print(table)
    out.print("Give each party its own folder, and nobody two.")


@indicators_app.command("build")
def indicators_build(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of pictures (pdq), or a list: text with one value a line, or CSV with "
            "a header (value, and optionally indicator_id)."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="The set's new folder.")],
    set_id: Annotated[str, typer.Option(help="The set's name, as the order names it.")],
    kind: Annotated[SetKind, typer.Option(help="The database it comes from.")],
    order_reference: Annotated[
        list[str],
        typer.Option("--order", help="Reference of an order it is issued for; repeatable."),
    ],
    not_after: Annotated[
        dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day it may be used.")
    ],
    provenance: Annotated[str, typer.Option(help="Who made it, from what.")],
    algorithm: Annotated[
        Optional[SetAlgorithm],
        typer.Option(help="What its values are. [default: pdq, or url]", show_default=False),
    ] = None,
    version: Annotated[int, typer.Option(min=1, help="Counts up; older ones are refused.")] = 1,
    effective: Annotated[
        Optional[dt.datetime],
        typer.Option(
            formats=["%Y-%m-%d"],
            help="First day it may be used. [default: today]",
            show_default=False,
        ),
    ] = None,
    radius_bits: Annotated[
        int,
        typer.Option(
            min=0, max=limits.MAX_RADIUS_BITS, help="Hamming radius of a pdq set, inclusive."
        ),
    ] = limits.PDQ_RADIUS_BITS,
    min_quality: Annotated[
        int, typer.Option(min=0, max=100, help="Lowest PDQ quality that is looked up.")
    ] = limits.PDQ_MIN_QUALITY,
    clusters_from: Annotated[
        Optional[Path],
        typer.Option(
            help="For a set of kind new: the version before, whose clusters of near-duplicates "
            "are kept.",
            show_default=False,
        ),
    ] = None,
    signing_key: Annotated[Path, typer.Option(help="Ed25519 private key that signs it.")] = Path(
        "keys/centre/signing.key"
    ),
) -> None:
    """Build and sign an indicator set. In real use the EU Centre does this, not the provider."""
    from matchers import urls
    from matchers.indicators import Manifest
    from matchers.indicators import build as building
    from matchers.indicators import manifest as on_disk
    from pipeline import keys

    chosen = algorithm or (SetAlgorithm.url if kind is SetKind.url else SetAlgorithm.pdq)
    is_pdq, is_url = chosen is SetAlgorithm.pdq, chosen is SetAlgorithm.url
    key = keys.signing_key(signing_key)
    url_key = os.urandom(urls.KEY_BYTES) if is_url else b""
    manifest = Manifest(
        set_id=set_id,
        kind=kind.value,
        version=version,
        algorithm=chosen.value,
        radius_bits=radius_bits if is_pdq else 0,
        min_quality=min_quality if is_pdq else 0,
        effective=(effective or dt.datetime.now(dt.UTC)).date(),
        not_after=not_after.date(),
        order_ids=tuple(order_reference),
        provenance=provenance,
        url_rules=urls.RULES if is_url else "",
        url_key=base64.b64encode(url_key).decode(),
    )
    if source.is_dir():
        if not is_pdq:
            raise typer.BadParameter(f"a folder of pictures gives pdq, not {chosen}: give a list")
        with Progress(
            TextColumn("hashing"), BarColumn(), MofNCompleteColumn(), console=err, transient=True
        ) as bar:
            task = bar.add_task("hashing", total=None)
            data, left = building.from_images(
                source,
                min_quality,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        for one in left:
            err.print(f"left out: {one.name}: {one.reason}")
    else:
        data = building.from_list(source, chosen.value, url_key)
    if kind is SetKind.new:
        before = None
        if clusters_from is not None:
            earlier = on_disk.read(clusters_from, [key.public_key()])
            before = on_disk.read_data(clusters_from, earlier)
        data = building.with_clusters(data, chosen.value, manifest.cluster_radius_bits, before)
    written = on_disk.write(folder, manifest, data, key)
    out.print(
        f"{folder}: set {written.set_id} version {written.version}, {written.rows:,} "
        f"{written.algorithm} indicators, kind {written.kind}, signed"
    )


@indicators_app.command("verify")
def indicators_verify(
    folder: Annotated[Path, typer.Argument(help="The set.")],
    keys: ProviderKeys = Path("keys/provider"),
) -> None:
    """Check a set's signature, digest and period, as a scan would."""
    from matchers import indicators
    from pipeline import keys as key_folders

    trusted = key_folders.trusted_centre_keys(keys)
    m = indicators.load(folder, trusted, today=dt.datetime.now(dt.UTC).date()).manifest
    table = Table(box=None, show_header=False)
    for name, value in (
        ("set", f"{m.set_id} version {m.version}"),
        ("kind", m.kind),
        ("indicators", f"{m.rows:,} {m.algorithm}"),
        ("radius", f"{m.radius_bits} bits" if m.algorithm == "pdq" else "exact"),
        ("in force", f"{m.effective} to {m.not_after}"),
        ("orders", ", ".join(m.order_ids)),
        ("provenance", m.provenance),
        ("sha256", m.data_sha256),
    ):
        table.add_row(name, value)
    out.print(table)
    out.print("signature, data and period are in order")


# --- verification ---------------------------------------------------------------------------


@verification_app.command("serve")
def verification_serve(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:7443",
    store: Annotated[Path, typer.Option(help="The SQLite file; made if absent.")] = Path(
        "verification.sqlite3"
    ),
    keys: Annotated[Path, typer.Option(help="The service's key folder.")] = Path(
        "keys/verification"
    ),
) -> None:
    """Serve: take candidates from the scan, show released ones to reviewers. Mutual TLS only."""
    from pipeline.verification import service

    _check_address(listen)

    async def stopped() -> None:
        event = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, event.set)
        await event.wait()

    def ready(port: int) -> None:
        host = listen.rpartition(":")[0]
        out.print(f"verification serves on {host}:{port}, store {store}")
        sys.stdout.flush()

    try:
        asyncio.run(
            service.serve(
                address=listen, key_folder=keys, store_path=store, ready=ready, stop=stopped
            )
        )
    except RuntimeError as error:
        raise SluisError(f"cannot listen on {listen}: {error}. Is the port taken?") from error


@verification_app.command("list")
def verification_list(
    verification: Address,
    keys: ReviewerKeys = Path("keys/reviewer-1"),
    state: Annotated[StateWord, typer.Option(help="Which candidates.")] = StateWord.released,
    as_json: AsJson = False,
) -> None:
    """List candidates in order of arrival, opened with the reviewer's key."""
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as pb

    value = (
        pb.CANDIDATE_STATE_UNSPECIFIED
        if state is StateWord.all
        else pb.CandidateState.Value(f"CANDIDATE_STATE_{state.upper()}")
    )
    table = Table(header_style="bold", box=None)
    for column in ("candidate", "state", "kind", "matched", "how"):
        table.add_column(column, no_wrap=column != "matched", overflow="fold")
    with _reviewer(verification, keys) as reviewer:
        count = 0
        for item in reviewer.list(value):
            count += 1
            try:
                described = _describe(item, reviewer.open(item.candidate))
            except SluisError:  # one bad candidate must not hide the others
                err.print(f"{item.candidate.candidate_id.hex()} does not open with this key")
                continue
            if as_json:
                sys.stdout.write(json.dumps(described) + "\n")
                continue
            how = described["method"]
            if how == "pdq":
                how += f" {described['distance_bits']} bits"
            table.add_row(
                described["candidate_id"],
                described["state"],
                described["kind"],
                f"{described['set']}/{described['indicator']}",
                how,
            )
    if not as_json:
        if count:
            out.print(table)
        out.print(f"{count:,} {'' if state is StateWord.all else state + ' '}candidates")


@verification_app.command("open")
def verification_open(
    candidate: Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")],
    verification: Address,
    keys: ReviewerKeys = Path("keys/reviewer-1"),
    as_json: AsJson = False,
) -> None:
    """Show what a candidate's seal holds: what matched, how closely. No name stands in it."""
    with _reviewer(verification, keys) as reviewer:
        item = reviewer.get(_candidate_id(candidate))
        described = _describe(item, reviewer.open(item.candidate))
    if as_json:
        sys.stdout.write(json.dumps(described) + "\n")
        return
    table = Table(box=None, show_header=False)
    for name, value in described.items():
        text = str(value)
        if name.endswith("_token") and text:
            text = f"{text[:24]}… opaque; only the provider's vault can read it"
        table.add_row(name.replace("_", " "), text or "-")
    out.print(table)


@verification_app.command("decide")
def verification_decide(
    candidate: Annotated[str, typer.Argument(help="The candidate's id, 32 hex digits.")],
    verdict: Annotated[VerdictWord, typer.Argument(help="The decision.")],
    verification: Address,
    keys: ReviewerKeys = Path("keys/reviewer-1"),
    reason: Annotated[str, typer.Option(help="Why; needed for a rejection.")] = "",
) -> None:
    """Record a person's verdict. It is signed with the certificate's name and never changed."""
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as pb

    value = pb.VerdictValue.Value(f"VERDICT_VALUE_{verdict.upper()}")
    with _reviewer(verification, keys) as reviewer:
        item = reviewer.decide(_candidate_id(candidate), value, reason)
    out.print(f"{candidate}: {verdict} by {item.verdict.reviewer}")


# --- helpers --------------------------------------------------------------------------------


def _fail(message: str, status: int) -> NoReturn:
    err.print(f"sluis: {message}", soft_wrap=True)
    sys.exit(status)


def _declared(
    valid: Any, part: str | None, encryption: Encryption | None, account_class: AccountClass | None,
    consent: Consent | None,
) -> Any:  # fmt: skip
    """What holds for every file of a directory; asks for what it cannot know."""
    from pipeline.errors import SourceRefused
    from pipeline.sources import Declared

    parts = valid.service.parts
    if part is None and len(parts) > 1:
        raise SourceRefused(
            f"the order covers several parts of the service ({', '.join(parts)}): state with "
            "--part which one this directory belongs to"
        )
    if consent is None and valid.consent_required:
        raise SourceRefused(
            f"the order's legal profile {valid.legal_profile} asks for consent, which a directory "
            "cannot say: scan a manifest with a consent column, or state --consent given if every "
            "uploader has consented"
        )
    return Declared(
        part=part or parts[0],
        encryption=(encryption or Encryption.none).value,
        account_class=(account_class or AccountClass.ordinary).value,
        consent=consent.value if consent else None,
    )


def _check_address(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter(f"{address} is no address: write HOST:PORT")


@contextmanager
def _stop_on_signal() -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the run after the batch at hand, the second at once."""
    from pipeline import scan as scanning

    def stop(_number: int, _frame: object) -> None:
        if scanning.STOP.is_set():
            os._exit(130)
        scanning.STOP.set()
        err.print("stopping after the batch at hand; once more to stop at once")

    scanning.STOP.clear()
    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextmanager
def _progress() -> Iterator[run.Listener]:
    """A live display in a terminal, plain lines elsewhere."""
    if not err.is_terminal:
        yield _plain_lines()
        return
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f} items/s"),
        TextColumn("[bold]{task.fields[candidates]:,} candidates"),
        TextColumn("{task.fields[failures]:,} failed"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=err,
    ) as bar:
        task: TaskID | None = None

        def show(progress: run.Progress) -> None:
            nonlocal task
            fields: dict[str, Any] = {
                "rate": progress.rows_per_second,
                "candidates": progress.tally.candidate,
                "failures": progress.tally.failed_total,
                "left": _time_left(progress),
            }
            if task is None:
                task = bar.add_task("scan", total=progress.rows, **fields)
            bar.update(task, completed=progress.tally.rows, **fields)

        yield show


def _plain_lines() -> run.Listener:
    last = 0.0
    shown = -1

    def show(progress: run.Progress) -> None:
        nonlocal last, shown
        now = time.monotonic()
        done = progress.tally.rows
        if done == shown or (now - last < _PLAIN_LINE_SECONDS and done < progress.rows):
            return
        last, shown = now, done
        err.print(
            f"{done:,} of {progress.rows:,} items, "
            f"{progress.rows_per_second:,.0f} items/s, {progress.tally.candidate:,} candidates, "
            f"{progress.tally.failed_total:,} failed, {_time_left(progress)}",
            soft_wrap=True,
        )

    return show


def _time_left(progress: run.Progress) -> str:
    seconds = progress.seconds_left
    if seconds is None:
        return "time left unknown"
    return f"{dt.timedelta(seconds=round(seconds))} left"


@contextmanager
def _reviewer(address: str, key_folder: Path) -> Iterator[Any]:
    from pipeline.verification.review import Reviewer

    _check_address(address)
    reviewer = Reviewer(address, key_folder)
    try:
        yield reviewer
    finally:
        reviewer.close()


def _candidate_id(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 16:
        raise typer.BadParameter("a candidate id is 32 hex digits, as `list` shows it")
    return value


def _describe(
    item: review_service_pb2.ReviewItem, payload: candidate_pb2.CandidatePayload
) -> dict[str, Any]:
    """A candidate and its opened payload, as plain values."""
    from pipeline.rpc.sluis.verification.v1 import candidate_pb2 as pb
    from pipeline.rpc.sluis.verification.v1 import review_service_pb2 as review

    described = {
        "candidate_id": item.candidate.candidate_id.hex(),
        "received": item.receive_time.ToDatetime(dt.UTC).strftime("%Y-%m-%d %H:%M"),
        "state": review.CandidateState.Name(item.state).removeprefix("CANDIDATE_STATE_").lower(),
        "kind": pb.IndicatorKind.Name(payload.kind).removeprefix("INDICATOR_KIND_").lower(),
        "set": payload.set_id,
        "set_version": payload.set_version,
        "indicator": payload.indicator_id,
        "method": payload.method,
        "distance_bits": payload.distance_bits,
        "radius_bits": payload.radius_bits,
        "quality": payload.quality,
        "content_token": base64.b64encode(payload.content_token).decode(),
        "account_token": base64.b64encode(payload.account_token).decode(),
    }
    if item.group_ref:
        described["opened_with"] = item.group_ref.hex()
    if item.HasField("verdict"):
        described["decided_by"] = item.verdict.reviewer
        described["reason"] = item.verdict.reason
    return described


if __name__ == "__main__":
    main()
