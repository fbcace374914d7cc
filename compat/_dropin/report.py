"""What the ledger saw, in words: which features a program used, who served them, and where they differed."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compat import quirks
from compat._console import tell
from compat._ledger import Entry, Place
from compat._surface import Name, surface
from compat.exceptions import InvalidArgumentError

__all__ = ["DIFFERS", "HOW", "Row", "check_writable", "rows", "show", "table", "write"]

NATIVE, EMULATED, DIFFERS, REFUSED = HOW = ("native Lightning", "emulated", "differs", "refused")
# The version of the JSON; it grows when a field changes its meaning or goes.
_VERSION = 1


@dataclass(frozen=True)
class Row:
    """One line of a report.

    Attributes:
        feature: A name such as ``TrainLoop.fit``, or a quirk with what it is about.
        old: The import path in AIToolbox, or in Lightning for a part of it; the id of a quirk.
        how: One of ``HOW``.
        detail: What differs, what is kept, or why it is refused.
        count: How often the program asked for it, or how often it changed the outcome.
        places: The lines of the program that led to it.
        is_of_lightning: Whether it is about parts of Lightning's that the program has put into a loop.
    """

    feature: str
    old: str
    how: str
    detail: str
    count: int
    places: tuple[Place, ...]
    is_of_lightning: bool = False

    def renamed(self, name: Callable[[str], str]) -> "Row":
        """Return the line with its files under other names."""
        return replace(self, places=tuple(replace(place, file=name(place.file)) for place in self.places))


def rows(entries: Sequence[Entry]) -> list[Row]:
    """Turn what happened into lines: first what differs, then the rest as it came."""
    of_kind = {"quirk": _of_quirk, "name": _of_name, "refused": _of_refusal, "native": _of_native}
    found = [of_kind[entry.kind](entry) for entry in entries]
    return sorted(found, key=lambda row: row.how != DIFFERS)


def _of_quirk(entry: Entry) -> Row:
    quirk = quirks.QUIRKS[entry.feature]
    how = DIFFERS if entry.mode == "fixed" else EMULATED
    text = quirk.fixed if entry.mode == "fixed" else quirk.kept
    text += f" ({entry.detail})" if entry.detail else ""
    return Row(f"{quirk.id} {quirk.title}", quirk.id, how, text, entry.count, entry.places)


def _of_refusal(entry: Entry) -> Row:
    return Row(entry.feature, entry.feature, REFUSED, entry.detail, entry.count, entry.places)


def _of_native(entry: Entry) -> Row:
    name = entry.feature.rpartition(".")[2]
    return Row(name, entry.feature, NATIVE, entry.detail, entry.count, entry.places, is_of_lightning=True)


def _of_name(entry: Entry) -> Row:
    row, member = _looked_up(entry.feature)
    if row is None:
        return Row(entry.feature, entry.feature, EMULATED, "", entry.count, entry.places)
    if not row.is_served:
        return Row(row.short, row.old, REFUSED, row.why, entry.count, entry.places)
    said = row.members.get(member)
    served = (said.served if said else "") or row.served
    how = NATIVE if served == "lightning" else EMULATED
    dotted = f".{member}" if member else ""
    return Row(row.short + dotted, row.old + dotted, how, "", entry.count, entry.places)


def _looked_up(path: str) -> tuple[Name | None, str]:
    """Find the row of a path of ours, or of an old one, and the member that it goes on to."""
    by_path = {row.ours or row.old: row for row in reversed(list(surface().names.values()))}
    if path in by_path:
        return by_path[path], ""
    holder, _, member = path.rpartition(".")
    return by_path.get(holder), member


def table(found: Sequence[Row]) -> str:
    """Write the lines as a table.

    Args:
        found: At least one line.

    Returns:
        Text of several lines: a summary, a heading, a line for each feature, and more on those that differ.
    """
    totals = Counter(row.how for row in found)
    summary = ", ".join(f"{totals[how]} {how}" for how in HOW if totals[how])
    cells = [("feature", "how", "count", "first at")]
    cells += [(row.feature, row.how, str(row.count), _first(row)) for row in found]
    widths = [max(len(cell[column]) for cell in cells) for column in range(4)]
    names = sum(not row.is_of_lightning for row in found)
    # What they make of the training step has no path.
    parts = sum(row.is_of_lightning and "." in row.old for row in found)
    among = f" and {parts} part{'s' * (parts != 1)} of Lightning" if parts else ""
    lines = [f"compat: {names} feature{'s' * (names != 1)} of AIToolbox{among} used: {summary}"]
    for feature, how, count, place in cells:
        line = f"  {feature:<{widths[0]}}  {how:<{widths[1]}}  {count:>{widths[2]}}  {place}"
        lines.append(line.rstrip())
    lines += [f"  {row.old}: {row.detail}" for row in found if row.how != EMULATED and row.detail]
    return "\n".join(lines)


def _first(row: Row) -> str:
    return f"{_short(row.places[0].file)}:{row.places[0].line}" if row.places else "-"


def _short(file: str) -> str:
    """Name a file as seen from here, if it is below."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def as_json(found: Sequence[Row], program: Sequence[str], *, strict: bool) -> dict[str, Any]:
    """Return the report as plain values.

    Args:
        found: The lines.
        program: What ran, with its arguments.
        strict: Whether a difference was an error.
    """
    totals = Counter(row.how for row in found)
    return {
        "version": _VERSION,
        "program": list(program),
        "strict": strict,
        "totals": {how: totals[how] for how in HOW},
        "features": [
            {
                "feature": row.feature,
                "old": row.old,
                "how": row.how,
                "detail": row.detail,
                "count": row.count,
                "places": [{"file": at.file, "line": at.line, "count": at.count} for at in row.places],
            }
            for row in found
        ],
    }


def check_writable(file: Path) -> None:
    """Find out early whether a report can be written: the program may take days.

    Args:
        file: Where to.

    Raises:
        InvalidArgumentError: It cannot.
    """
    target = file if file.exists() else file.absolute().parent
    if file.is_dir() or not os.access(target, os.W_OK):
        raise InvalidArgumentError(
            f"--report {file}: no file can be written there. Name a file in a folder that exists."
        )


def show(text: str) -> None:
    """Print what comes after a program to the stderr that it began with, wherever it has led its own.

    Args:
        text: One line or more.
    """
    if sys.__stderr__ is not None and not sys.__stderr__.closed:
        tell(text, to=sys.__stderr__)


def write(file: Path, found: Sequence[Row], program: Sequence[str], *, strict: bool) -> None:
    """Write the report as JSON; a reader never sees half of it.

    Args:
        file: Where to. A link is followed, and into a device or a pipe it is written as it is.
        found: The lines.
        program: What ran, with its arguments.
        strict: Whether a difference was an error.

    Raises:
        OSError: It cannot be written.
    """
    text = json.dumps(as_json(found, program, strict=strict), indent=1) + "\n"
    if file.exists() and not file.is_file():
        file.write_text(text, encoding="utf-8")
        return
    file = file.resolve()
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
