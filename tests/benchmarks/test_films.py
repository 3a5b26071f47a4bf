"""The video benchmark: what it films, and that all ways see the same frames."""

from __future__ import annotations

import dataclasses

from support.places import demo_photos

from benchmarks import films, scales
from benchmarks.results import Results
from benchmarks.tables import video


def test_a_film_is_measured_every_way(tmp_path) -> None:
    """Our codes of its frames are the reference core's, but for the rounding of its RGB."""
    scale = dataclasses.replace(scales.QUICK, film_frames=4, large_rounds=1)
    found = films.measure(demo_photos(), scale, lambda _: None)
    assert found["frames"] == 4
    assert found["most_bits"] <= 10
    assert {entry["way"] for entry in found["ways"]} == {
        films.DECODING, films.OURS, films.SAMPLED, films.REFERENCE
    }  # fmt: skip
    results = Results(tmp_path / "results.json")
    results.units["video"] = {"taken": {}, "measured": found}
    (table,) = video(results)
    assert len(table.rows) == 4
