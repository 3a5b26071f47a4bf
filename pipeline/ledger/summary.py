"""What a ledger holds, in figures."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.ledger import record
from pipeline.ledger.folder import LedgerFolder, records
from pipeline.ledger.key import LedgerKey
from pipeline.ledger.record import ABOUT


@dataclass(frozen=True)
class Day:
    """What was kept on one day.

    Attributes:
        day: as YYYY-MM-DD.
        items: how many; one that was scanned twice counts twice.
        size_bytes: of its files.
        sets: the indicator sets and versions that were asked.
    """

    day: str
    items: int
    size_bytes: int
    sets: frozenset[tuple[str, int]]


def by_day(folder: LedgerFolder, key: LedgerKey) -> list[Day]:
    """The days of a ledger, the oldest first.

    Raises:
        KeysRefused: it was sealed with another key.
        LedgerDamaged: it was altered.
    """
    days: dict[str, Day] = {}
    for path in folder.segments():
        name = path.parent.name
        held = days.get(name, Day(name, 0, 0, frozenset()))
        items, sets = held.items, set(held.sets)
        for segment, place in records(path, key):
            found = record.decode_about(segment.unseal(place, ABOUT))
            items += len(found.items)
            sets |= set(found.about.sets.items())
        size_bytes = held.size_bytes + path.stat().st_size
        days[name] = Day(name, items, size_bytes, frozenset(sets))
    return list(days.values())
