"""`sluis indicators …`: signed indicator sets."""

from __future__ import annotations

import base64
import datetime as dt
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from matchers import limits
from pipeline.cli.common import GROUP, ProviderKeys, err, out
from pipeline.text import counted

app = typer.Typer(help="Signed indicator sets: build and verify.", **GROUP)


class SetKind(StrEnum):
    """The database a set comes from."""

    known = "known"
    new = "new"
    url = "url"


class SetAlgorithm(StrEnum):
    """What a set's values are."""

    pdq = "pdq"
    vpdq = "vpdq"
    md5 = "md5"
    sha1 = "sha1"
    sha256 = "sha256"
    url = "url"


class ViewProfile(StrEnum):
    """Which views of a picture are looked up."""

    plain = "plain"
    standard = "standard"
    thorough = "thorough"
    refine = "refine"


@app.command("build")
def indicators_build(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of pictures (pdq), a folder of videos or vPDQ lists, one file an "
            "indicator (vpdq), or a list: text with one value a line, or CSV with a header (value, "
            "or the algorithm's name; and optionally indicator_id)."
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
        typer.Option(
            help="What its values are; needed for a list, unless it is of URLs or a CSV with a "
            "column named after it (a pdq code and a sha256 digest look the same). [default: pdq "
            "for a folder, url for kind url]",
            show_default=False,
        ),
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
            min=0,
            max=limits.MAX_RADIUS_BITS,
            help="Hamming radius of a pdq or vpdq set, inclusive.",
        ),
    ] = limits.PDQ_RADIUS_BITS,
    min_quality: Annotated[
        int, typer.Option(min=0, max=100, help="Lowest PDQ quality that is looked up.")
    ] = limits.PDQ_MIN_QUALITY,
    min_share_percent: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            help="Least share of an indicator's frames that an upload must show (vpdq).",
        ),
    ] = limits.VPDQ_MIN_SHARE_PERCENT,
    profile: Annotated[
        ViewProfile,
        typer.Option(
            help="Which views of a picture are looked up (pdq and vpdq; docs/views.md). standard: "
            "turned, mirrored, borders cut. thorough: crops, slight rotations and captions too. "
            "refine: near matches as well. plain: the picture as it is."
        ),
    ] = ViewProfile.standard,
    previous: Annotated[
        Optional[Path],
        typer.Option(
            help="The version before, signed with the same key: needed from version 2 on. What it "
            "lists keeps its effective day and its cluster of near-duplicates.",
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
    from matchers.indicators.videos import from_videos
    from pipeline import keys

    chosen = algorithm or _algorithm(source, kind)
    is_perceptual, is_url = chosen.value in on_disk.PERCEPTUAL, chosen is SetAlgorithm.url
    is_video = chosen is SetAlgorithm.vpdq
    key = keys.signing_key(signing_key)
    if (previous is None) != (version == 1):
        raise typer.BadParameter(
            "version 1 is the first: give a higher --version"
            if previous
            else f"version {version} carries on an earlier one: give its folder",
            param_hint="--previous",
        )
    before = None
    if previous is not None:
        earlier = on_disk.read(previous, [key.public_key()])
        before = building.Previous(earlier, on_disk.read_data(previous, earlier))
    url_key = os.urandom(urls.KEY_BYTES) if is_url else b""
    if before and is_url:
        url_key = base64.b64decode(before.manifest.url_key)
    manifest = Manifest(
        set_id=set_id,
        kind=kind.value,
        version=version,
        algorithm=chosen.value,
        radius_bits=radius_bits if is_perceptual else 0,
        min_quality=min_quality if is_perceptual else 0,
        profile=profile.value if is_perceptual else "plain",
        min_share_percent=min_share_percent if is_video else 0,
        effective=(effective or dt.datetime.now(dt.UTC)).date(),
        not_after=not_after.date(),
        order_ids=tuple(order_reference),
        provenance=provenance,
        url_rules=urls.RULES if is_url else "",
        url_key=base64.b64encode(url_key).decode(),
        lineage=before.manifest.next_lineage if before else (),
    )
    if source.is_dir() and not is_perceptual:
        raise typer.BadParameter(f"a folder gives pdq or vpdq, not {chosen}: give a list")
    if source.is_dir() or is_video:
        hashed = from_videos if is_video else building.from_images
        with Progress(
            TextColumn("hashing"), BarColumn(), MofNCompleteColumn(), console=err, transient=True
        ) as bar:
            task = bar.add_task("hashing", total=None)
            data, left = hashed(
                source,
                min_quality,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
        for one in left:
            err.print(f"left out: {one.name}: {one.reason}")
    else:
        data = building.from_list(source, chosen.value, url_key)
    data = building.as_version(data, manifest, before)
    written = on_disk.write(folder, manifest, data, key)
    size = counted(written.rows, f"{written.algorithm} {'frame' if is_video else 'indicator'}")
    if is_video:
        size = f"{counted(len(data['indicator_id'].unique()), 'video')} of {size}"
    out.print(
        f"{folder}: set {written.set_id} version {written.version}, {size}, kind {written.kind}, "
        "signed"
    )


def _algorithm(source: Path, kind: SetKind) -> SetAlgorithm:
    """What a source's values are, where it says so itself; a list of digits does not."""
    from matchers.indicators import build as building

    if kind is SetKind.url:
        return SetAlgorithm.url
    if source.is_dir():
        return SetAlgorithm.pdq
    named = building.named_algorithms(source)
    if len(named) != 1:
        what = f"has columns for {' and '.join(named)}" if named else "does not say"
        raise typer.BadParameter(
            f"{source} {what}: name what its values are with --algorithm pdq, md5, sha1 or sha256 "
            "(--kind url for URLs). A pdq code and a sha256 digest are both 64 hex digits"
        )
    return SetAlgorithm(named[0])


@app.command("verify")
def indicators_verify(
    folder: Annotated[Path, typer.Argument(help="The set.")],
    keys: ProviderKeys = Path("keys/provider"),
) -> None:
    """Check a set's signature, digest and period, as a scan would."""
    from matchers import indicators
    from matchers.indicators.manifest import PERCEPTUAL
    from pipeline import keys as key_folders

    trusted = key_folders.trusted_centre_keys(keys)
    loaded = indicators.load(folder, trusted, today=dt.datetime.now(dt.UTC).date())
    m = loaded.manifest
    is_perceptual = m.algorithm in PERCEPTUAL
    share = f"{m.min_share_percent} % of an indicator's frames"
    table = Table(box=None, show_header=False)
    for name, value in (
        ("set", f"{m.set_id} version {m.version}"),
        ("kind", m.kind),
        *((("videos", f"{len(loaded.videos.frames):,}"),) if loaded.videos is not None else ()),
        ("frames" if m.algorithm == "vpdq" else "indicators", f"{m.rows:,} {m.algorithm}"),
        ("views", m.profile if is_perceptual else "none"),
        ("radius", f"{m.radius_bits} bits" if is_perceptual else "exact"),
        ("least share", share if m.algorithm == "vpdq" else "none"),
        ("in force", f"{m.effective} to {m.not_after}"),
        ("orders", ", ".join(m.order_ids)),
        ("provenance", m.provenance),
        ("sha256", m.data_sha256),
    ):
        table.add_row(name, value)
    out.print(table)
    out.print("signature, data and period are in order")
