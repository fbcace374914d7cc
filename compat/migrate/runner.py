"""Runs a check: from paths to a report. It never raises because of what it reads."""

import ast
import codecs
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from compat.migrate import names
from compat.migrate.findings import Finding, Mention, Place, Remark, Report, Unreadable
from compat.migrate.guards import is_main_guard
from compat.migrate.neighbours import imported_files
from compat.migrate.notebooks import read_notebook
from compat.migrate.project import Project
from compat.migrate.recorder import Recorder
from compat.migrate.sources import (
    PROBLEMS,
    Chunk,
    Discovery,
    Source,
    discover,
    mentions,
    parse,
    problem_text,
    read_bytes,
    read_text,
    split_lines,
)
from compat.migrate.statements import Reader
from compat.migrate.values import Facts

__all__ = ["check"]

_MOST_READINGS = 8
# Deep enough for any program that Python's parser lets through.
_DEEPEST = 20_000
# A program has not more modules beside it, but a folder full of notebooks may.
_MOST_NEIGHBOURS = 500
_NEIGHBOUR = (
    "It is imported, and is not among the checked paths: it was read to know what it holds, and its own uses of "
    "AIToolbox are not counted. Name it as well."
)


@dataclass
class _Read:
    """A file that has to do with the old library."""

    source: Source
    chunks: tuple[Chunk, ...]
    recorder: Recorder
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def file(self) -> str:
        return str(self.source.path)


def check(paths: Sequence[str]) -> Report:
    """Find every use of the old API in files and folders.

    Args:
        paths: Files and folders, as the user names them.

    Returns:
        The report; problems are in it.
    """
    found = discover(paths)
    run = _Run(found)
    for source in found.sources:
        run.first_look(source)
    run.look_round()
    with _deep_recursion():
        run.read_all()
        while run.follow_exports():
            run.read_all()
    return run.report(tuple(paths))


