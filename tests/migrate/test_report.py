"""The report as text and as JSON."""

import json
from pathlib import Path

import pytest

from compat.migrate import Finding, Remark, Report, Unreadable
from compat.migrate.findings import EFFORTS, STATUSES, Mention, Place
from compat.migrate.report import SCHEMA, as_json, as_text, next_commands

REPORT = Report(
    paths=("src",),
    files=3,
    skipped=1,
    findings=(
        Finding(Place("src/a.py", 0, 1, 8), "import", "aitoolbox.A", "aitoolbox.A", "same", native="B"),
        Finding(
            Place("src/a.py", 0, 12, 3), "member", "aitoolbox.A.fit", "aitoolbox.A.fit", "differs", "It differs.",
            ("Q01", "Q02"), "Trainer", code="a.fit()",
        ),
        Finding(Place("src/a.py", 0, 13, 3), "member", "aitoolbox.A.fit", "aitoolbox.A.fit", "differs", "It differs."),
        Finding(
            Place("src/b.ipynb", 2, 1, 1), "import", "aitoolbox.b.C", "aitoolbox.old.C", "refused", "Gone.",
            native="nothing", versions="1.0 - 1.3",
        ),
        Finding(Place("src/b.ipynb", 2, 2, 1), "import", "a.Q", "a.Q", "unknown", "No.", nearest=("X", "Y")),
    ),
    remarks=(Remark(Place("src/a.py", 0, 2, 1), "Look."),),
    unreadable=(
        Unreadable("src/c.py", "not Python 3", 0, (Mention(4, "import aitoolbox"),)), Unreadable("d", "gone", 3),
    ),
    programs=("src/a b.py",),
)  # fmt: skip


def test_the_text() -> None:
    assert as_text(REPORT) == (
        "src/a.py\n"
        "  1:8   same     import  aitoolbox.A\n"
        "  12:3  differs  member  aitoolbox.A.fit [Q01 Q02] It differs. In Lightning: Trainer.\n"
        "  13:3  differs  member  aitoolbox.A.fit (as at 12:3)\n"
        "\n"
        "src/b.ipynb\n"
        "  cell 2, line 1:1  refused  import  aitoolbox.b.C (written aitoolbox.old.C, of AIToolbox 1.0 - 1.3) Gone. "
        "In Lightning: nothing.\n"
        "  cell 2, line 2:1  unknown  import  a.Q No. Nearest: X, Y.\n"
        "\n"
        "Remarks\n"
        "  src/a.py:2:1: Look.\n"
        "\n"
        "Could not be read in full\n"
        "  src/c.py: not Python 3\n"
        "    4: import aitoolbox\n"
        "  d, cell 3: gone\n"
        "\n"
        "Files read: 3, 1 folders passed over, 2 not readable in full\n"
        "Uses of AIToolbox: 5 in 2 files\n"
        "  1 same, 2 differs, 1 refused, 1 unknown\n"
        "  1 runs as it is, 2 need a look, 2 do not run\n"
        "Go on with:\n"
        "  python -m compat run 'src/a b.py'\n"
    )


def test_control_characters_are_shown_and_not_obeyed() -> None:
    text = as_text(Report(("a",), unreadable=(Unreadable("a\nb\x1b[31m.py", "\u202egone é\udcff"),)))
    assert "  a\\nb\\x1b[31m.py: \\u202egone é\\udcff\n" in text


def test_the_text_of_a_clean_check() -> None:
    assert as_text(Report(("a",), files=1)) == "Files read: 1\nNo use of AIToolbox was found.\n"


def test_the_json_has_everything() -> None:
    document = json.loads(as_json(REPORT))
    assert set(document) == {
        "schema", "version", "paths", "files", "skipped", "exit_code", "statuses", "efforts", "programs", "findings",
        "remarks", "unreadable",
    }  # fmt: skip
    assert (document["schema"], document["files"], document["exit_code"]) == (SCHEMA, 3, 2)
    assert list(document["statuses"]) == list(STATUSES)
    assert list(document["efforts"]) == list(EFFORTS)
    assert document["findings"][1] == {
        "path": "src/a.py", "cell": None, "line": 12, "column": 3, "kind": "member", "name": "aitoolbox.A.fit",
        "written": "aitoolbox.A.fit", "status": "differs", "effort": "needs a look", "why": "It differs.",
        "quirks": ["Q01", "Q02"], "native": "Trainer", "nearest": [], "versions": "", "code": "a.fit()",
    }  # fmt: skip
    assert document["findings"][3]["cell"] == 2
    assert document["remarks"] == [{"path": "src/a.py", "cell": None, "line": 2, "column": 1, "text": "Look."}]
    assert document["unreadable"][0]["mentions"] == [{"line": 4, "code": "import aitoolbox"}]


def test_the_document_is_described_field_by_field() -> None:
    import compat.migrate.report as module

    described = str(module.__doc__)
    document = json.loads(as_json(REPORT))
    fields = {*document, *document["findings"][0], *document["remarks"][0], *document["unreadable"][0]}
    assert [field for field in fields if field not in described] == []


@pytest.mark.parametrize("count", [0, 1, 9])
def test_there_are_few_commands_to_go_on_with(count: int, tmp_path: Path) -> None:
    assert len(next_commands(Report((), programs=tuple(f"{n}.py" for n in range(count))))) == min(count, 3)
