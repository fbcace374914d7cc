"""The page of native parts in the guide is what the runs of the matrix give."""

import dataclasses

import pytest

from tests.both_worlds import native_parts, page
from tests.both_worlds.matrix import CELLS, outcome
from tests.test_guide import broken_links, uneven_rows


@pytest.mark.timeout(600)
def test_page_on_disk_is_what_the_runs_give() -> None:
    """If not: python -m tests.both_worlds."""
    if lacking := page.absent():
        pytest.skip("; ".join(lacking))
    assert page.PATH.read_text(encoding="utf-8") == page.text()


def test_control_another_outcome_makes_another_row(monkeypatch: pytest.MonkeyPatch) -> None:
    before = page._row(0)
    cell = next(cell for cell in CELLS if cell.part == 0)
    other = dataclasses.replace(outcome(cell), cadence="every batch, for nobody")
    monkeypatch.setattr(page, "outcome", lambda asked: other if asked == cell else outcome(asked))
    assert page._row(0) != before


def test_control_cells_that_disagree_make_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = next(cell for cell in CELLS if cell.part == 0)
    other = dataclasses.replace(outcome(cell), is_refused=True)
    monkeypatch.setattr(page, "outcome", lambda asked: other if asked == cell else outcome(asked))
    with pytest.raises(ValueError, match="too many values"):
        page._row(0)


def test_links_lead_somewhere_and_tables_are_whole() -> None:
    text = page.PATH.read_text(encoding="utf-8")
    assert broken_links(text, page.PATH.parent) == []
    assert uneven_rows(text) == []


def test_each_part_has_a_row() -> None:
    text = page.PATH.read_text(encoding="utf-8")
    for part in native_parts.NATIVE_PARTS:
        assert f"| {page._name(part)} | {part.since} |" in text.replace(r"\*", "*")
