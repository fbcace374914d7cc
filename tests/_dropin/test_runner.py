"""``python -m compat run``: to the program it is plain python.

Each program here runs twice, once each way, and both runs must agree in what they print, in their errors and in how
they end.
"""

import py_compile
import zipapp
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests._dropin.processes import PLAIN, SERVED, run


class Case(NamedTuple):
    """Files of a program, and the arguments of python that run it."""

    files: dict[str, str]
    command: tuple[str, ...]
    stdin: str = ""


SCRIPT = ("program.py",)
CASES = {
    "arguments": Case({"program.py": "import sys; print(sys.argv)"}, ("program.py", "-m", "--strict", "--", "a b")),
    "what main knows of itself": Case(
        {"program.py": "print(__name__, __file__, __package__, __spec__, __doc__, sorted(dir()))"}, SCRIPT
    ),
    "main is the main module": Case(
        {"program.py": "import sys; x = 5; print(sys.modules['__main__'].x, __builtins__.len)"}, SCRIPT
    ),
    "the guard of a script": Case({"program.py": "if __name__ == '__main__':\n    print('runs')"}, SCRIPT),
    "the path": Case({"program.py": "import sys; print(sys.path)"}, SCRIPT),
    "modules beside the script": Case(
        {"here/program.py": "import beside", "here/beside.py": "print(__name__)"}, ("here/program.py",)
    ),
    "a class of main can be pickled": Case(
        {"program.py": "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__)"}, SCRIPT
    ),
    "exit code": Case({"program.py": "raise SystemExit(3)"}, SCRIPT),
    "exit with a message": Case({"program.py": "import sys; sys.exit('no data')"}, SCRIPT),
    "exit without a code": Case({"program.py": "exit()"}, SCRIPT),
    "hard exit": Case({"program.py": "import os; print('x', flush=True); os._exit(5)"}, SCRIPT),
    "uncaught error": Case({"program.py": "def f():\n    raise ValueError('x')\nf()"}, SCRIPT),
    "uncaught error with a cause": Case(
        {"program.py": "try:\n    {}['a']\nexcept KeyError as e:\n    raise TypeError('b') from e"}, SCRIPT
    ),
    "error while importing": Case({"program.py": "import beside", "beside.py": "1 / 0"}, SCRIPT),
    "interrupt": Case({"program.py": "raise KeyboardInterrupt"}, SCRIPT),
    "an excepthook of the program": Case(
        {"program.py": "import sys\nsys.excepthook = lambda t, e, b: print(t, b.tb_lineno, b.tb_next)\n1 / 0"}, SCRIPT
    ),
    "functions at exit": Case(
        {"program.py": "import atexit\natexit.register(print, 'last')\nprint('first')\nraise ValueError"}, SCRIPT
    ),
    "threads that outlive main": Case(
        {
            "program.py": "import threading, time\ndef late():\n    time.sleep(0.2)\n    print('late', x)\nx = 1\n"
            "threading.Thread(target=late).start()\nprint('end')"
        },
        SCRIPT,
    ),
    "warnings": Case({"program.py": "import warnings; warnings.warn('careful')"}, SCRIPT),
    "null bytes": Case({"program.py": "x = 1\0"}, SCRIPT),
    "the last error is known at exit": Case(
        {"program.py": "import atexit, sys\natexit.register(lambda: print(sys.last_value))\n1 / 0"}, SCRIPT
    ),
    "a hook that fails": Case(
        {"program.py": "import sys\ndef hook(*_):\n    raise TypeError('hook')\nsys.excepthook = hook\n1 / 0"}, SCRIPT
    ),
    "no hook": Case({"program.py": "import sys\ndel sys.excepthook\n1 / 0"}, SCRIPT),
    "a warning of the caller's": Case({"program.py": "import warnings; warnings.warn('x', stacklevel=2)"}, SCRIPT),
    "the frames below": Case(
        {"program.py": "import sys, traceback; traceback.print_stack(); sys._getframe(1)"}, SCRIPT
    ),
    "a package that fails": Case({"pack/__init__.py": "raise OSError('x')", "pack/__main__.py": ""}, ("-m", "pack")),
    "not Python": Case({"program.py": "x = = 1"}, SCRIPT),
    "an encoding of its own": Case({"program.py": "# -*- coding: latin-1 -*-\nprint(ascii('ä'))"}, SCRIPT),
    "future imports stay the program's": Case({"program.py": "def f(x: 1): pass\nprint(f.__annotations__)"}, SCRIPT),
    "no such file": Case({}, SCRIPT),
    "a folder": Case(
        {"app/__main__.py": "import part, sys; print(__name__, sys.argv)", "app/part.py": ""},
        ("app", "x"),
    ),
    "a folder without main": Case({"app/part.py": ""}, ("app",)),
    "module": Case({"tool.py": "import sys; print(__name__, sys.argv, __spec__.name)"}, ("-m", "tool", "-c", "x")),
    "module of a package": Case(
        {"pack/__init__.py": "print('init')", "pack/tool.py": "import pack; print(__package__)"},
        ("-m", "pack.tool"),
    ),
    "package": Case(
        {"pack/__init__.py": "", "pack/__main__.py": "import sys; print(__name__, __package__, sys.argv)"},
        ("-m", "pack", "y"),
    ),
    "package without main": Case({"pack/__init__.py": ""}, ("-m", "pack")),
    "no such module": Case({}, ("-m", "no_such_module")),
    "no such package": Case({}, ("-m", "no.such.module")),
    "error in a module": Case({"tool.py": "\n\nraise OSError('x')"}, ("-m", "tool")),
    "code": Case({}, ("-c", "import sys; print(sys.argv, __name__, sorted(dir()), sys.path[0])", "-m", "z")),
    "code that fails": Case({}, ("-c", "1 / 0")),
    "stdin": Case({}, ("-", "w"), "import sys; print(sys.argv, __name__, sys.path[0])"),
    "stdin that fails": Case({}, ("-",), "1 / 0"),
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text.encode("latin-1" if "latin-1" in text else "utf-8"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_run_is_plain_python_to_the_program(case: Case, tmp_path: Path) -> None:
    write(tmp_path, case.files)
    plain, served = (run(*how, *case.command, folder=tmp_path, stdin=case.stdin) for how in (PLAIN, SERVED))
    assert served.stdout == plain.stdout
    assert served.stderr == plain.stderr
    assert served.returncode == plain.returncode


def test_control_the_comparison_sees_a_difference(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": "import sys; print('compat._ledger' in sys.modules)"})
    plain, served = (run(*how, "program.py", folder=tmp_path) for how in (PLAIN, SERVED))
    assert (plain.stdout, served.stdout) == ("False\n", "True\n")


def link(folder: Path) -> str:
    (folder / "real").mkdir()
    write(folder, {"real/program.py": "import beside; print(__file__.endswith('link.py'))", "real/beside.py": ""})
    (folder / "link.py").symlink_to(folder / "real" / "program.py")
    return "link.py"


def archive(folder: Path) -> str:
    with zipfile.ZipFile(folder / "app.zip", "w") as made:
        made.writestr("__main__.py", "import part; print(part.__name__)")
        made.writestr("part.py", "")
    return "app.zip"


def compiled(folder: Path) -> str:
    write(folder, {"program.py": "print(__file__.endswith('.pyc'))"})
    py_compile.compile(str(folder / "program.py"), str(folder / "program.pyc"))
    return "program.pyc"


def executable(folder: Path) -> str:
    (folder / "app").mkdir()
    write(folder, {"app/__main__.py": "print(__name__)"})
    zipapp.create_archive(folder / "app", folder / "app.pyz", interpreter="/usr/bin/env python3")
    return "app.pyz"


def across_a_link(folder: Path) -> str:
    (folder / "real" / "inner").mkdir(parents=True)
    (folder / "link").symlink_to("real/inner")
    write(folder, {"real/program.py": "print(__file__)"})
    return "link/../program.py"


def unreadable(folder: Path) -> str:
    (folder / "loop.py").symlink_to("loop.py")
    return "loop.py"


@pytest.mark.parametrize("make", [link, archive, compiled, executable, across_a_link, unreadable])
def test_other_things_to_run(make: Callable[[Path], str], tmp_path: Path) -> None:
    name = make(tmp_path)
    plain, served = (run(*how, name, folder=tmp_path) for how in (PLAIN, SERVED))
    assert (served.stdout, served.stderr, served.returncode) == (plain.stdout, plain.stderr, plain.returncode)


@pytest.mark.parametrize("options", [("-W", "error"), ("-O",), ("-X", "dev"), ("-b",), ("-P",)], ids=" ".join)
def test_options_of_python_are_handed_on(options: tuple[str, ...], tmp_path: Path) -> None:
    code = "import sys; print(sys.flags, sys.warnoptions, sys._xoptions, __debug__)"
    plain = run(PLAIN[0], *options, "-c", code, folder=tmp_path)
    assert run(PLAIN[0], *options, *SERVED[1:], "-c", code, folder=tmp_path).stdout == plain.stdout


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_a_python_that_would_not_take_over_the_import_is_refused(option: str, tmp_path: Path) -> None:
    done = run(PLAIN[0], option, *SERVED[1:], "-c", "print('ran')", folder=tmp_path)
    assert done.returncode in ((1, 2) if option == "-S" else (2,))
    assert "ran" not in done.stdout
    assert option == "-S" or "python was started with -I, -E or -S" in done.stderr


@pytest.mark.parametrize("command", [("-mtool", "x"), ("--", "program.py", "y")], ids=" ".join)
def test_other_ways_to_say_it(command: tuple[str, ...], tmp_path: Path) -> None:
    text = "import sys; print(sys.argv, __name__)"
    write(tmp_path, {"program.py": text, "tool.py": text})
    plain, served = (run(*how, *command, folder=tmp_path) for how in (PLAIN, SERVED))
    assert (served.stdout, served.returncode) == (plain.stdout, 0)


def test_the_process_is_the_program_itself(tmp_path: Path) -> None:
    """Who started it can signal it, and sees how it ended."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert run(*SERVED, "-c", code, folder=tmp_path).returncode == -15


def test_a_safe_path_stays_safe(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": "import sys; print(sys.path)"})
    plain, served = (run(*how, "program.py", folder=tmp_path, PYTHONSAFEPATH="1") for how in (PLAIN, SERVED))
    assert served.stdout == plain.stdout


def test_a_fork_of_the_program_does_not_report(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": f"import os, sys\n{USE}os.fork() or sys.exit()\nos.wait()"})
    assert run(*SERVED, "program.py", folder=tmp_path).stderr.count("compat: 1 feature of AIToolbox used") == 1


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ((), "there is no program to run"),
        (("--strict",), "there is no program to run"),
        (("--fast", "program.py"), "'--fast' is no option of run"),
        (("--strict=yes", "program.py"), "'--strict' is no option of run"),
        (("--report",), "--report lacks its FILE"),
        (("--report=", "program.py"), "--report lacks its FILE"),
        (("book.ipynb",), "book.ipynb is a notebook: open it, and put `%load_ext compat` into its first cell"),
        (("--report", "no/such/folder/out.json", "program.py"), "--report no/such/folder/out.json: no file can be"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_arguments_that_cannot_be_understood(command: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    write(tmp_path, {"program.py": "open('ran', 'w')"})
    done = run(*SERVED, *command, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m compat run ")
    assert problem in done.stderr
    assert not (tmp_path / "ran").exists(), "nothing runs before the arguments are understood"


def test_switches_are_looked_at_before_the_program_runs(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": "open('ran', 'w')"})
    done = run(*SERVED, "program.py", folder=tmp_path, COMPAT_QUIRKS="Q999=fixed")
    assert done.returncode == 2
    assert "COMPAT_QUIRKS: 'Q999' is not a quirk with a switch" in done.stderr
    assert not (tmp_path / "ran").exists()


USE = "from aitoolbox.torchtrain.data.dataset import BasicDataset\nBasicDataset([1])\n"


@pytest.mark.parametrize("end", ["import sys; sys.stderr.close()", "import sys; sys.stderr = open('log', 'w')"])
def test_the_table_comes_where_stderr_was(end: str, tmp_path: Path) -> None:
    write(tmp_path, {"program.py": USE + end})
    done = run(*SERVED, "program.py", folder=tmp_path)
    assert done.stdout == ""
    if "log" in end:
        assert done.stderr.startswith("compat: 1 feature")


def test_a_report_whose_folder_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    write(tmp_path, {"program.py": USE + "import shutil; shutil.rmtree('gone')"})
    done = run(*SERVED, "--report", "gone/out.json", "program.py", folder=tmp_path)
    assert "compat: the report could not be written: [Errno 2]" in done.stderr
    assert "compat: 1 feature" in done.stderr


def test_a_report_into_a_link_or_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.json").symlink_to("there/out.json")
    (tmp_path / "there" / "out.json").write_text("old", encoding="utf-8")
    write(tmp_path, {"program.py": USE})
    assert run(*SERVED, "--report", "link.json", "program.py", folder=tmp_path).returncode == 0
    assert (tmp_path / "link.json").is_symlink()
    assert "BasicDataset" in (tmp_path / "there" / "out.json").read_text(encoding="utf-8")
    assert '"version": 1' in run(*SERVED, "--report", "/dev/stdout", "program.py", folder=tmp_path).stdout


def test_help(tmp_path: Path) -> None:
    done = run(*SERVED, "--help", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m compat run ")


def test_nothing_heavy_is_loaded_for_a_program_that_needs_nothing(tmp_path: Path) -> None:
    code = "import sys; print({'torch', 'lightning', 'numpy', 'argparse'} & {*sys.modules})"
    assert run(*SERVED, "-c", code, folder=tmp_path).stdout == "set()\n"


def test_the_program_may_change_its_folder(tmp_path: Path) -> None:
    """The report goes where it was asked for when the program began."""
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path, {"program.py": f"import os\n{USE}os.chdir('elsewhere')"})
    assert run(*SERVED, "--report", "out.json", "program.py", folder=tmp_path).returncode == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["elsewhere", "out.json", "program.py"]
