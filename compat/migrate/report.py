"""A report as text for people and as JSON for programs.

The JSON document, whose ``schema`` grows by one whenever something is taken away or changes its meaning::

    schema       1
    version      the version of this package
    paths        the paths that were asked for
    files        how many files were read
    skipped      how many folders were passed over
    exit_code    0, 1 or 2, as the process ends
    statuses     findings by status: same, differs, later, refused, unknown
    efforts      findings by effort: runs as it is, needs a look, does not run
    programs     the files with findings that are run rather than imported
    findings     path, cell (null in a script), line, column, kind, name, written, status, effort, why, quirks, native,
                 nearest, versions, code
    remarks      path, cell, line, column, text
    unreadable   path, cell, reason, mentions: line, code

Lines and columns are counted from 1, columns in characters. Texts that do not apply are empty. The effort follows from
the status, but for names that are not served: where one is only imported, mentioned or subclassed it needs a look.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from compat import __version__
from compat.migrate.findings import Finding, Place, Report, Unreadable

__all__ = ["SCHEMA", "as_json", "as_text", "next_commands"]

SCHEMA = 1
_MOST_COMMANDS = 3


def as_text(report: Report) -> str:
    """Write a report for people: one line a finding, grouped by file, then the totals.

    What is to be said of a name is said once a file.
    """
    lines = [*_findings(report), *_others(report), *_totals(report)]
    return "".join(f"{_plain(line)}\n" for line in lines)


def _plain(line: str) -> str:
    """Show control characters, which a terminal would obey, and line breaks in file names, as escapes."""
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in line)


def _findings(report: Report) -> Iterator[str]:
    for path, findings in report.by_file.items():
        yield path
        where = [_where(finding.place) for finding in findings]
        widths = max(map(len, where)), max(len(found.status) for found in findings), max(len(f.kind) for f in findings)
        said: dict[tuple[str, str], str] = {}
        for place, found in zip(where, findings, strict=True):
            head = f"  {place:<{widths[0]}}  {found.status:<{widths[1]}}  {found.kind:<{widths[2]}}  "
            first = said.setdefault((found.name, found.written if found.versions else ""), place)
            is_told = found.status == "same" or first == place
            yield head + (_sentence(found) if is_told else f"{found.name} (as at {first})")
        yield ""


def _where(place: Place) -> str:
    return f"cell {place.cell}, line {place.line}:{place.column}" if place.cell else f"{place.line}:{place.column}"


def _sentence(found: Finding) -> str:
    parts = [found.name]
    if found.versions:
        written = f"written {found.written}, " if found.written != found.name else ""
        parts.append(f"({written}of AIToolbox {found.versions})")
    if found.quirks:
        parts.append(f"[{' '.join(found.quirks)}]")
    parts.append(found.why)
    if found.nearest:
        parts.append(f"Nearest: {', '.join(found.nearest)}.")
    if found.native and found.status != "same":
        parts.append(f"In Lightning: {found.native}.")
    return " ".join(part for part in parts if part)


def _others(report: Report) -> Iterator[str]:
    if report.remarks:
        yield "Remarks"
        yield from (f"  {remark.place}: {remark.text}" for remark in report.remarks)
        yield ""
    if report.unreadable:
        yield "Could not be read in full"
        for problem in report.unreadable:
            yield f"  {_named(problem)}: {problem.reason}"
            yield from (f"    {mention.line}: {mention.code}" for mention in problem.mentions)
        yield ""


def _named(problem: Unreadable) -> str:
    return f"{problem.path}, cell {problem.cell}" if problem.cell else problem.path


def _totals(report: Report) -> Iterator[str]:
    skipped = f", {report.skipped} folders passed over" if report.skipped else ""
    problems = f", {len(report.unreadable)} not readable in full" if report.unreadable else ""
    yield f"Files read: {report.files}{skipped}{problems}"
    if not report.findings:
        yield "No use of AIToolbox was found."
        return
    yield f"Uses of AIToolbox: {len(report.findings)} in {len(report.by_file)} files"
    yield "  " + ", ".join(f"{count} {status}" for status, count in report.statuses.items() if count)
    yield "  " + ", ".join(f"{count} {_worded(effort, count)}" for effort, count in report.efforts.items())
    commands = next_commands(report)
    if commands:
        yield "Go on with:"
        yield from (f"  {command}" for command in commands)


def _worded(effort: str, count: int) -> str:
    plural = {"runs as it is": "run as they are", "needs a look": "need a look", "does not run": "do not run"}
    return effort if count == 1 else plural[effort]


def next_commands(report: Report) -> tuple[str, ...]:
    """Return the commands to go on with: they run the programs that were found, unchanged."""
    return tuple(f"python -m compat run {shlex.quote(program)}" for program in report.programs[:_MOST_COMMANDS])


def as_json(report: Report) -> str:
    """Write a report for programs; the module's docstring describes the document."""
    document = {
        "schema": SCHEMA,
        "version": __version__,
        "paths": report.paths,
        "files": report.files,
        "skipped": report.skipped,
        "exit_code": report.exit_code,
        "statuses": report.statuses,
        "efforts": report.efforts,
        "programs": report.programs,
        "findings": [_finding(found) for found in report.findings],
        "remarks": [_place(remark.place) | {"text": remark.text} for remark in report.remarks],
        "unreadable": [
            {
                "path": problem.path,
                "cell": problem.cell or None,
                "reason": problem.reason,
                "mentions": [{"line": mention.line, "code": mention.code} for mention in problem.mentions],
            }
            for problem in report.unreadable
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def _place(place: Place) -> dict[str, Any]:
    return {"path": place.path, "cell": place.cell or None, "line": place.line, "column": place.column}


def _finding(found: Finding) -> Mapping[str, Any]:
    return _place(found.place) | {
        "kind": found.kind,
        "name": found.name,
        "written": found.written,
        "status": found.status,
        "effort": found.effort,
        "why": found.why,
        "quirks": found.quirks,
        "native": found.native,
        "nearest": found.nearest,
        "versions": found.versions,
        "code": found.code,
    }
