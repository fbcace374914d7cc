"""Finding files and decoding them, whatever lies on a disk."""

import os
import socket
from pathlib import Path

import pytest

from compat.migrate import check
from compat.migrate.sources import LARGEST, Chunk, discover, mentions, parse, read_text, split_lines
from tests.migrate.reading import brief, read, write

CODE = "import aitoolbox\n"
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def found(folder: Path) -> list[str]:
    """Return the files that a folder is found to hold, by their places in it."""
    return [Path(source.shown).relative_to(folder).as_posix() for source in discover([str(folder)]).sources]


def test_what_is_read_in_a_folder(tmp_path: Path) -> None:
    for name in ("a.py", "b.PY", "c.pyw", "d.pyi", "e.ipynb", "sub/f.py", "sub/deep/g.py"):
        write(tmp_path, name, "")
    for name in ("h.txt", "i.pyc", "j.py.bak", "data"):
        write(tmp_path, name, CODE)
    write(tmp_path, "tool", "#!/usr/bin/env python3\n")
    write(tmp_path, "shell", "#!/bin/sh\n")
    assert found(tmp_path) == ["a.py", "b.PY", "c.pyw", "d.pyi", "e.ipynb", "tool", "sub/f.py", "sub/deep/g.py"]


def test_what_is_passed_over(tmp_path: Path) -> None:
    for name in (".git", "__pycache__", "node_modules", ".ipynb_checkpoints", "env"):
        write(tmp_path, f"{name}/a.py", CODE)
    write(tmp_path, "env/pyvenv.cfg", "")
    write(tmp_path, "environment/a.py", CODE)
    assert found(tmp_path) == ["environment/a.py"]
    assert check([str(tmp_path)]).skipped == 5


def test_what_is_named_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    write(tmp_path, "env/pyvenv.cfg", "")
    write(tmp_path, "env/program", CODE)
    write(tmp_path, "env/a.py", CODE)
    report = check([str(tmp_path / "env"), str(tmp_path / "env" / "program")])
    assert [Path(finding.place.path).name for finding in report.findings] == ["a.py", "program"]


def test_a_file_by_several_paths_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "z.py", CODE)
    (tmp_path / "a.py").symlink_to(path)
    (tmp_path / "b.py").hardlink_to(path)
    report = check([str(tmp_path), str(path), str(tmp_path / "." / "z.py"), str(tmp_path)])
    assert report.files == 1
    assert len(report.findings) == 1


def test_loops_of_links_end(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c.py", CODE)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self.py").symlink_to(tmp_path / "a" / "self.py")
    (tmp_path / "a" / "broken.py").symlink_to(tmp_path / "nothing")
    report = check([str(tmp_path)])
    assert [brief(finding) for finding in report.findings] == ["1:8 import aitoolbox"]
    assert [Path(problem.path).name for problem in report.unreadable] == ["self.py"]


def test_a_link_that_leads_nowhere_is_a_remark_unless_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").symlink_to(tmp_path / "nothing")
    report = check([str(tmp_path)])
    assert (report.exit_code, [remark.text for remark in report.remarks]) == (
        0,
        ["A link that leads nowhere was passed over."],
    )
    named = check([str(tmp_path / "broken.py")])
    assert (named.exit_code, len(named.unreadable)) == (2, 1)


def test_a_link_that_leads_out_is_not_followed_and_said(tmp_path: Path) -> None:
    write(tmp_path, "outside/a.py", CODE)
    write(tmp_path, "inside/b.py", CODE)
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    report = check([str(tmp_path / "inside")])
    assert [Path(finding.place.path).name for finding in report.findings] == ["b.py"]
    (remark,) = report.remarks
    assert "outside the checked paths, was not followed" in remark.text
    both = check([str(tmp_path / "inside"), str(tmp_path / "outside")])
    assert [Path(finding.place.path).name for finding in both.findings] == ["b.py", "a.py"]
    assert both.remarks == ()


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    write(tmp_path, "folder.py/inner.py", CODE)
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path)  # The path of a socket must be short.
        try:
            listening.bind("s.py")
        finally:
            os.chdir(here)
        report = check([str(tmp_path), str(tmp_path / "pipe.py")])
    assert [Path(finding.place.path).name for finding in report.findings] == ["inner.py"]
    assert [(Path(p.path).name, p.reason) for p in report.unreadable] == [
        ("pipe.py", "neither a file nor a folder"),
        ("pipe.py", "not a regular file"),
        ("s.py", "not a regular file"),
    ]


@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.py", CODE).chmod(0)
    write(tmp_path, "shut/b.py", CODE).parent.chmod(0)
    report = check([str(tmp_path)])
    (tmp_path / "shut").chmod(0o700)
    assert [problem.reason for problem in report.unreadable] == ["permission denied", "permission denied"]


def test_what_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.py", CODE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    (problem,) = check([str(path)]).unreadable
    assert (problem.path, problem.reason) == (str(path), "permission denied")


@pytest.mark.parametrize("path", ["no/such/path", "a\0b"])
def test_a_path_that_does_not_exist(path: str) -> None:
    report = check([path])
    assert [problem.path for problem in report.unreadable] == [path]
    assert report.exit_code == 2


