"""The results of a check, as values.

``same``, ``differs``, ``refused`` and ``later`` are the table's words; ``unknown`` is a name that no AIToolbox had.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["EFFORTS", "STATUSES", "Finding", "Mention", "Place", "Remark", "Report", "Unreadable", "effort_of"]

STATUSES = ("same", "differs", "later", "refused", "unknown")
EFFORTS = ("runs as it is", "needs a look", "does not run")
_EFFORT = {"same": EFFORTS[0], "differs": EFFORTS[1]}


def effort_of(status: str) -> str:
    """Return which of ``EFFORTS`` a status means for the program."""
    return _EFFORT.get(status, EFFORTS[2])


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands.

    Attributes:
        path: The file, as the user would name it.
        cell: The cell of a notebook, counted from 1 over cells of every kind; 0 in a script.
        line: The line in the file or in the cell, counted from 1.
        column: The column, in characters, counted from 1.
    """

    path: str
    cell: int
    line: int
    column: int

    def __str__(self) -> str:
        """Write it as editors and compilers do."""
        cell = f"cell {self.cell}, line " if self.cell else ""
        return f"{self.path}:{cell}{self.line}:{self.column}"


@dataclass(frozen=True)
class Finding:
    """One use of the old API.

    Attributes:
        place: Where it stands.
        kind: How it is used: ``import``, ``star import``, ``dynamic import``, ``reference``, ``subclass``, ``member``,
            ``override``, ``argument`` or ``string``.
        name: Its qualified name in AIToolbox 1.8.
        written: Its path as the program says it, aliases resolved.
        status: One of ``STATUSES``.
        why: What differs, or why it is refused; empty for ``same``.
        quirks: Ids of the oddities that show in it.
        native: How the same thing is said in Lightning alone.
        nearest: The known names that an unknown one is nearest to.
        versions: The versions of AIToolbox that had the written path, if 1.8 has not.
        code: The line of code.
        is_met: Whether the program meets the error, if it is one: not where a name is only imported or mentioned that
            is an error once it is used.
        is_harmless: Whether a difference is none to a program that ran.
    """

    place: Place
    kind: str
    name: str
    written: str
    status: str
    why: str = ""
    quirks: tuple[str, ...] = ()
    native: str = ""
    nearest: tuple[str, ...] = ()
    versions: str = ""
    code: str = ""
    is_met: bool = True
    is_harmless: bool = False

    @property
    def effort(self) -> str:
        """Which of ``EFFORTS`` it means."""
        if self.is_harmless:
            return EFFORTS[0]
        effort = effort_of(self.status)
        return effort if self.is_met or effort == EFFORTS[0] else EFFORTS[1]


@dataclass(frozen=True)
class Remark:
    """Something a reader should know that is no use of the old API, or that could not be followed.

    Attributes:
        place: Where it stands.
        text: What is to be said.
    """

    place: Place
    text: str


@dataclass(frozen=True)
class Mention:
    """A line of an unreadable file that speaks of the old library.

    Attributes:
        line: Its number, counted from 1.
        code: Its text.
    """

    line: int
    code: str


@dataclass(frozen=True)
class Unreadable:
    """A file, or a cell of a notebook, that could not be read in full.

    Attributes:
        path: The file.
        reason: Why.
        cell: The cell, 0 for the whole file.
        mentions: The lines that speak of the old library.
    """

    path: str
    reason: str
    cell: int = 0
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        paths: The paths that were asked for.
        files: How many files were read.
        skipped: How many folders were passed over: version control, caches, virtual environments.
        findings: The uses of the old API, by place.
        remarks: What else is to be said, by place.
        unreadable: What could not be read.
        programs: The files with findings that look like programs to run rather than modules to import.
    """

    paths: tuple[str, ...]
    files: int = 0
    skipped: int = 0
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Remark, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """2 if something could not be read, else 1 if the old API is used, else 0."""
        if self.unreadable:
            return 2
        return 1 if self.findings else 0

    @property
    def by_file(self) -> Mapping[str, tuple[Finding, ...]]:
        """The findings of each file that has some, in the order of the paths."""
        grouped: dict[str, list[Finding]] = {}
        for finding in self.findings:
            grouped.setdefault(finding.place.path, []).append(finding)
        return {path: tuple(findings) for path, findings in grouped.items()}

    @property
    def statuses(self) -> Mapping[str, int]:
        """How many findings have each status."""
        counts = Counter(finding.status for finding in self.findings)
        return {status: counts[status] for status in STATUSES}

    @property
    def efforts(self) -> Mapping[str, int]:
        """How many findings mean each effort."""
        counts = Counter(finding.effort for finding in self.findings)
        return {effort: counts[effort] for effort in EFFORTS}
