"""The generated pages of the migration guide are those that the tables of today make."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compat._surface import Surface, surface
from tests.guide import FOLDER, PAGES, if_then, path_of, refused, text_of

TRAIN_LOOP = "aitoolbox.torchtrain.train_loop.train_loop.TrainLoop"
KERAS = "aitoolbox.experiment.local_save.local_model_save.KerasLocalModelSaver"


@pytest.mark.parametrize("name", PAGES)
def test_page_on_disk_is_what_its_tables_make(name: str) -> None:
    """If not: python -m tests.guide."""
    assert path_of(name).read_text(encoding="utf-8") == text_of(name)


@pytest.mark.parametrize(
    ("old", "page"), [(TRAIN_LOOP, if_then.page), (KERAS, refused.page)], ids=["if_then", "refused"]
)
@pytest.mark.parametrize("field", ["why", "native"])
def test_control_a_changed_table_makes_another_page(old: str, page: Callable[[Surface], str], field: str) -> None:
    row = surface().names[old]
    other = replace(row, why="Otherwise.") if field == "why" else replace(row, native="Otherwise.")
    changed = replace(surface(), names={**surface().names, old: other})
    assert page(changed) != page(surface())
    assert page(changed).count("Otherwise.") == 1


def test_if_then_has_every_name_once() -> None:
    begin, older = if_then.page().split("## AIToolbox 1.0 to 1.7")
    for row in surface().names.values():
        part = older if row.versions else begin
        lines = [line for line in part.splitlines() if line.startswith("| `") and f"{row.short}` |" in line]
        assert any(row.old.endswith(line.split("`")[1]) and row.native.split("<")[0] in line for line in lines), row.old


def test_refused_has_every_name_that_is_not_served_and_no_other() -> None:
    text = refused.page().partition("## Arguments")[0]
    named = {path.rpartition(".")[2] for path in re.findall(r"`([\w.]+)`", text.partition("## Not served yet")[2])}
    assert named == {row.short for row in surface().names.values() if not row.is_served}


def test_refused_has_every_argument_and_module() -> None:
    text = refused.page()
    for row in surface().names.values():
        for key, argument in row.arguments.items():
            if row.is_served and not argument.versions and argument.status in ("later", "refused"):
                assert f"`{key}`" in text, key
    for module in surface().modules.values():
        if module.status == "refused":
            assert f"| `{module.path.removeprefix('aitoolbox.')}` |" in text


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    assert broken_links(text_of(name), FOLDER) == []


def test_control_a_broken_link_is_reported() -> None:
    text = "[a](README.md) [b](no_such.md) [c](https://example.org/x) [d](#below)"
    assert broken_links(text, FOLDER) == ["no_such.md"]


@pytest.mark.parametrize("name", PAGES)
def test_tables_of_a_page_are_whole(name: str) -> None:
    assert uneven_rows(text_of(name)) == []


def test_control_an_uneven_row_is_reported() -> None:
    assert uneven_rows("| a | b |\n| --- | --- |\n| 1 | 2 |\n| 1 |\n\n| a \\| b |\n| --- |\n") == ["| 1 |"]


def broken_links(text: str, folder: Path) -> list[str]:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    return [link for link in links if not folder.joinpath(link).exists()]


def uneven_rows(text: str) -> list[str]:
    """List the rows of tables that have not as many cells as their header."""
    uneven = []
    width = 0
    for line in text.splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1 if line.startswith("|") else 0
        if width and cells and cells != width:
            uneven.append(line)
        width = (width or cells) if cells else 0
    return uneven
