"""A report as one page: no scripts, nothing from a network, readable in light and dark, on paper and by keyboard."""

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources

from compat import __version__
from compat.migrate.findings import EFFORTS, Finding, Report, effort_of
from compat.migrate.report import next_commands

__all__ = ["as_html"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CLASSES = dict(zip(EFFORTS, ("runs", "look", "stops"), strict=True))
_LEGEND = {
    "same": "the same names, numbers, files and errors",
    "differs": "works, and something is not as it was",
    "later": "can be imported; refused when used, until a later release serves it",
    "refused": "an error that says why",
    "unknown": "no AIToolbox had it",
}


def as_html(report: Report) -> str:
    """Write a report as a page that stands alone."""
    style = resources.files("compat.migrate").joinpath("page.css").read_text(encoding="utf-8")
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        "<title>AIToolbox check</title>",
        '<link rel="icon" href="data:,">',
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        *_header(report),
        "<main>",
        *_overview(report),
        *_files(report),
        *_remarks(report),
        *_unreadable(report),
        "</main>",
        f"<footer>Made by trainloop-compat {_text(__version__)}. The programs were read, not run.</footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _text(text: object) -> str:
    """Escape a text; what cannot stand in a page is shown as a replacement character."""
    clean = str(text).encode("utf-8", "replace").decode()
    return escape("".join(char if char >= " " or char == "\t" else "\ufffd" for char in clean))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _header(report: Report) -> Iterator[str]:
    paths = ", ".join(f"<code>{_text(path)}</code>" for path in report.paths)
    yield "<header>"
    yield "<h1>What uses AIToolbox</h1>"
    yield f'<p class="where">{paths}: {_counted(report.files, "file")} read</p>'
    yield "</header>"


def _overview(report: Report) -> Iterator[str]:
    """Say the totals, the effort at a glance, what the words mean, and how to go on."""
    yield '<section aria-labelledby="overview">'
    yield '<h2 id="overview">Effort at a glance</h2>'
    if not report.findings:
        yield "<p>No use of AIToolbox was found.</p>"
        yield "</section>"
        return
    yield from _bar(report.efforts.items(), "bar")
    yield '<dl class="efforts">'
    for effort, count in report.efforts.items():
        yield f'<div class="{_CLASSES[effort]}"><dt>{effort}</dt><dd>{count}</dd></div>'
    yield "</dl>"
    total = f"{_counted(len(report.findings), 'use')} in {_counted(len(report.by_file), 'file')}"
    yield f'<p class="total">{total}</p>'
    yield '<dl class="legend">'
    for status, count in report.statuses.items():
        if count:
            yield f"<div><dt>{_badge(status)} {count}</dt><dd>{_LEGEND[status]}</dd></div>"
    yield "</dl>"
    if commands := next_commands(report):
        shown = "\n".join(map(_text, commands))
        yield f'<p>To run what was found, unchanged:</p>\n<pre tabindex="0">{shown}</pre>'
    yield "</section>"


def _bar(efforts: Iterable[tuple[str, int]], name: str) -> Iterator[str]:
    known = [(effort, count) for effort, count in efforts if count]
    label = ", ".join(f"{count} {effort}" for effort, count in known)
    yield f'<div class="{name}" role="img" aria-label="{label}">'
    for effort, count in known:
        yield f'<span class="{_CLASSES[effort]}" style="flex-grow: {count}"></span>'
    yield "</div>"


def _badge(status: str, effort: str = "") -> str:
    return f'<span class="badge {_CLASSES[effort or effort_of(status)]}">{status}</span>'


def _files(report: Report) -> Iterator[str]:
    if not report.findings:
        return
    yield '<section aria-labelledby="files">'
    yield '<h2 id="files">Files</h2>'
    yield '<ol class="files">'
    for number, (path, findings) in enumerate(report.by_file.items(), 1):
        yield f'<li><a href="#file-{number}"><code>{_text(path)}</code></a>'
        yield f'<span class="count">{len(findings)}</span>'
        yield from _bar(_efforts(findings), "bar small")
        yield "</li>"
    yield "</ol>"
    yield "</section>"
    for number, (path, findings) in enumerate(report.by_file.items(), 1):
        yield f'<details open class="file" id="file-{number}">'
        yield f"<summary><h3><code>{_text(path)}</code></h3> <span>{_counted(len(findings), 'use')}</span></summary>"
        yield '<p class="columns" aria-hidden="true"><span>Your code</span><span>In Lightning</span></p>'
        yield '<ol class="findings">'
        first: dict[tuple[str, str], tuple[str, str]] = {}
        for index, finding in enumerate(findings, 1):
            anchor = f"use-{number}-{index}"
            told = first.setdefault((finding.name, finding.versions), (anchor, _where(finding)))
            yield from _finding(finding, anchor, None if told[0] == anchor else told)
        yield "</ol>"
        yield "</details>"


def _efforts(findings: Iterable[Finding]) -> list[tuple[str, int]]:
    counts = Counter(finding.effort for finding in findings)
    return [(effort, counts[effort]) for effort in EFFORTS]


def _where(found: Finding) -> str:
    place = f"{found.place.line}:{found.place.column}"
    return f"cell {found.place.cell}, line {place}" if found.place.cell else place


def _finding(found: Finding, anchor: str, told: tuple[str, str] | None) -> Iterator[str]:
    """Show a use: its line of code beside its equivalent, and what is to be said, if that was not told before."""
    yield f'<li id="{anchor}">'
    yield f'<p class="head">{_badge(found.status, found.effort)} <code class="name">{_text(found.name)}</code>'
    yield f'<span class="place">{_where(found)}, {found.kind}</span></p>'
    yield f'<div class="pair"><pre class="code">{_text(found.code)}</pre>'
    if found.native:
        yield f'<p class="native">{_text(found.native)}</p>'
    yield "</div>"
    if told and found.status != "same":
        yield f'<p class="why">As at <a href="#{told[0]}">{told[1]}</a>.</p>'
    elif not told and (said := _said(found)):
        yield f'<p class="why">{said}</p>'
    yield "</li>"


def _said(found: Finding) -> str:
    said = [_text(found.why)]
    if found.nearest:
        said.append("Nearest: " + ", ".join(f"<code>{_text(name)}</code>" for name in found.nearest) + ".")
    if found.versions:
        written = f"Written <code>{_text(found.written)}</code>, as in" if found.written != found.name else "Of"
        said.append(f"{written} AIToolbox {_text(found.versions)}.")
    if found.quirks:
        said.append(f'<span class="quirks">{_text(" ".join(found.quirks))}</span>')
    return " ".join(part for part in said if part)


def _remarks(report: Report) -> Iterator[str]:
    if not report.remarks:
        return
    yield '<section aria-labelledby="remarks">'
    yield '<h2 id="remarks">Remarks</h2>'
    yield '<ul class="notes">'
    for remark in report.remarks:
        yield f"<li><code>{_text(remark.place)}</code> {_text(remark.text)}</li>"
    yield "</ul>"
    yield "</section>"


def _unreadable(report: Report) -> Iterator[str]:
    if not report.unreadable:
        return
    yield '<section aria-labelledby="unreadable">'
    yield '<h2 id="unreadable">Could not be read in full</h2>'
    yield '<ul class="notes">'
    for problem in report.unreadable:
        cell = f", cell {problem.cell}" if problem.cell else ""
        yield f"<li><code>{_text(problem.path)}{cell}</code> {_text(problem.reason)}"
        if problem.mentions:
            lines = "\n".join(f"{mention.line}: {_text(mention.code)}" for mention in problem.mentions)
            yield f'<pre tabindex="0">{lines}</pre>'
        yield "</li>"
    yield "</ul>"
    yield "</section>"
