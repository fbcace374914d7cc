"""The code cells of a notebook, nbformat 3 and 4, without what is IPython and not Python.

Cells are counted from 1 over cells of every kind, lines within a cell.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compat.migrate.findings import Unreadable
from compat.migrate.sources import PROBLEMS, Chunk, mentions, parse, problem_text, split_lines

__all__ = ["Notebook", "read_notebook"]

# Cell magics whose body is Python that runs in the notebook.
_PYTHON_CELLS = frozenset({"capture", "prun", "time", "timeit"})
_STATEMENT = re.compile(r"(\s*)%(?:time|timeit|prun)\s+(?:-\w+\s+(?:\d+\s+)?)*(?=\S)")
# Not `% 3` and `!= 3`, which continue a line.
_COMMAND = re.compile(r"\s*(?:%[^\W\d]|!(?!=)|\?|[\w.]+\?{1,2}\s*$)")
_ASSIGNED = re.compile(r"(\s*[\w.,\s]+=\s*)(%(?:time|timeit|prun)\s+(?:-\w+\s+(?:\d+\s+)?)*)(?=\S)")
# Cell magics with a statement in their own line.
_SETUP = re.compile(r"\s*%%(?:timeit|prun)\s+(?:-\w+\s+(?:\d+\s+)?)*(?=\S)")
_CAPTURE = re.compile(r"(\s*[\w.,\s]+=\s*)[%!].*")


@dataclass(frozen=True)
class Notebook:
    """What could be read of a notebook, and what could not."""

    chunks: tuple[Chunk, ...]
    unreadable: tuple[Unreadable, ...] = ()


def read_notebook(data: bytes, shown: str) -> Notebook:
    """Read the code cells of a notebook.

    Args:
        data: What is in the file.
        shown: The file, as the user would name it.
    """
    text = data.decode("utf-8-sig", "replace")
    try:
        content = json.loads(text)
        language = _language(content)
        cells = list(_code_cells(content))
    except (ValueError, RecursionError, TypeError, AttributeError, LookupError) as problem:
        reason = f"not a notebook: {problem}"
        return Notebook((), (Unreadable(shown, reason, mentions=mentions(text)),))
    if language != "python":
        return Notebook((), (Unreadable(shown, f"a notebook of {language}", mentions=mentions(text)),))
    chunks: list[Chunk] = []
    unreadable: list[Unreadable] = []
    for number, code in cells:
        read = _read_cell(number, code, shown)
        if isinstance(read, Chunk):
            chunks.append(read)
        elif read:
            unreadable.append(read)
    return Notebook(tuple(chunks), tuple(unreadable))


def _language(notebook: Any) -> str:
    """Return the language of a notebook, in small letters; Python if it does not say."""
    metadata = notebook.get("metadata") or {}
    said = (metadata.get("language_info") or {}).get("name") or (metadata.get("kernelspec") or {}).get("language")
    language = str(said or "python").lower()
    return "python" if "python" in language else language


def _code_cells(notebook: Any) -> Iterator[tuple[int, str]]:
    sheets = notebook.get("worksheets", [notebook])
    cells = [cell for sheet in sheets for cell in sheet["cells"]]
    for number, cell in enumerate(cells, 1):
        if cell.get("cell_type") == "code":
            source = cell.get("source", cell.get("input", ""))
            yield number, source if isinstance(source, str) else "".join(source)


def _read_cell(number: int, code: str, shown: str) -> Chunk | Unreadable | None:
    lines = split_lines(code)
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("%%") and first[2:].split(" ")[0] not in _PYTHON_CELLS:
        # Another language, or a file to be written. What it says of the old library is for a person to read.
        found = mentions(code)
        return Unreadable(shown, f"a cell of {first.split(' ')[0]}", number, found) if found else None
    try:
        return Chunk(parse(code), lines, number)
    except PROBLEMS:
        python, shifts = _without_ipython(lines)
    try:
        return Chunk(parse(python), lines, number, shifts)
    except PROBLEMS as problem:
        return Unreadable(shown, problem_text(problem), number, mentions(code))


def _without_ipython(lines: tuple[str, ...]) -> tuple[str, dict[int, int]]:
    """Replace the lines that are IPython's own, each by one line."""
    python: list[str] = []
    shifts: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        indent = line[: len(line) - len(line.lstrip())]
        if setup := _SETUP.match(line):
            python.append(line[setup.end() :])
            shifts[number] = setup.end()
        elif line.lstrip().startswith("%%"):
            python.append("")
        elif assigned := _ASSIGNED.match(line):
            python.append(assigned[1] + " " * len(assigned[2]) + line[assigned.end() :])
        elif timed := _STATEMENT.match(line):
            python.append(indent + line[timed.end() :])
            shifts[number] = timed.end() - len(indent)
        elif _COMMAND.match(line):
            python.append(f"{indent}pass")
        elif captured := _CAPTURE.fullmatch(line):
            python.append(f"{captured[1]}None")
        else:
            python.append(line)
    return "\n".join(python), shifts
