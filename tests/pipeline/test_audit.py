"""The audit: every act is a link, and whatever is done to the chain behind its back is found."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from support import hits
from support.settings import SEEDED

from matchers.files import write_json
from pipeline.signed import StatementRefused
from pipeline.verification import audit, checkpoints
from pipeline.verification.audit import AuditBroken
from pipeline.verification.database import StoreFault, StoreRefused
from pipeline.verification.store import looking_at, open_store

PATIENCE_SECONDS = 30
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LINKS = 6


@pytest.fixture
def store(where):
    """A store with six acts in its audit."""
    with closing(open_store(where, clock=lambda: hits.DAY * 86_400.0)) as made:
        for number in range(LINKS):
            made.submit(
                lambda t, n=number: audit.append(t, "act", {"n": n, "ids": ["ab"]}, 1000 + n)
            ).result(PATIENCE_SECONDS)
        yield made


def verify(store, *held) -> int:
    """Verify the chain as the command does."""
    with store.read() as connection:
        return audit.verify(connection, held)


def checkpoint(store) -> dict:
    """The facts of a checkpoint of now."""
    with store.read() as connection:
        return checkpoints.check(audit.checkpoint(connection, KEY, 1), KEY.public_key())


def tamper(store, *statements) -> None:
    """Change the chain behind the database's back: its triggers are gone first."""
    with closing(store._database.connect()) as connection:
        is_sqlite = "sqlite3" in store.name
        for trigger in ("stands", "stays", "is_first") if is_sqlite else ("stands",):
            connection.execute(f"DROP TRIGGER audit_{trigger}" + ("" if is_sqlite else " ON audit"))
        for statement, *values in statements:
            connection.execute(statement, values)


def test_every_act_is_a_link(where):
    """Batches, releases and quarantines stand in the chain, with counts and ids and nothing else."""
    with closing(open_store(where, clock=lambda: hits.DAY * 86_400.0)) as store:
        one, two = hits.sealed("x", "1"), hits.sealed("y", "2")
        for part in ([one], [two, hits.altered(hits.sealed("z", "3"), "ciphertext")]):
            store.add([hits.arrival(c) for c in part]).result(PATIENCE_SECONDS)
        with store.read() as connection:
            rows = connection.execute("SELECT kind, facts FROM audit ORDER BY number").fetchall()
        assert verify(store) == len(rows)
    assert [kind for kind, _ in rows] == ["batch", "release", "quarantine", "batch"]
    facts = [json.loads(text) for _, text in rows]
    assert facts[0]["added"] == 1
    assert set(facts[1]["candidates"]) == {one.candidate_id.hex(), two.candidate_id.hex()}
    assert (facts[3]["added"], facts[3]["altered"]) == (1, 1)
    text = "".join(text for _, text in rows)
    for secret in (one.threshold.group_tag, one.threshold.shares[0].x, one.context.order_id):
        assert secret.hex() not in text


def test_a_chain_that_nobody_touched_verifies(store):
    """Also against checkpoints of any time."""
    early = checkpoint(store)
    store.submit(lambda t: audit.append(t, "act", {}, 2000)).result(PATIENCE_SECONDS)
    assert verify(store) == LINKS + 1
    assert verify(store, early, checkpoint(store)) == LINKS + 1


def test_an_auditor_needs_no_right_to_write(where):
    """The audit is read while the service runs and after it, and nothing can be written."""
    with closing(open_store(where)) as store:
        for number in range(LINKS):
            store.submit(lambda t: audit.append(t, "act", {}, 1)).result(PATIENCE_SECONDS)
            with looking_at(where) as connection:
                assert audit.verify(connection) == number + 1
    with looking_at(where) as connection:
        assert audit.verify(connection) == LINKS
        with pytest.raises(StoreFault):
            connection.execute("INSERT INTO closed_epoch VALUES (?, 0, 0, '')", (bytes(16),))


