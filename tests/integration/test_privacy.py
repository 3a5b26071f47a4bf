"""What must never be found where others could look: names, content, hashes, plaintext hits."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support import world as worlds

from matchers import pdq
from pipeline import resources, scan
from pipeline.errors import SluisError, VerificationUnreachable
from pipeline.rpc.sluis.verification.v1 import candidate_pb2, review_service_pb2

ITEM = "sentinel-item-7f3a"
ACCOUNT = "sentinel-account-91bc"
FILE = "sentinel-file-55de"
URL = "https://images.example/listed/sentinel-url-02aa"


def reencoded() -> bytes:
    """A listed picture whose code and digest are not the indicator's own."""
    buffer = io.BytesIO()
    image = Image.open(worlds.PHOTOS / "cat.jpg")
    image.resize((340, 226)).save(buffer, "JPEG", quality=35)
    return buffer.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A hit, a clear item, a skipped one and failures, all with names that can be searched for."""
    picture = tmp_path / f"{FILE}.jpg"
    picture.write_bytes(reencoded())
    other = tmp_path / f"{FILE}-other.jpg"
    shutil.copy(worlds.PHOTOS / "fig.jpg", other)
    broken = tmp_path / f"{FILE}-broken.jpg"
    broken.write_bytes(picture.read_bytes()[:5_000])
    rows = [
        (f"{ITEM}-hit", "image", picture, "", "none"),
        (f"{ITEM}-clear", "image", other, "", "none"),
        (f"{ITEM}-skipped", "image", picture, "", "e2ee"),
        (f"{ITEM}-broken", "image", broken, "", "none"),
        (f"{ITEM}-url", "url", "", URL, "none"),
        (f"{ITEM}-badurl", "url", "", "sentinel-url-02aa:nothing", "none"),
    ]
    path = tmp_path / "m.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [
                "item_id",
                "kind",
                "uri",
                "url",
                "encryption",
                "account_id",
                "part",
                "account_class",
                "consent",
                "user_notice",
            ]
        )
        for row in rows:
            writer.writerow([*row, ACCOUNT, "public-gallery", "ordinary", "given", "no"])
    return path


def secrets_of(source: Path) -> dict[str, bytes]:
    """Everything about the items that must not leak, in the forms it could leak in."""
    blob = reencoded()
    code = pdq.hash_images([blob]).codes[0].tobytes()
    digest = hashlib.sha256(blob).digest()
    return {
        "item": ITEM.encode(),
        "account": ACCOUNT.encode(),
        "file": FILE.encode(),
        "url": b"sentinel-url-02aa",
        "code": code,
        "code in hex": code.hex().encode(),
        "digest": digest,
        "digest in hex": digest.hex().encode(),
        "pixels": blob[2_000:2_064],
    }


LISTS = pytest.mark.parametrize("listed", ["known", "new"])
"""A hit on known material is sealed directly, one on new material behind a threshold."""


def under_order(
    world: worlds.World, address: str, listed: str, **changes: Any
) -> resources.ScanConfig:
    """What to scan with: that list and listed URLs, under an order on all kinds."""
    order = worlds.make_order(
        kinds=["known", "new", "url"], media=["image", "url"], prior_known_order="K-1"
    )
    return world.config(address, listed, "urls", order=order, **changes)


@LISTS
def test_logs_store_and_run_folder_name_nobody(world, tmp_path, source, listed, caplog, capfd):
    """With every logger at its loudest, and in every file that stays, no secret is found."""
    caplog.set_level(logging.DEBUG)
    store = tmp_path / "store" / "verification.sqlite3"
    run_folder = tmp_path / "run"
    order = under_order(world, "", listed).order
    with worlds.verification(world, store, orders=[order]) as address:
        config = under_order(world, address, listed, index_folder=tmp_path / "indexes")
        report = world.scan(source, config, run_folder)
        with worlds.reviewer(world, address) as reviewer:
            shown = list(reviewer.list(review_service_pb2.CANDIDATE_STATE_UNSPECIFIED))
        assert len(shown) == (listed == "known"), "a single hit on new material waits"
    assert report["tally"]["candidate"] == 1
    assert report["tally"]["failed"] == {"decode: truncated": 1, "decode: not_http": 1}
    printed = capfd.readouterr()
    looked_at = {
        "log": (caplog.text + "".join(str(r.__dict__) for r in caplog.records)).encode(),
        "stdout": printed.out.encode(),
        "stderr": printed.err.encode(),
    }
    for path in [*run_folder.rglob("*"), *store.parent.rglob("*"), *tmp_path.glob("indexes/**/*")]:
        if path.is_file():
            looked_at[path.name] = path.read_bytes()
    assert "verification.sqlite3" in looked_at
    assert "report.json" in looked_at
    for place, data in looked_at.items():
        for name, secret in secrets_of(source).items():
            if place == "failed.parquet" and name == "item":
                continue  # its purpose: telling the provider which of its items to look at
            assert secret not in data, f"{name} found in {place}"


@LISTS
def test_what_crosses_a_step_after_the_match_holds_no_plaintext_hit(
    world, verification, tmp_path, source, listed, monkeypatch
):
    """Past OpenMatchSeal an element knows item ids and sealed bytes, and nothing else."""
    crossed: list[bytes] = []
    seals: list[str | None] = []
    for name in ("open_match_seal", "emit"):
        really = getattr(scan, name)

        def kept(*arguments, _really=really):
            batch = _really(*arguments)
            crossed.append(pickle.dumps(batch))
            sent = [row["candidate"] for row in batch.rows.to_pylist() if row["candidate"]]
            seals.extend(candidate_pb2.Candidate.FromString(one).WhichOneof("seal") for one in sent)
            return batch

        monkeypatch.setattr(scan, name, kept)
    report = world.scan(source, under_order(world, verification, listed), tmp_path / "run")
    assert report["tally"]["candidate"] == 1
    assert len(crossed) == 2
    assert seals == [{"known": "direct", "new": "threshold"}[listed]]
    for data in crossed:
        assert b"cat.jpg" not in data, "an indicator's id crossed a step"
        for name, secret in secrets_of(source).items():
            if name != "item":
                assert secret not in data, f"{name} crossed a step"


def test_an_error_that_ends_a_run_quotes_no_item(
    world, verification, tmp_path, source, monkeypatch
):
    """Also when a step breaks in a way nobody foresaw, the message names no item."""

    def broken(*_arguments):
        raise RuntimeError(f"broken on {ITEM} of {ACCOUNT}")

    monkeypatch.setattr(scan, "open_match_seal", broken)
    with pytest.raises(SluisError) as ended:
        world.scan(source, world.config(verification), tmp_path / "run")
    assert "the scan failed" in str(ended.value)
    assert ITEM not in str(ended.value)
    assert ACCOUNT not in str(ended.value)


def test_an_unreachable_service_is_reported_without_candidates(world, tmp_path, source):
    """The message names the address the operator gave, and nothing of what was to be sent."""
    with pytest.raises(VerificationUnreachable) as refused:
        world.scan(source, world.config("127.0.0.1:9"), tmp_path / "run")
    for secret in (ITEM, ACCOUNT, FILE):
        assert secret not in str(refused.value)
