"""Notebooks: cells, magics, both formats, and files that are no notebooks."""

import json
from pathlib import Path
from typing import Any

import pytest

from compat.migrate import Report
from tests.migrate.reading import brief, read


def notebook(*cells: str | list[str], kind: str = "code") -> bytes:
    made = [{"cell_type": kind, "source": cell} for cell in cells]
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": made}).encode()


def check(folder: Path, data: bytes) -> Report:
    return read(folder, data, "book.ipynb")


def found(report: Report) -> list[str]:
    return [brief(finding) for finding in report.findings]


def test_cells_share_their_names_and_are_counted_with_the_others(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": "from aitoolbox import TrainLoop"},
        {"cell_type": "code", "source": ["from aitoolbox import TrainLoop\n", "loop = TrainLoop(1)"]},
        {"cell_type": "code", "source": "loop.fit(1)"},
    ]
    report = check(tmp_path, json.dumps({"nbformat": 4, "cells": cells}).encode())
    assert found(report) == ["[2] 1:23 import TrainLoop", "[2] 2:8 reference TrainLoop", "[3] 1:6 member TrainLoop.fit"]
    assert str(report.findings[0].place).endswith("book.ipynb:cell 2, line 1:23")


def test_format_3(tmp_path: Path) -> None:
    book = {"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["import aitoolbox"]}]}]}
    assert found(check(tmp_path, json.dumps(book).encode())) == ["[1] 1:8 import aitoolbox"]


def test_magics_and_shell_lines_are_passed_over(tmp_path: Path) -> None:
    code = """%matplotlib inline
!pip install aitoolbox
files = !ls
size = %timeit -o 1
from aitoolbox import TrainLoop
if True:
    %time loop = TrainLoop(1)
    !ls
loop?
?loop
x = ('%s'
     % 3)
loop.fit(1)
"""
    report = check(tmp_path, notebook(code, "%%time\nloop.fit(2)", "%%timeit -n 3\nloop.fit(3)"))
    assert report.unreadable == ()
    assert found(report) == [
        "[1] 5:23 import TrainLoop",
        "[1] 7:18 reference TrainLoop",
        "[1] 13:6 member TrainLoop.fit",
        "[2] 2:6 member TrainLoop.fit",
        "[3] 2:6 member TrainLoop.fit",
    ]


def test_lines_that_only_look_like_magics_stay(tmp_path: Path) -> None:
    code = "from aitoolbox import TrainLoop\ntext = '''\n%time x\n''' \\\n% 3\nTrainLoop"
    assert found(check(tmp_path, notebook(code))) == ["[1] 1:23 import TrainLoop", "[1] 6:1 reference TrainLoop"]


def test_a_broken_cell_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    report = check(tmp_path, notebook("import aitoolbox", "aitoolbox.(", "aitoolbox.TrainLoop"))
    assert found(report) == ["[1] 1:8 import aitoolbox", "[3] 1:1 reference TrainLoop"]
    (problem,) = report.unreadable
    assert (problem.cell, problem.mentions[0].code) == (2, "aitoolbox.(")
    assert report.exit_code == 2


def test_cells_of_other_languages(tmp_path: Path) -> None:
    report = check(tmp_path, notebook("import aitoolbox", "%%bash\nls", "%%writefile a.py\nimport aitoolbox"))
    (problem,) = report.unreadable
    assert (problem.cell, problem.reason) == (3, "a cell of %%writefile")


@pytest.mark.parametrize(
    "data",
    [
        b"aitoolbox",
        b"[1, 'aitoolbox'",
        b'"aitoolbox"',
        b'["aitoolbox"]',
        b'{"x": "aitoolbox"}',
        b'{"cells": "aitoolbox"}',
        b'{"cells": [["aitoolbox"]]}',
        b'{"cells": [{"cell_type": "code", "source": 3}, "aitoolbox"]}',
        b'{"cells": [{"cell_type": "code", "source": [3, "aitoolbox"]}]}',
        b'{"worksheets": 3, "x": "aitoolbox"}',
        b"[" * 100_000 + b"aitoolbox",
        b"\xff\xfe\x00aitoolbox",
    ],
    ids=range(12),
)
def test_what_is_no_notebook_is_named(data: bytes, tmp_path: Path) -> None:
    report = check(tmp_path, data)
    (problem,) = report.unreadable
    assert problem.reason.startswith("not a notebook")
    assert problem.mentions[0].line == 1


@pytest.mark.parametrize("cell", [{}, {"cell_type": "code"}, {"cell_type": "code", "source": []}, {"cell_type": 3}])
def test_odd_cells_are_passed_over(cell: dict[str, Any], tmp_path: Path) -> None:
    book = {"cells": [cell, {"cell_type": "code", "source": "import aitoolbox"}]}
    report = check(tmp_path, json.dumps(book).encode())
    assert (found(report), report.unreadable) == (["[2] 1:8 import aitoolbox"], ())


@pytest.mark.parametrize("metadata", [{"kernelspec": {"language": "R"}}, {"language_info": {"name": "R"}}])
def test_notebooks_of_other_languages_are_named(metadata: dict[str, Any], tmp_path: Path) -> None:
    book = {"metadata": metadata, "cells": [{"cell_type": "code", "source": "library(aitoolbox)"}]}
    (problem,) = check(tmp_path, json.dumps(book).encode()).unreadable
    assert problem.reason == "a notebook of r"


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    assert found(check(tmp_path, b"\xef\xbb\xbf" + notebook("import aitoolbox"))) == ["[1] 1:8 import aitoolbox"]


def test_statements_behind_magics_are_read(tmp_path: Path) -> None:
    cells = [
        "from aitoolbox import TrainLoop\nl = TrainLoop(1)",
        "out = %time l.fit(3)",
        "%%timeit -n 1 l.fit(1)\nl.epoch",
    ]
    assert found(check(tmp_path, notebook(*cells)))[-3:] == [
        "[2] 1:15 member TrainLoop.fit",
        "[3] 1:17 member TrainLoop.fit",
        "[3] 2:3 member TrainLoop.epoch",
    ]


@pytest.mark.parametrize("data", [b"", b"{", b"[1]"])
def test_a_file_that_is_named_and_is_no_notebook_is_a_problem(data: bytes, tmp_path: Path) -> None:
    report = check(tmp_path, data)
    assert (report.exit_code, len(report.unreadable)) == (2, 1)