@contextmanager
def _deep_recursion() -> Iterator[None]:
    """Let deeply nested programs be read. Parsing comes before: C code must not go that deep."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


@contextmanager
def _shallow_recursion() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


class _Run:
    def __init__(self, found: Discovery) -> None:
        self.found = found
        self.project = Project(str(source.path) for source in found.sources if not source.is_notebook)
        self.facts = Facts()
        self.read: dict[str, _Read] = {}
        self.rest: list[Source] = []
        self.unreadable = list(found.unreadable)
        self.files = 0
        self.followed: set[tuple[str, str]] = set()
        self.neighbours: set[str] = set()

    def first_look(self, source: Source) -> None:
        """Read a file, and parse it if it speaks of the old library."""
        data = read_bytes(source)
        if isinstance(data, Unreadable):
            self.unreadable.append(data)
            return
        self.files += 1
        # Whoever names a notebook wants to know of it if it is none.
        if _speaks_of_it(data) or (source.is_named and source.is_notebook):
            self.add(source, data)
        else:
            self.rest.append(source)

    def add(self, source: Source, data: bytes) -> None:
        """Parse a file that matters."""
        self.read[str(source.path)] = _parsed(source, data)

    def look_round(self) -> None:
        """Find the modules that checked files import and that nobody named, to know what they hold."""
        checked = {str(source.path) for source in self.found.sources}
        queue = [source for source in self.found.sources if source.is_named or str(source.path) in self.read]
        while queue and len(self.neighbours) < _MOST_NEIGHBOURS:
            source = queue.pop()
            for path in self._imported(source):
                if str(path) in checked | self.neighbours:
                    continue
                shown = os.path.relpath(path, source.path.parent)
                neighbour = Source(path, os.path.normpath(Path(source.shown).parent / shown))
                data = read_bytes(neighbour)
                if isinstance(data, Unreadable):
                    continue
                self.neighbours.add(str(path))
                self.project.add(str(path))
                queue.append(neighbour)
                if _speaks_of_it(data):
                    self.add(neighbour, data)
                else:
                    self.rest.append(neighbour)

    def _imported(self, source: Source) -> list[Path]:
        known = self.read.get(str(source.path))
        if known is None:
            data = read_bytes(source)
            known = _parsed(source, data) if isinstance(data, bytes) else None
        chunks = known.chunks if known else ()
        return [path for chunk in chunks for path in imported_files(chunk.tree, source.path)]

    def read_all(self) -> None:
        """Read the files that matter until nothing new is learned from them."""
        for _ in range(_MOST_READINGS):
            before = self.facts.size
            for entry in self.read.values():
                self._read_one(entry)
            if self.facts.size == before:
                return

    def _read_one(self, entry: _Read) -> None:
        entry.recorder = Recorder(entry.source.shown)
        try:
            Reader(entry.file, self.facts, self.project, entry.recorder).read(entry.chunks)
        except RecursionError:
            found = mentions("\n".join(line for chunk in entry.chunks for line in chunk.lines))
            entry.chunks, entry.recorder = (), Recorder(entry.source.shown)
            entry.unreadable.append(Unreadable(entry.source.shown, "nested too deeply", mentions=found))

    def follow_exports(self) -> bool:
        """Parse the files that import, from a file that was read, something that has to do with the old library.

        Returns:
            Whether there are new ones.
        """
        exports = [(file, name) for file in self.read for name in self._exported(file)]
        fresh = [export for export in exports if export not in self.followed]
        self.followed.update(fresh)
        patterns = [
            _importer_pattern(file, [name for at, name in fresh if at == file]) for file in {at for at, _ in fresh}
        ]
        if not patterns:
            return False
        remaining: list[Source] = []
        for source in self.rest:
            data = read_bytes(source)
            if isinstance(data, bytes) and any(
                words.search(data) and module.search(data) for words, module in patterns
            ):
                with _shallow_recursion():
                    self.add(source, data)
            else:
                remaining.append(source)
        is_new = len(remaining) < len(self.rest)
        self.rest = remaining
        return is_new

    def _exported(self, file: str) -> list[str]:
        exports = self.facts.exports(file)
        return [name for name, values in exports.items() if any(self.facts.is_old(value) for value in values)]

    def report(self, paths: tuple[str, ...]) -> Report:
        """Put together what was found."""
        entries = [entry for entry in self.read.values() if entry.file not in self.neighbours]
        findings = [found for entry in entries for found in entry.recorder.findings]
        remarks = [*self.found.remarks, *(remark for entry in entries for remark in entry.recorder.remarks)]
        remarks += [
            Remark(Place(entry.source.shown, 0, 1, 1), _NEIGHBOUR)
            for entry in self.read.values()
            if entry.file in self.neighbours and (entry.recorder.findings or entry.unreadable)
        ]
        unreadable = [*self.unreadable, *(problem for entry in entries for problem in entry.unreadable)]
        programs = [entry.source.shown for entry in entries if entry.recorder.findings and self._is_program(entry)]
        return Report(
            paths=paths,
            files=self.files,
            skipped=self.found.skipped,
            findings=tuple(sorted(_with_imports(findings), key=lambda found: (found.place, found.name))),
            remarks=tuple(sorted(remarks, key=lambda remark: (remark.place, remark.text))),
            unreadable=tuple(sorted(unreadable, key=lambda problem: (problem.path, problem.cell, problem.reason))),
            programs=tuple(sorted(programs)),
        )

    def _is_program(self, entry: _Read) -> bool:
        """Tell whether a file is run rather than imported: it says so, or it does something at its outermost level."""
        if entry.source.is_notebook or not entry.source.path.name.endswith(".py"):
            return False
        body = [node for chunk in entry.chunks for node in chunk.tree.body]
        return any(
            is_main_guard(node) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) for node in body
        )


def _with_imports(findings: list[Finding]) -> Iterator[Finding]:
    """Yield findings: what is imported, and is an error once it is used, is one where something uses it."""
    used = {re.split(r"\(", found.name)[0] for found in findings if found.is_met}
    # A use of a member, or of what a call gives, is one of the name.
    used |= {name.rpartition(".")[0] for name in used}
    for found in findings:
        is_used = found.kind == "import" and found.status in ("later", "refused") and found.name in used
        yield replace(found, is_met=True) if is_used else found


def _speaks_of_it(data: bytes) -> bool:
    """Tell whether a file can have to do with the old library. Most files have not, and are not parsed."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        data = data.replace(b"\0", b"")
    # The search for plain bytes is many times faster than one that ignores case.
    if b"oolbox" in data and names.PACKAGE.encode() in data.lower():
        return True
    return any(word.encode() in data for word in names.DISTINCTIVE)


def _parsed(source: Source, data: bytes) -> _Read:
    entry = _Read(source, (), Recorder(source.shown))
    if source.is_notebook:
        notebook = read_notebook(data, source.shown)
        entry.chunks, entry.unreadable = notebook.chunks, list(notebook.unreadable)
    else:
        _parse_script(entry, data)
    return entry


def _parse_script(entry: _Read, data: bytes) -> None:
    text, problem = read_text(data)
    found: tuple[Mention, ...] = mentions(text)
    try:
        entry.chunks = (Chunk(parse(text), split_lines(text)),)
    except PROBLEMS as error:
        problem = problem or problem_text(error)
    if problem and (found or not entry.chunks):
        entry.unreadable.append(Unreadable(entry.source.shown, problem, mentions=found))


def _importer_pattern(file: str, exported: list[str]) -> tuple["re.Pattern[bytes]", "re.Pattern[bytes]"]:
    """Return what a file must hold to import something: one of the names, and the module or a relative import."""
    words = re.compile(rb"\b(?:" + "|".join(map(re.escape, exported)).encode() + rb")\b")
    stem = re.sub(r"[\\/]__init__$", "", re.sub(r"\.pyw?$", "", file))
    module = re.escape(re.split(r"[\\/]", stem)[-1]).encode()
    return words, re.compile(rb"\b" + module + rb"\b|\bfrom\s+\.+\s*import\b")