def test_a_file_that_is_too_large_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.py", b"")
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    (problem,) = check([str(path)]).unreadable
    assert problem.reason == "larger than 10 MiB"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xef\xbb\xbfimport aitoolbox", "1:8"),
        (b"import os\r\nimport aitoolbox\r\n", "2:8"),
        (b"import os\rimport aitoolbox\r", "2:8"),
        (b"x = 1\n\x0cimport aitoolbox\n", "2:9"),
        (b"# \x0c \x1c \xe2\x80\xa8\nimport aitoolbox\n", "2:8"),
        (b"# coding: latin-1\nx = '\xe9'; import aitoolbox\n", "2:17"),
        (b"#!/bin/python\n# -*- coding: cp1252 -*-\nx = '\x80'; import aitoolbox\n", "3:17"),
        ("x = 'äöü𝄞'; import aitoolbox".encode(), "1:20"),
        ("# coding: utf-8\nx = 'ä'; import aitoolbox".encode(), "2:17"),
    ],
    ids=["bom", "crlf", "cr", "form feed", "other separators", "latin-1", "cp1252", "astral", "utf-8"],
)
def test_lines_and_columns_are_those_of_the_file(data: bytes, expected: str, tmp_path: Path) -> None:
    report = read(tmp_path, data)
    assert report.unreadable == ()
    assert [brief(finding) for finding in report.findings] == [f"{expected} import aitoolbox"]
    assert "import aitoolbox" in report.findings[0].code


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x = '\xe9'\nimport aitoolbox\n", "not in the encoding that it should be in"),
        (
            b"# coding: nonsense\nimport aitoolbox\n",
            "not in the encoding that it should be in: unknown",
        ),
        ("import aitoolbox".encode("utf-16"), "written in UTF-16"),
        (b"# coding: hex\nimport aitoolbox\n", "not in the encoding that it should be in"),
        (b"# coding: ascii\nx = '\xe9'\nimport aitoolbox\n", "not in the encoding that it should be in"),
    ],
)
def test_uses_are_found_in_what_can_be_decoded(data: bytes, reason: str, tmp_path: Path) -> None:
    report = read(tmp_path, data)
    assert len(report.findings) == 1
    (problem,) = report.unreadable
    assert problem.reason.startswith(reason)
    assert report.exit_code == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"import aitoolbox\nprint 'x'\n", "not Python 3 in line 2"),
        (b"import aitoolbox\nx = (\n", "not Python 3 in line 2"),
        (b"import aitoolbox\nx = '\0'\n", "not Python 3"),
        (b"import aitoolbox\nx = " + b"(" * 5000 + b")" * 5000, "n"),
        (b"import aitoolbox\nx = " + b"-" * 50_000 + b"1", "nested too deeply"),
    ],
    ids=["python 2", "cut off", "null byte", "brackets", "minus"],
)
def test_what_cannot_be_parsed_is_named_with_the_lines_that_mention_it(
    data: bytes, reason: str, tmp_path: Path
) -> None:
    report = read(tmp_path, data)
    assert report.findings == ()
    (problem,) = report.unreadable
    assert problem.reason.startswith(reason)
    assert [mention.code for mention in problem.mentions] == ["import aitoolbox"]


def test_what_cannot_be_parsed_and_does_not_mention_it_is_no_matter(tmp_path: Path) -> None:
    report = read(tmp_path, "print 'hello'")
    assert (report.exit_code, report.files) == (0, 1)


def test_deep_programs_that_python_reads_are_read(tmp_path: Path) -> None:
    deep = "from aitoolbox import TrainLoop\nx = " + " + ".join(["TrainLoop"] * 700)
    ladder = "\nif x: pass\n" + "elif x: TrainLoop\n" * 300
    assert len(read(tmp_path, deep + ladder).findings) == 1001


@pytest.mark.filterwarnings("error")
def test_warnings_of_the_parser_are_not_ours(tmp_path: Path) -> None:
    assert read(tmp_path, "import aitoolbox\nx = '\\d'\ny = 1 is 1\n").exit_code == 1


def test_a_program_too_deep_to_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat.migrate.runner._DEEPEST", 1100)
    report = read(tmp_path, "import aitoolbox\nx = " + "x +" * 700 + "x")
    (problem,) = report.unreadable
    assert (problem.reason, problem.mentions[0].line, report.findings) == ("nested too deeply", 1, ())


def test_empty_files(tmp_path: Path) -> None:
    report = read(tmp_path, b"")
    assert (report.exit_code, report.files) == (0, 1)


def test_lines_are_split_where_python_does() -> None:
    assert split_lines("a\nb\r\nc\rd\x0ce\u2028f") == ("a", "b", "c", "d\x0ce\u2028f")
    assert parse("a\nb\r\nc\rd\x0c").body[-1].lineno == 4


def test_mentions_are_few_and_short() -> None:
    found = mentions("AIToolbox\nno\n" + f"aitoolbox {'x' * 900}\n" * 50)
    assert (found[0].line, found[1].line, len(found)) == (1, 3, 20)
    assert len(found[1].code) == 200


def test_columns_are_counted_in_characters() -> None:
    chunk = Chunk(parse("é.a"), ("é.a",))
    assert (chunk.column(1, 0), chunk.column(1, 3), chunk.line(7)) == (1, 3, "")


def test_decoding_says_what_was_wrong() -> None:
    assert read_text("é".encode()) == ("é", "")
    text, problem = read_text(b"\xff")
    assert (text, problem != "") == ("\ufffd", True)
