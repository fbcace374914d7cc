"""What the documents say is true: programs run, links lead somewhere, the commands are those that CI runs."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "migration_guide/README.md",
    "migration_guide/both_worlds.md",
    "migration_guide/native_parts.md",
    "migration_guide/processes.md",
)
EXAMPLES = ROOT / "migration_guide" / "examples"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Yield an id and the text of every code block in a language."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            if found[1] == language:
                yield f"{document}:{text[: found.start()].count(chr(10)) + 1}", found[2]


PROGRAMS = dict(blocks("python"))
# The table under each heading that is an example.
REPORTS: dict[str, str] = dict(
    re.findall(
        r"^### \[(\w+\.py)\]\(examples/\1\).*?^```text\n(.*?)^```$",
        (ROOT / "migration_guide" / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


@pytest.mark.parametrize("place", PROGRAMS)
def test_program_runs(place: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[place], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program.name], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["program.py"], "a program leaves no files behind"


def test_control_there_are_programs() -> None:
    assert len(PROGRAMS) >= 5


def test_program_of_several_processes_runs_under_torchrun_as_it_is(tmp_path: Path) -> None:
    program = next(text for place, text in PROGRAMS.items() if place.startswith("migration_guide/processes.md"))
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Epoch: 19") == 1, "rank zero alone prints"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_anchors_of_other_pages_exist() -> None:
    links = [
        (document, *found)
        for document in DOCUMENTS
        for found in re.findall(r"\]\((?!https?://)([^)#]+)#([\w-]+)\)", (ROOT / document).read_text(encoding="utf-8"))
    ]
    assert links
    for document, page, anchor in links:
        other = (ROOT / document).parent.joinpath(page).read_text(encoding="utf-8")
        assert f'<a id="{anchor}"></a>' in other, (document, page, anchor)


def test_new_imports_in_the_diffs_are_names_of_the_package() -> None:
    import compat

    added = [line for _, text in blocks("diff") for line in text.splitlines() if line.startswith("+from compat import")]
    assert len(added) == 1
    for line in added:
        assert set(re.split(r",\s*", line.removeprefix("+from compat import "))) <= set(compat.__all__)


def test_the_readme_holds_exactly_two_commands_that_install() -> None:
    """.ci/run takes them from here by the same sign."""
    commands = [text for _, text in blocks("bash") if "python3.11 -m venv" in text]
    example, tests = (command.strip() for command in commands)
    assert "\n" not in example + tests, "each is one line"
    assert example.endswith("-m compat run migration_guide/examples/digits_cnn.py")
    assert "-m pytest" in tests
    for command in (example, tests):
        assert "pip install -c constraints.txt" in command, "never without: an unpinned torch pulls gigabytes of CUDA"


def test_the_guide_lists_every_example() -> None:
    assert sorted(REPORTS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_of_an_example_is_the_one_that_the_guide_explains(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compat", "run", name],
        cwd=EXAMPLES,
        # Several tests at once, each with a thread for every core, would stand in each other's way.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr[done.stderr.index("compat: ") :].strip() == REPORTS[name].strip()
