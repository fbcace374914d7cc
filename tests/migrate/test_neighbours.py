"""Modules beside the checked files: they tell what names are, and their own uses are not counted."""

import ast
from pathlib import Path

from compat.migrate import check
from compat.migrate.neighbours import imported_files
from compat.migrate.report import as_text
from tests.migrate.reading import brief, write

BASE = "from aitoolbox import TrainLoop\ndef loop():\n    return TrainLoop(1)\n"


def test_a_program_that_uses_the_library_through_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "base.py", BASE)
    main = write(tmp_path, "main.py", "from base import *\nl = loop()\nl.fit(1, [])\n")
    report = check([str(main)])
    assert [brief(found) for found in report.findings] == [
        "3:3 member TrainLoop.fit",
        "3:10 argument TrainLoop.fit(#2: list | None)",
    ]
    (remark,) = report.remarks
    assert (Path(remark.place.path), report.files, report.exit_code) == (tmp_path / "base.py", 1, 1)
    assert "Name it as well" in remark.text


def test_neighbours_of_neighbours_and_of_packages(tmp_path: Path) -> None:
    write(tmp_path, "lib/__init__.py", "")
    write(tmp_path, "lib/deep.py", BASE)
    write(tmp_path, "lib/up.py", "from .deep import loop as made\n")
    main = write(tmp_path, "lib/sub/__init__.py", "from lib.up import made\nmade().fit(1)\n")
    assert [brief(found) for found in check([str(main)]).findings] == ["2:8 member TrainLoop.fit"]


def test_a_neighbour_that_uses_it_is_said_first_where_nothing_else_is_found(tmp_path: Path) -> None:
    write(tmp_path, "base.py", BASE)
    main = write(tmp_path, "main.py", "import base\nprint(base)\n")
    report = check([str(main)])
    assert report.exit_code == 0
    assert as_text(report).splitlines()[0] == "Remarks"
    assert "base.py:1:1: It is imported, and is not among the checked paths" in as_text(report).splitlines()[1]


def test_control_a_neighbour_that_nobody_imports_or_that_was_named_is_not_remarked(tmp_path: Path) -> None:
    base = write(tmp_path, "base.py", BASE)
    write(tmp_path, "numbers2.py", "x = 1\n")
    main = write(tmp_path, "main.py", "import numbers2\n")
    assert check([str(main)]).remarks == ()
    main.write_text("import base\n")
    assert check([str(main), str(base)]).remarks == ()
    assert check([str(tmp_path)]).remarks == ()


def test_a_neighbour_that_cannot_be_read_is_no_problem_of_the_check(tmp_path: Path) -> None:
    write(tmp_path, "base.py", "import aitoolbox\n(")
    report = check([str(write(tmp_path, "main.py", "import base\n"))])
    assert (report.unreadable, len(report.remarks)) == ((), 1)


def test_where_imports_are_looked_for(tmp_path: Path) -> None:
    for name in ("a.py", "pkg/__init__.py", "pkg/b.py", "pkg/c/d.py", "aitoolbox.py", "compat.py"):
        write(tmp_path, name, "")
    code = "import a, pkg.b, nothing\nfrom . import a\nfrom pkg.c import d, e\nimport aitoolbox\nfrom compat import x\n"
    found = {path.relative_to(tmp_path).as_posix() for path in imported_files(ast.parse(code), tmp_path / "main.py")}
    assert found == {"a.py", "pkg/__init__.py", "pkg/b.py", "pkg/c/d.py"}
    inner = imported_files(ast.parse("from .. import a\nfrom . import b\nimport a"), tmp_path / "pkg" / "c" / "e.py")
    assert {path.relative_to(tmp_path).as_posix() for path in inner} == {"pkg/__init__.py"}