def test_looking_at_a_file_makes_nothing_beside_it(tmp_path):
    """Neither a log nor a lock: the folder may be one that only its keeper writes to."""
    place = tmp_path / "store.sqlite3"
    open_store(place).close()
    with looking_at(place) as connection:
        assert audit.verify(connection) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["store.sqlite3"]


def test_only_a_store_of_ours_is_looked_at(tmp_path):
    """Said as by any other command."""
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("not a database " * 100)
    for name, message in (
        ("absent", "no store"),
        ("empty", "no store"),
        ("text", "cannot be read"),
    ):
        with pytest.raises(StoreRefused, match=message), looking_at(tmp_path / name):
            pass


def test_an_empty_chain_verifies(where):
    """Nothing happened, and a checkpoint says so."""
    with closing(open_store(where)) as store:
        assert verify(store, checkpoint(store)) == 0


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET facts = '{}'", "DELETE FROM audit WHERE number = 6", "DELETE FROM audit"],
)
def test_the_database_itself_refuses(store, statement):
    """As long as nobody goes around it."""
    with closing(store._database.connect()) as connection, pytest.raises(StoreFault):
        connection.execute(statement)
    assert verify(store) == LINKS


@pytest.mark.parametrize("number", range(1, LINKS + 1))
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("facts", '{"n":9}'), ("facts", ""), ("kind", "other"), ("kind", ""),
        ("at", 5), ("at", -1), ("at", -(2**63)), ("at", 2**63 - 1),
        ("hash", b"\0" * 32), ("hash", b""), ("hash", b"\0" * 40),
    ],
)  # fmt: skip
def test_a_changed_link_is_found_and_named(store, number, column, value):
    """Property 13: whatever is changed of a link, it is the first that does not fit."""
    tamper(store, (f"UPDATE audit SET {column} = ? WHERE number = ?", value, number))
    with pytest.raises(AuditBroken, match=rf"link {number} was changed"):
        verify(store)


WRONG = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(),
    st.binary(max_size=40), st.just(b"\xff").map(lambda b: ("CAST(? AS TEXT)", b)),
)  # fmt: skip


@settings(SEEDED, max_examples=100)
@given(
    number=st.integers(1, LINKS),
    column=st.sampled_from(["at", "kind", "facts", "hash"]),
    wrong=WRONG,
)
def test_a_value_of_any_type_and_sign_is_found(tmp_path_factory, number, column, wrong):
    """Property 13 where the table itself was replaced by one that takes anything."""
    place, value = "?", wrong
    if isinstance(wrong, tuple):
        place, value = wrong
    with closing(open_store(tmp_path_factory.mktemp("audit") / "audit.sqlite3")) as store:
        for n in range(LINKS):
            store.submit(lambda t, n=n: audit.append(t, "act", {"n": n}, 1000 + n)).result(30)
        with closing(store._database.connect()) as connection:
            kept = connection.execute(f"SELECT {column} FROM audit WHERE number = ?", (number,))
            (before,) = kept.fetchone()
            connection.execute("CREATE TABLE loose AS SELECT * FROM audit")
            connection.execute("DROP TABLE audit")
            connection.execute("CREATE TABLE audit (number, at, kind, facts, hash)")
            connection.execute("INSERT INTO audit SELECT * FROM loose")
            connection.execute(
                f"UPDATE audit SET {column} = {place} WHERE number = ?", (value, number)
            )
        if type(before) is type(value) and before == value:
            assert verify(store) == LINKS
            return
        with pytest.raises(AuditBroken, match=f"link {number} was changed"):
            verify(store)


@pytest.mark.parametrize("number", range(1, LINKS + 1))
def test_a_removed_link_is_found(store, number):
    """A gap shows by itself; the end that was cut off shows by a checkpoint."""
    held = checkpoint(store)
    tamper(store, ("DELETE FROM audit WHERE number = ?", number))
    message = rf"link {number} is missing" if number < LINKS else "ends after 5 .* signed for 6"
    with pytest.raises(AuditBroken, match=message):
        verify(store, held)


