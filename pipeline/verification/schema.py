"""The store's tables, once for both databases; written for SQLite, PostgreSQL's words put in.

A schema of another version is refused, never guessed at: see docs/verification.md.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 4

TABLES: Final = """
CREATE TABLE candidate (
  candidate_id    BLOB PRIMARY KEY CHECK (length(candidate_id) = 16),
  sequence        INTEGER UNIQUE,    -- given on release: what waits leaves no gap to be seen
  order_id        BLOB NOT NULL,
  epoch           INTEGER NOT NULL,
  state           TEXT NOT NULL
    CHECK (state IN ('held', 'quarantined', 'released', 'confirmed_once', 'disputed', 'confirmed',
      'rejected', 'reported', 'closed')),
  group_tag       BLOB,              -- of the threshold seal, until it is erased
  waiting         BLOB,              -- the Candidate with its threshold seal, as it arrived
  released        BLOB,              -- the Candidate with a direct seal: reviewers may read it
  received_at     INTEGER NOT NULL,  -- seconds since 1970
  delete_after    INTEGER,           -- last day of retention, days since 1970; NULL: erased
  CHECK ((state IN ('held', 'quarantined')) = (sequence IS NULL)),
  CHECK ((group_tag IS NULL) <= (waiting IS NULL))
);
CREATE INDEX candidate_by_state ON candidate (state, sequence);
CREATE INDEX candidate_by_group ON candidate (group_tag) WHERE group_tag IS NOT NULL;
CREATE INDEX candidate_by_last_day ON candidate (delete_after) WHERE delete_after IS NOT NULL;
CREATE TABLE share (                 -- every point that was seen of a group's lines
  group_tag       BLOB NOT NULL,
  stream          TEXT NOT NULL,
  x               BLOB NOT NULL,
  y               BLOB NOT NULL,
  PRIMARY KEY (group_tag, stream, x, y)  -- a repeat never counts; another y contests its x
) WITHOUT ROWID;
CREATE TABLE hit_group (             -- an open group
  group_tag       BLOB PRIMARY KEY,
  group_ref       BLOB NOT NULL UNIQUE,  -- random: what reviewers see in the tag's place
  one             BLOB NOT NULL,     -- two candidates whose shares open it again:
  two             BLOB NOT NULL,     -- its key is never kept
  opened_at       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE closed_epoch (          -- its key is destroyed: nothing of it can be new
  order_id        BLOB NOT NULL,
  epoch           INTEGER NOT NULL,
  closed_at       INTEGER NOT NULL,
  receipt         TEXT NOT NULL,     -- the provider's, as it was given
  PRIMARY KEY (order_id, epoch)
) WITHOUT ROWID;
CREATE TABLE decision (              -- a reviewer's, signed; outlives the candidate
  candidate_id    BLOB NOT NULL,
  reviewer_id     TEXT NOT NULL,     -- of the reviewer's key
  number          INTEGER NOT NULL,  -- counts from 1 for each candidate
  message         BLOB NOT NULL,     -- the signed Decision
  PRIMARY KEY (candidate_id, reviewer_id)
) WITHOUT ROWID;
CREATE TABLE opened (                -- what reviewers have opened and confirm
  candidate_id    BLOB NOT NULL REFERENCES candidate (candidate_id) ON DELETE CASCADE,
  digest          BLOB NOT NULL,     -- as in the decision
  payload         BLOB NOT NULL,
  PRIMARY KEY (candidate_id, digest)
) WITHOUT ROWID;
CREATE TABLE verdict (               -- outlives the candidate
  candidate_id    BLOB PRIMARY KEY,
  order_id        BLOB NOT NULL,
  sequence        INTEGER NOT NULL,  -- counts from 1 without gaps in each order
  message         BLOB NOT NULL,     -- the signed Verdict; its payload stands in opened
  UNIQUE (order_id, sequence)
);
CREATE TABLE progress (              -- after a verdict
  candidate_id    BLOB NOT NULL,
  state           TEXT NOT NULL CHECK (state IN ('reported', 'closed')),
  actor           TEXT NOT NULL,     -- certified URI
  note            TEXT NOT NULL,
  at              INTEGER NOT NULL,  -- seconds since 1970
  PRIMARY KEY (candidate_id, state)
) WITHOUT ROWID;
CREATE TABLE audit (                 -- every act, in order: see audit.py
  number          INTEGER PRIMARY KEY,
  at              INTEGER NOT NULL,
  kind            TEXT NOT NULL,
  facts           TEXT NOT NULL,
  hash            BLOB NOT NULL
);
"""

APPEND_ONLY: Final = {
    "decision": ("candidate_id", "reviewer_id"),
    "verdict": ("candidate_id",),
    "progress": ("candidate_id", "state"),
    "audit": ("number",),
}
"""Tables (and their keys) whose rows the database itself refuses to change, replace or remove."""


def for_sqlite() -> str:
    """The script that makes the tables in SQLite: strict types, triggers that refuse."""
    tables = TABLES.replace("\n) WITHOUT ROWID;", "\n) STRICT, WITHOUT ROWID;")
    script = [tables.replace("\n);", "\n) STRICT;")]
    for table, key in APPEND_ONLY.items():
        refuse = f"BEGIN SELECT RAISE(ABORT, 'a row of {table} is never changed'); END;"
        # REPLACE deletes without asking a trigger on DELETE.
        same = " AND ".join(f"{column} = NEW.{column}" for column in key)
        is_there = f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same})"
        script += [
            f"CREATE TRIGGER {table}_stands BEFORE UPDATE ON {table} {refuse}",
            f"CREATE TRIGGER {table}_stays BEFORE DELETE ON {table} {refuse}",
            f"CREATE TRIGGER {table}_is_first BEFORE INSERT ON {table} {is_there} {refuse}",
        ]
    return "\n".join(script)


def for_postgres() -> str:
    """The script that makes the tables in PostgreSQL."""
    tables = TABLES.replace("BLOB", "BYTEA").replace("INTEGER", "BIGINT")
    script = [tables.replace(") WITHOUT ROWID;", ");"), _NEVER_CHANGED]
    for table in APPEND_ONLY:
        when = f"BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        script.append(f"CREATE TRIGGER {table}_stands {when} EXECUTE FUNCTION never_changed();")
    return "\n".join(script)


_NEVER_CHANGED: Final = f"""
CREATE TABLE sluis_schema (version BIGINT NOT NULL);
INSERT INTO sluis_schema VALUES ({VERSION});
CREATE FUNCTION never_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'a row of % is never changed', TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""
