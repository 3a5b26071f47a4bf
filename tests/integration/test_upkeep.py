"""Keys, sweep, checkpoints and audit as whoever keeps a service uses them: by commands."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from support import hits
from support import world as worlds

from pipeline import order, vouchers
from pipeline.cli import serving
from pipeline.emit import Emitter
from pipeline.verification import audit
from pipeline.verification.store import open_store

RETENTION_DAYS = 30


@pytest.fixture
def deployed(sluis, tmp_path):
    """Keys and an order of epochs of ten days that began a month ago."""
    assert sluis("keys", "new", "keys").status == 0
    today = worlds.real_now().date()
    values = worlds.order_values(
        valid_from=today - dt.timedelta(days=35),
        valid_until=today + dt.timedelta(days=300),
        epoch_days=10,
    )
    Path("order.yaml").write_text(yaml.safe_dump(values))
    return worlds.World(tmp_path)


def epochs() -> vouchers.Epochs:
    """Of the order that the commands read."""
    valid = order.load(Path("order.yaml"))
    return vouchers.Epochs.of(valid.valid_from, valid.valid_until, valid.epoch_days)


def seal(deployed, content: str, indicator: str, day: int):
    """A hit under that order."""
    from pipeline import keys
    from pipeline.rpc import candidates
    from pipeline.rpc.sluis.verification.v1 import candidate_pb2

    service = keys.LocalKeyService(
        deployed.keys / "provider", worlds.REFERENCE, "account", epochs()
    )
    hit = keys.Sealable(
        item_id=content, account_id="a", content=content.encode().ljust(32),
        indicator=indicator.encode(), hit_day=day, released_at_once=False,
    )  # fmt: skip
    done = service.seal(hit, candidate_pb2.CandidatePayload(set_id="s").SerializeToString())
    return candidates.to_message(
        done.candidate_id, done.context, done.hit_day, done.verifier_key_id, done.seal
    )


def send(deployed, where, *parts, day: int) -> list[int]:
    """Deliver over the wire, on a day; the reasons of rejections."""
    with worlds.verification(
        deployed, where, orders=[order.load(Path("order.yaml"))],
        clock=lambda: day * 86_400.0, retention_days=RETENTION_DAYS,
    ) as address:  # fmt: skip
        emitter = Emitter(address, deployed.keys / "provider")
        results = emitter.send(parts)
        emitter.close()
    return [result.reject_reason for result in results]


def test_a_key_is_listed_rotated_destroyed_and_its_epoch_closed(sluis, deployed, where):
    """The life of a key by commands alone, on both sides."""
    first = epochs().first_day
    one, two = seal(deployed, "x", "1", first), seal(deployed, "x", "1", first + 30)
    assert send(deployed, where, one, two, day=first + 30) == [0, 0]
    common = ("--order", "order.yaml")

    listed = sluis("keys", "list", *common)
    assert listed.status == 0, listed.err
    assert [line.split()[:2] for line in listed.out.splitlines()[1:]] == [["0", "1"], ["3", "1"]]
    rotated = sluis("keys", "rotate", *common)
    assert rotated.out.strip() == "key version 2 begins with epoch 4"
    assert rotated.out.strip() in sluis("keys", "list", *common).out

    refused = sluis("keys", "destroy", *common, "--epoch", "3")
    assert refused.status == 2
    assert "--even-if-current" in refused.err
    refused = sluis("keys", "destroy", *common, "--epoch", "1")
    assert "has no key here" in refused.err
    done = sluis("keys", "destroy", *common, "--epoch", "0")
    assert done.status == 0, done.err
    (receipt,) = Path("keys/provider/epochs").glob("*/0-v1.receipt.json")
    assert str(receipt) in done.out
    assert not receipt.with_name("0-v1.key").exists()
    states = [line.split()[-1] for line in sluis("keys", "list", *common).out.splitlines()[1:3]]
    assert states == ["destroyed", "use"]

    closed = sluis("verification", "close", receipt, "--store", where)
    assert closed.status == 0, closed.err
    assert "deleted 1 single hits" in closed.out
    assert "is closed" in closed.out
    assert closed.err == ""
    assert "was closed before" in sluis("verification", "close", receipt, "--store", where).out
    assert send(deployed, where, one, two, day=first + 30) == [9, 0]

    forged = json.loads(receipt.read_text()) | {"epoch": 3}
    Path("forged.json").write_text(json.dumps(forged))
    refused = sluis("verification", "close", "forged.json", "--store", where)
    assert refused.status == 4
    assert "altered" in refused.err
    with closing(open_store(where, may_make=False)) as store:
        assert set(hits.states(store)) == {two.candidate_id}


def test_a_sweep_says_what_it_deleted(sluis, deployed, where):
    """And finds nothing the second time."""
    first = epochs().first_day
    send(deployed, where, seal(deployed, "x", "1", first), day=first)
    done = sluis("verification", "sweep", "--store", where)
    assert done.status == 0, done.err
    assert "deleted 1 single hits and 0 that were put aside" in done.out
    assert "deleted 0 single hits" in sluis("verification", "sweep", "--store", where).out


def test_an_audit_is_held_against_the_checkpoint_that_the_provider_fetched(
    sluis, deployed, tmp_path
):
    """In order with it; broken, with status 5, once somebody has written the audit anew."""
    where = tmp_path / "store.sqlite3"
    today = vouchers.day_number(worlds.real_now().date())
    with worlds.verification(
        deployed, where, orders=[order.load(Path("order.yaml"))], clock=lambda: today * 86_400.0
    ) as address:
        emitter = Emitter(address, deployed.keys / "provider")
        emitter.send([seal(deployed, "x", "1", today)])
        emitter.send([seal(deployed, "y", "2", today)])
        emitter.close()
        done = sluis("verification", "checkpoint", "kept.json", "--verification", address)
        assert done.status == 0, done.err
        assert "checkpoint of 3 links" in done.out
        denied = sluis(
            "verification", "checkpoint", "other.json", "--verification", address,
            "--keys", "keys/reviewer-1",
        )  # fmt: skip
        assert denied.status == 2
        assert not Path("other.json").exists()

    place = ("--store", where)
    plain = sluis("verification", "audit", *place)
    assert plain.status == 0
    assert "3 links are in order. No checkpoint was given" in plain.out
    held = sluis("verification", "audit", *place, "--checkpoint", "kept.json")
    assert held.status == 0, held.err
    assert "3 of them are vouched for by a checkpoint" in held.out

    with closing(sqlite3.connect(where, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER audit_stays")
        connection.execute("DELETE FROM audit WHERE number = 3")
    assert sluis("verification", "audit", *place).status == 0  # alone, a shorter chain looks whole
    broken = sluis("verification", "audit", *place, "--checkpoint", "kept.json")
    assert broken.status == 5
    assert "the chain ends after 2 links" in broken.err

    with worlds.verification(
        deployed, where, orders=[order.load(Path("order.yaml"))], clock=lambda: today * 86_400.0
    ) as address:
        before = Path("kept.json").read_text()
        shorter = sluis("verification", "checkpoint", "kept.json", "--verification", address)
        assert shorter.status == 5
        assert "cut off" in shorter.err
        assert Path("kept.json").read_text() == before


def test_a_history_written_anew_is_found_by_the_checkpoints_before_the_last(
    sluis, deployed, tmp_path
):
    """The routine keeps every checkpoint: a later one that was signed over a new history hides none."""
    where = tmp_path / "store.sqlite3"
    today = vouchers.day_number(worlds.real_now().date())

    def session(content: str) -> None:
        with worlds.verification(
            deployed, where, orders=[order.load(Path("order.yaml"))], clock=lambda: today * 86_400.0
        ) as address:
            emitter = Emitter(address, deployed.keys / "provider")
            emitter.send([seal(deployed, content, "1", today)])
            emitter.close()
            done = sluis("verification", "checkpoint", "kept.jsonl", "--verification", address)
            assert done.status == 0, done.err

    session("x")
    with closing(sqlite3.connect(where)) as connection, connection:
        connection.execute("DROP TRIGGER audit_stands")
        rows = connection.execute("SELECT number, at, kind, facts FROM audit").fetchall()
        before = audit.FIRST
        for number, at, kind, facts in rows:
            forged = facts.replace('"added":1', '"added":0')
            before = audit.link(before, number, at, kind, forged)
            connection.execute(
                "UPDATE audit SET facts = ?, hash = ? WHERE number = ?", (forged, before, number)
            )
    session("z")
    broken = sluis("verification", "audit", "--store", where, "--checkpoint", "kept.jsonl")
    assert broken.status == 5
    assert "link 1 is not the one" in broken.err


@pytest.mark.parametrize("command", ["sweep", "audit"])
def test_a_mistyped_store_is_not_taken_for_an_empty_one(sluis, command):
    """It says that there is none, and makes none."""
    done = sluis("verification", command, "--store", "mistyped.sqlite3")
    assert done.status == 2
    assert "there is no store" in done.err
    assert not Path("mistyped.sqlite3").exists()


def test_serving_needs_an_order_and_a_sane_retention(sluis, deployed):
    """Both are asked for before anything is opened."""
    assert "--order" in sluis("verification", "serve").err
    done = sluis("verification", "serve", "--order", "order.yaml", "--retention-days", "400")
    assert done.status == 2
    assert not Path("verification.sqlite3").exists()
    twice = sluis("verification", "serve", "--order", "order.yaml", "--order", "order.yaml")
    assert twice.status == 2
    assert "given twice" in twice.err


def test_closing_an_epoch_in_a_store_of_other_orders_says_so(sluis, deployed, tmp_path):
    """A receipt for the right service, given to the wrong store."""
    seal(deployed, "x", "1", epochs().first_day)
    sluis("keys", "destroy", "--order", "order.yaml", "--epoch", "0")
    (receipt,) = Path("keys/provider/epochs").glob("*/0-v1.receipt.json")
    other = tmp_path / "other.sqlite3"
    open_store(str(other)).close()
    done = sluis("verification", "close", receipt, "--store", other)
    assert done.status == 0
    assert "holds no candidate of order" in done.err
    assert str(other) in done.out


@pytest.mark.parametrize("command", [["sweep"], ["audit"], ["close", "receipt.json"]])
def test_the_store_is_named_and_never_guessed(sluis, command):
    """Whatever lies in the current folder under the usual name is not touched."""
    open_store("verification.sqlite3").close()
    done = sluis("verification", *command)
    assert done.status == 2
    assert "--store" in done.err


def test_a_store_is_shown_without_its_password():
    """Wherever the password stands in the URL."""
    shown = serving.store_name("postgresql://sluis:secret@db.example:5432/one?password=secret")
    assert shown == "postgresql://sluis@db.example:5432/one"
    assert serving.store_name("here.sqlite3") == str(Path("here.sqlite3").resolve())
