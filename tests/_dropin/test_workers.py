"""Workers of every kind get the import too, through the environment, and nothing else of the run."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests._dropin.processes import PLAIN, PROGRAMS, SERVED, run

ANSWERS = [
    "process compat.train_loop",
    "executor compat.train_loop",
    "pool compat.train_loop",
    "loader 1 2 3 4 5 6",
    "child compat.train_loop",
    "grandchild compat.train_loop",
]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_of_a_program_that_is_run(method: str, tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "workers.py", tmp_path)
    done = run(*SERVED, "workers.py", method, folder=tmp_path)
    assert done.stdout.splitlines() == ANSWERS, done.stderr
    assert done.stderr.count("of AIToolbox used") <= 1, "workers do not report"


def test_workers_of_a_program_that_installs(tmp_path: Path) -> None:
    """Not even the program itself installs in a worker: its module is not the one that runs there."""
    shutil.copy(PROGRAMS / "workers.py", tmp_path)
    text = "import compat\n\nif __name__ == '__main__':\n    compat.install()\n    import workers\n    workers.main()\n"
    (tmp_path / "program.py").write_text(text, encoding="utf-8")
    done = run(*PLAIN, "program.py", "spawn", folder=tmp_path)
    assert done.stdout.splitlines() == ANSWERS, done.stderr


def test_control_workers_have_no_such_library_otherwise(tmp_path: Path) -> None:
    shutil.copy(PROGRAMS / "workers.py", tmp_path)
    assert "No module named 'aitoolbox'" in run(*PLAIN, "workers.py", "spawn", folder=tmp_path).stderr


CHILD = "import subprocess, sys; sys.exit(subprocess.run([sys.executable, 'child.py']).returncode)"


def of_child(folder: Path, code: str, *options: str) -> str:
    """Run a program that runs a child interpreter, and return what the child printed."""
    (folder / "child.py").write_text(code, encoding="utf-8")
    done = run(*SERVED, *options, "-c", CHILD, folder=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_inherits_nothing_else(tmp_path: Path) -> None:
    """Neither the watch, nor strictness, nor the report, nor a longer path; nothing is loaded unasked."""
    code = (
        "import os, sys\n"
        "print([name for name in os.environ if name.startswith('COMPAT_')])\n"
        "print([path for path in sys.path if 'compat' in path], 'compat' in sys.modules)\n"
        "import aitoolbox.utils.util\n"
        "from compat import _ledger\n"
        "print(_ledger.entries())\n"
    )
    out = of_child(tmp_path, code, "--strict", "--report", "out.json")
    assert out == "['COMPAT_SERVES_AITOOLBOX']\n[] False\n()\n", "COMPAT_RUN was for the program alone"
    assert '"features": []' in (tmp_path / "out.json").read_text(encoding="utf-8")


def test_the_sitecustomize_of_an_environment_still_runs(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('theirs', __name__)\n", encoding="utf-8")
    (tmp_path / "child.py").write_text(
        "import aitoolbox, sitecustomize; print(sitecustomize.__file__)", encoding="utf-8"
    )
    done = run(*SERVED, "-c", CHILD, folder=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    theirs = "theirs sitecustomize\n"
    # In the first interpreter, in that of the program, and in its child.
    assert done.stdout == f"{theirs * 3}{tmp_path / 'site' / 'sitecustomize.py'}\n", done.stderr


def test_an_interpreter_of_another_environment_is_left_alone(tmp_path: Path) -> None:
    """It may hold the real library."""
    code = (
        "import sys\nprint([type(finder).__name__ for finder in sys.meta_path if 'Waiting' in type(finder).__name__])\n"
    )
    assert of_child(tmp_path, code) == "['_Waiting']\n"
    (tmp_path / "other.py").write_text(
        "import os, subprocess, sys\nos.environ['COMPAT_SERVES_AITOOLBOX'] = '/another/environment'\n"
        "subprocess.run([sys.executable, 'child.py'], check=True)\n",
        encoding="utf-8",
    )
    assert run(*SERVED, "other.py", folder=tmp_path).stdout == "[]\n"


def test_a_child_elsewhere_finds_a_package_that_only_the_parent_could(tmp_path: Path) -> None:
    """As when the package is run from a clone, where its folder is on the path of the first process alone."""
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "compat").symlink_to(Path(sys.modules["compat"].__path__[0]))
    (tmp_path / "child.py").write_text("import aitoolbox; print(aitoolbox.__name__)", encoding="utf-8")
    child = f"import os, subprocess, sys; os.chdir({str(tmp_path)!r}); subprocess.run([sys.executable, 'child.py'])"
    done = run(*SERVED, "-c", child, folder=clone)
    assert done.stdout == "aitoolbox\n", done.stderr


def test_children_that_ignore_the_environment_are_as_they_are(tmp_path: Path) -> None:
    code = (
        f"import subprocess; subprocess.run([{sys.executable!r}, '-I', '-c', 'import sys; print(len(sys.path) > 0)'])"
    )
    done = run(*SERVED, "-c", code, folder=tmp_path)
    assert (done.stdout, done.returncode) == ("True\n", 0)
    assert "COMPAT_SERVES_AITOOLBOX" not in os.environ
