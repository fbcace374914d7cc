"""Which files a check reads, and their text: whatever lies on a disk, without ever failing or waiting.

Folder links that lead out of the checked paths are not followed, so that a check ends; a remark says so.
"""

import ast
import codecs
import io
import os
import re
import stat
import tokenize
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compat.migrate.findings import Mention, Place, Remark, Unreadable

__all__ = ["PROBLEMS", "Chunk", "Discovery", "Source", "discover", "mentions", "parse", "read_bytes", "read_text"]

SUFFIXES = (".py", ".pyw", ".pyi", ".ipynb")
SKIPPED = frozenset(
    [
        ".eggs",
        ".git",
        ".hg",
        ".ipynb_checkpoints",
        ".mypy_cache",
        ".nox",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".tox",
        "__pycache__",
        "node_modules",
    ]
)
# What Python's parser raises on text that is no program, or one too deep for it.
PROBLEMS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
LARGEST = 10 * 1024 * 1024
LARGEST_NOTEBOOK = 256 * 1024 * 1024
_WORD = "aitoolbox"
_MOST_MENTIONS = 20
_WRONG_CODING = "not in the encoding that it should be in"


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: Where it is, absolute.
        shown: How the user would name it.
        is_named: Whether the user named it, rather than a folder that it is in.
    """

    path: Path
    shown: str
    is_named: bool = False

    @property
    def is_notebook(self) -> bool:
        """Whether it is a notebook."""
        return self.path.suffix.lower() == ".ipynb"


@dataclass(frozen=True)
class Chunk:
    """A script, or one code cell of a notebook, that was parsed.

    Attributes:
        tree: What was parsed.
        lines: Its lines, as they stand in the file.
        cell: The cell, counted from 1; 0 for a script.
        shifts: By how many columns some lines were moved to be parsed.
    """

    tree: ast.Module
    lines: tuple[str, ...]
    cell: int = 0
    shifts: Mapping[int, int] = field(default_factory=dict)

    def line(self, number: int) -> str:
        """Return a line by its number, counted from 1; empty if there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def column(self, number: int, offset: int) -> int:
        """Return the column, counted from 1 in characters, of an offset that ``ast`` counts in bytes."""
        shift = self.shifts.get(number, 0)
        line = self.line(number)[shift:].encode("utf-8", "replace")
        return len(line[:offset].decode("utf-8", "replace")) + shift + 1


@dataclass
class Discovery:
    """What was found under the paths of a check."""

    sources: list[Source] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    skipped: int = 0


def discover(paths: Sequence[str]) -> Discovery:
    """Find the files to read: Python files, notebooks, and scripts without a suffix that say they are Python.

    Args:
        paths: Files and folders. A file that is named is read whatever it is called.
    """
    found = Discovery()
    seen: set[tuple[int, int]] = set()
    roots = [os.path.realpath(path) for path in paths if "\0" not in path]
    for path in paths:
        _enter(path, found, seen, roots)
    return found


def _enter(path: str, found: Discovery, seen: set[tuple[int, int]], roots: list[str]) -> None:
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as problem:
        found.unreadable.append(Unreadable(path, _reason(problem)))
        return
    if stat.S_ISDIR(status.st_mode):
        if _is_new(status, seen):
            _walk(path, found, seen, roots)
    elif not stat.S_ISREG(status.st_mode):
        found.unreadable.append(Unreadable(path, "neither a file nor a folder"))
    elif _is_new(status, seen):
        found.sources.append(Source(_absolute(path), path, is_named=True))


def _absolute(path: str) -> Path:
    # Not resolved: a link has its own place among the modules round it.
    return Path(os.path.normpath(Path(path).absolute()))