def test_links_in_another_order_are_found(store):
    """Swapped whole, hashes and all."""
    tamper(
        store,
        ("UPDATE audit SET number = 100 WHERE number = 2",),
        ("UPDATE audit SET number = 2 WHERE number = 3",),
        ("UPDATE audit SET number = 3 WHERE number = 100",),
    )
    with pytest.raises(AuditBroken, match="link 2 was changed, or put in another's place"):
        verify(store)


def test_a_link_before_the_first_is_found(store):
    """Nothing can be slipped in at the start."""
    tamper(store, ("INSERT INTO audit VALUES (0, 0, 'act', '{}', ?)", bytes(32)))
    with pytest.raises(AuditBroken, match="link 1 is missing"):
        verify(store)


@settings(SEEDED, max_examples=25)
@given(cut=st.integers(0, LINKS - 1), more=st.integers(0, 3))
def test_a_chain_written_anew_is_found_by_a_checkpoint(tmp_path_factory, cut, more):
    """Whoever makes a new, flawless chain from any link on cannot make it meet the checkpoint."""
    place = tmp_path_factory.mktemp("audit") / "audit.sqlite3"
    with closing(open_store(place)) as store:

        def act(number: int, what: str) -> None:
            store.submit(lambda t: audit.append(t, what, {"n": number}, number)).result(30)

        for number in range(LINKS):
            act(number, "act")
        held = checkpoint(store)
        tamper(store, ("DELETE FROM audit WHERE number > ?", cut))
        for number in range(cut, LINKS + more):
            act(number, "forged")
        assert verify(store) == LINKS + more
        with pytest.raises(AuditBroken, match=f"link {LINKS} is not the one"):
            verify(store, held)


def test_a_checkpoint_counts_only_if_the_service_signed_it(store):
    """An altered or foreign one is refused, and so is one that names no link."""
    with store.read() as connection:
        statement = audit.checkpoint(connection, KEY, 1)
    other = Ed25519PrivateKey.generate().public_key()
    for wrong, key in (
        (statement | {"links": 5}, KEY.public_key()),
        (statement | {"hash": "00" * 32}, KEY.public_key()),
        (statement, other),
        ({}, KEY.public_key()),
        ([], KEY.public_key()),
    ):
        with pytest.raises(StatementRefused):
            checkpoints.check(wrong, key)


def test_a_checkpoint_that_goes_back_is_refused(store):
    """Fetching one finds a chain that was cut, before anybody runs the audit."""
    late = checkpoint(store)
    early = late | {"links": LINKS - 1}
    assert checkpoints.follows([early, late], late) == late
    assert checkpoints.follows([], late) == late
    for wrong in (early, late | {"hash": "00" * 32}):
        with pytest.raises(AuditBroken, match="cut off"):
            checkpoints.follows([early, late], wrong)


def test_two_heads_of_one_length_are_found_in_either_order(store):
    """A service that has signed two histories has written one of them anew."""
    held = checkpoint(store)
    other = held | {"hash": "00" * 32}
    for both in ((held, other), (other, held)):
        with pytest.raises(AuditBroken, match=f"two different heads after {LINKS} links"):
            verify(store, *both)


def test_checkpoints_are_kept_one_behind_another(store, tmp_path):
    """Also behind one of an earlier version, which stood alone and indented; none is lost."""
    file = tmp_path / "kept.json"
    with store.read() as connection:
        first, second = (audit.checkpoint(connection, KEY, at) for at in (1, 2))
    write_json(file, first)
    checkpoints.append(file, second)
    checkpoints.append(file, first)
    found = checkpoints.read(file, KEY.public_key())
    assert [one["at"] for one in found] == [1, 2, 1]
    for wrong in ("{", json.dumps(first | {"links": 5})):
        damaged = tmp_path / "damaged.json"
        damaged.write_text(file.read_text() + wrong)
        with pytest.raises(StatementRefused):
            checkpoints.read(damaged, KEY.public_key())
