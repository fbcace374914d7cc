"""``python -m compat run``: to the program it is plain python.

Each program here runs twice, once each way, and both runs must agree in what they print, in their errors and in how
they end.
"""

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


def visible(text: str) -> str:
    """Leave out the frames of python's own runner, which only plain python shows before those of a module."""
    lines = text.splitlines()
    return "\n".join(line for line in lines if "<frozen runpy>" not in line)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_run_is_plain_python_to_the_program(case: Case, tmp_path: Path) -> None:
    write(tmp_path, case.files)
    plain, served = (run(*how, *case.command, folder=tmp_path, stdin=case.stdin) for how in (PLAIN, SERVED))
    assert served.stdout == plain.stdout
    assert visible(served.stderr) == visible(plain.stderr)
    assert served.returncode == plain.returncode


def test_control_the_comparison_sees_a_difference(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": "import sys; print('compat' in sys.modules)"})
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


def unreadable(folder: Path) -> str:
    (folder / "loop.py").symlink_to("loop.py")
    return "loop.py"


@pytest.mark.parametrize("make", [link, archive, unreadable])
def test_other_things_to_run(make: Callable[[Path], str], tmp_path: Path) -> None:
    name = make(tmp_path)
    plain, served = (run(*how, name, folder=tmp_path) for how in (PLAIN, SERVED))
    assert (served.stdout, served.stderr, served.returncode) == (plain.stdout, plain.stderr, plain.returncode)


def test_null_bytes(tmp_path: Path) -> None:
    """Python words it in another way when it reads the file itself."""
    write(tmp_path, {"program.py": "x = 1\0"})
    done = run(*SERVED, "program.py", folder=tmp_path)
    assert done.returncode == 1
    assert "null bytes" in done.stderr.splitlines()[-1]


def test_a_safe_path_stays_safe(tmp_path: Path) -> None:
    write(tmp_path, {"program.py": "import sys; print(sys.path)"})
    plain, served = (run(*how, "program.py", folder=tmp_path, PYTHONSAFEPATH="1") for how in (PLAIN, SERVED))
    assert served.stdout == plain.stdout


def test_a_fork_of_the_program_does_not_report(tmp_path: Path) -> None:
    text = "import os, sys\nfrom aitoolbox.utils.util import is_empty_function\nos.fork() or sys.exit()\nos.wait()"
    write(tmp_path, {"program.py": text})
    assert run(*SERVED, "program.py", folder=tmp_path).stderr.count("compat: 1 feature of AIToolbox used") == 1


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ((), "there is no program to run"),
        (("--strict",), "there is no program to run"),
        (("--fast", "program.py"), "'--fast' is no option of run"),
        (("--strict=yes", "program.py"), "'--strict' is no option of run"),
        (("--report",), "'--report' is no option of run, or lacks its value"),
        (("-m",), "-m is followed by nothing"),
        (("-c",), "-c is followed by nothing"),
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
    text = "import os\nfrom aitoolbox.utils.util import is_empty_function\nos.chdir('elsewhere')"
    write(tmp_path, {"program.py": text})
    assert run(*SERVED, "--report", "out.json", "program.py", folder=tmp_path).returncode == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["elsewhere", "out.json", "program.py"]