def _is_new(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    key = (status.st_dev, status.st_ino)
    is_new = key not in seen
    seen.add(key)
    return is_new


def _walk(top: str, found: Discovery, seen: set[tuple[int, int]], roots: list[str]) -> None:
    """Go through a folder. Real files come before links to them, so that a finding has the plainer path."""
    links: list[os.DirEntry[str]] = []
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as problem:
            found.unreadable.append(Unreadable(folder, _reason(problem)))
            continue
        inner = [entry for entry in entries if _is_folder(entry)]
        kept = [entry.path for entry in inner if not _is_skipped(entry)]
        found.skipped += len(inner) - len(kept)
        folders.extend(reversed([path for path in kept if _is_new_folder(path, found, seen)]))
        links += [entry for entry in entries if entry.is_symlink()]
        for entry in entries:
            if not entry.is_symlink() and entry not in inner:
                _file(entry, found, seen)
    for link in links:
        _link(link, found, seen, roots)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        # Then it is asked again as a file, and named if it matters.
        return False


def _is_skipped(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.name in SKIPPED or Path(entry.path, "pyvenv.cfg").is_file()
    except OSError:
        # A folder that may not be searched is named when it is entered.
        return False


def _is_new_folder(path: str, found: Discovery, seen: set[tuple[int, int]]) -> bool:
    try:
        return _is_new(Path(path).stat(), seen)
    except OSError as problem:
        found.unreadable.append(Unreadable(path, _reason(problem)))
        return False


def _link(link: os.DirEntry[str], found: Discovery, seen: set[tuple[int, int]], roots: list[str]) -> None:
    """Enter a link to a file. A folder inside the checked paths is read in its own place, one outside is not."""
    try:
        is_folder = link.is_dir()
    except OSError as problem:
        # A link to itself, for one. Broken links are found out by `_file`.
        if link.name.lower().endswith(SUFFIXES):
            found.unreadable.append(Unreadable(link.path, _reason(problem)))
        return
    if not is_folder:
        _file(link, found, seen)
        return
    real = os.path.realpath(link.path)
    is_inside = any(Path(real).is_relative_to(root) for root in roots)
    if not is_inside and link.name not in SKIPPED and _is_new_folder(real, found, seen):
        place = Place(link.path, 0, 1, 1)
        found.remarks.append(Remark(place, f"A link to {real}, outside the checked paths, was not followed: name it."))


def _file(entry: os.DirEntry[str], found: Discovery, seen: set[tuple[int, int]]) -> None:
    is_code = entry.name.lower().endswith(SUFFIXES)
    if not is_code and "." in entry.name:
        return
    try:
        status = Path(entry.path).stat()
    except OSError as problem:
        if is_code and entry.is_symlink() and isinstance(problem, FileNotFoundError):
            found.remarks.append(Remark(Place(entry.path, 0, 1, 1), "A link that leads nowhere was passed over."))
        elif is_code:
            found.unreadable.append(Unreadable(entry.path, _reason(problem)))
        return
    if not stat.S_ISREG(status.st_mode):
        if is_code:
            found.unreadable.append(Unreadable(entry.path, "not a regular file"))
        return
    if (is_code or _is_script(entry.path)) and _is_new(status, seen):
        found.sources.append(Source(_absolute(entry.path), entry.path))


def _is_script(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            first = file.readline(256)
    except OSError:
        # It has no suffix and nobody named it: there is no reason to think that it is Python.
        return False
    return first.startswith(b"#!") and b"python" in first


def _reason(problem: Exception) -> str:
    text = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
    return text[:1].lower() + text[1:]


def read_bytes(source: Source) -> bytes | Unreadable:
    """Return what is in a file, or why that cannot be had."""
    largest = LARGEST_NOTEBOOK if source.is_notebook else LARGEST
    try:
        with source.path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as problem:
        return Unreadable(source.shown, _reason(problem))
    if len(data) > largest:
        return Unreadable(source.shown, f"larger than {largest // 1024 // 1024} MiB")
    return data


def read_text(data: bytes) -> tuple[str, str]:
    """Decode a Python file as Python does: by its byte order mark, its coding line, or as UTF-8.

    Returns:
        The text, with what cannot be decoded replaced, and the problem; no problem is an empty text.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace"), "written in UTF-16, which Python does not read"
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as problem:
        return data.decode("utf-8-sig", "replace"), f"{_WRONG_CODING}: {problem.msg}"
    try:
        return data.decode(encoding), ""
    except (UnicodeError, LookupError) as problem:
        # A codec that gives no text, such as `hex`, is a LookupError.
        return data.decode("utf-8", "replace"), f"{_WRONG_CODING}: {problem}"


def parse(text: str) -> ast.Module:
    """Parse a program.

    Raises:
        SyntaxError: It is none; the others of ``PROBLEMS`` as well.
    """
    with warnings.catch_warnings():
        # Such as those of invalid escapes: they are the program's own affair.
        warnings.simplefilter("ignore")
        return ast.parse(text)


def problem_text(problem: BaseException) -> str:
    """Say in a line why a text could not be parsed."""
    if isinstance(problem, SyntaxError):
        where = f" in line {problem.lineno}" if problem.lineno else ""
        return f"not Python 3{where}: {problem.msg}"
    if isinstance(problem, RecursionError | MemoryError):
        return "nested too deeply"
    return f"not Python 3: {problem}"


def split_lines(text: str) -> tuple[str, ...]:
    """Split a text where Python does: ``str.splitlines`` also splits at form feeds and others."""
    return tuple(re.split(r"\r\n|\r|\n", text))


def mentions(text: str) -> tuple[Mention, ...]:
    """Return the lines of a text that speak of the old library, the first ones if there are many."""
    return tuple(_mentions(text))[:_MOST_MENTIONS]


def _mentions(text: str) -> Iterator[Mention]:
    for number, line in enumerate(split_lines(text), 1):
        if _WORD in line.lower():
            yield Mention(number, line.strip()[:200])
