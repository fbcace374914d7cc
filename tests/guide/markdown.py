"""What the generated pages have in common: tables, and what a row of the table of names says in them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from compat._surface import Member, Name

__all__ = ["NOTE", "code", "grouped", "package_of", "short_path", "table", "told"]

NOTE = "<!-- Written by `python -m tests.guide` from compat/surface.toml: edit that file. -->"


def code(text: str) -> str:
    """Set a name as code."""
    return f"`{text}`"


def plain(text: str) -> str:
    """Keep words from being taken for markup, outside of what is set as code."""
    parts = text.split("`")
    outside = (part.replace("<", "&lt;").replace("*", r"\*") for part in parts[::2])
    inside = [code(part) for part in parts[1::2]]
    return "".join(piece for pair in zip(outside, [*inside, ""], strict=True) for piece in pair)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Write a table, a blank line after it."""
    lines = [header, ["---"] * len(header), *([plain(cell).replace("|", r"\|") for cell in row] for row in rows)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def short_path(path: str) -> str:
    """Leave the package out of a path."""
    return path.removeprefix("aitoolbox.")


def package_of(row: Name) -> str:
    """Return the part of AIToolbox under which a name stands in the guide: a package of a package, or the first one."""
    parts = row.module.split(".")[1:]
    # A module directly in a package stands under that package.
    inner = {"AWS", "GoogleCloud", "callbacks", "schedulers", "train_loop"}
    return ".".join(parts[:2] if len(parts) > 1 and parts[1] in inner else parts[:1])


def grouped(rows: Iterable[Name]) -> Iterator[tuple[str, list[Name]]]:
    """Yield the rows of each part of AIToolbox, in the order of the table."""
    ordered = sorted(rows, key=package_of)
    yield from ((package, list(group)) for package, group in groupby(ordered, key=package_of))


def told(row: Name, *, older: bool) -> Iterator[tuple[str, Member]]:
    """Yield what is said of members and arguments, of code for older versions or for 1.8; alike things as one.

    Args:
        row: Of a class or function.
        older: Whether what only concerns code of older versions is wanted.
    """
    said = [(code(f"{name}()"), member) for name, member in row.members.items()]
    said += [(code(key), argument) for key, argument in row.arguments.items()]
    chosen = [(key, what) for key, what in said if bool(what.versions) == older]
    alike: dict[Member, list[str]] = {}
    for key, what in chosen:
        alike.setdefault(what, []).append(key)
    yield from ((", ".join(keys), what) for what, keys in alike.items())
