"""A load test's page and table: complete, and in need of nothing from outside."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console
from support import results

from pipeline.loadtest import page
from pipeline.loadtest.measure import Losses, Recall


def text_of(result, tmp_path) -> str:
    """The page."""
    return page.write(result, tmp_path / "out").read_text(encoding="utf-8")


def test_the_page_shows_every_figure_and_loads_nothing(tmp_path):
    """No script, no style, no picture from elsewhere."""
    html = text_of(results.result(), tmp_path)
    for figure in (
        "16.5 ms",
        "430 ms",
        "of 388",
        "40.0 uploads/s",
        "0.80 of 50.0 uploads/s",
        "none 3/3",
    ):
        assert figure in html
    assert html.count("<svg") == 6
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", html)
    assert "<script" not in html
    assert 'class="fault"' not in html


def test_the_page_of_running_services_leaves_out_what_is_not_known(tmp_path):
    """No memory, no saturation, no recall: no empty plots either."""
    measured = results.measured(
        recall={}, samples=[], cores={}, waiting_most=None, to_candidate_is_bucketed=True,
        candidate_delays=[], door_p99_seconds=None,
    )  # fmt: skip
    html = text_of(
        results.result(measured=measured, saturation=None, is_self_contained=False), tmp_path
    )
    assert html.count("<svg") == 2
    assert "running services" in html
    assert "histogram" in html
    assert "n/a" in html


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"losses": Losses(10, 9, None, 0, 0)}, "1 acknowledged uploads have no outcome"),
        ({"losses": Losses(10, 10, 10, 0, 2)}, "2 uploads have more than one candidate"),
        ({"losses": Losses(10, 10, 10, 3, 0)}, "3 uploads were refused"),
        ({"recall": {"none": Recall(5, 4)}}, "1 unedited planted uploads were not found"),
    ],
)
def test_a_fault_stands_on_top_of_the_page(changes, said, tmp_path):
    """And is one for the command's status."""
    result = results.result(measured=results.measured(**changes))
    assert result.faults == [said]
    assert f'<section class="fault"><b>{said}</b>' in text_of(result, tmp_path)


def test_a_fault_of_an_earlier_trial_is_one_too():
    """What is lost on the way to saturation is lost."""
    assert results.result(earlier_faults=("at 9.0 uploads/s: lost",)).faults == [
        "at 9.0 uploads/s: lost"
    ]


def test_an_edit_that_is_not_found_is_a_figure_and_no_fault():
    """Recall of edits is the matcher's business; losses are this one's."""
    assert results.measured(recall={"bordered": Recall(5, 0)}).faults() == []


def test_the_figures_are_there_for_programs_too(tmp_path):
    """As JSON, with all samples."""
    page.write(results.result(), tmp_path / "out")
    read = json.loads((tmp_path / "out" / "loadtest.json").read_text(encoding="utf-8"))
    assert read["measured"]["losses"]["sent"] == 388
    assert len(read["measured"]["samples"]) == 20


def test_the_table_says_whether_memory_is_flat(tmp_path):
    """By process."""
    buffer = io.StringIO()
    Console(file=buffer, width=160).print(page.terminal(results.result(), tmp_path / "x.html"))
    assert "memory of scan" in buffer.getvalue()
    assert "flat" in buffer.getvalue()
