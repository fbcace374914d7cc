"""``migration_guide/refused.md``: what is not served, or not served yet, why, and what to do instead."""

from collections.abc import Iterable, Iterator

from compat._surface import Name, Surface, surface
from tests.guide.markdown import NOTE, code, grouped, short_path, table, told

__all__ = ["page"]

_BEGIN = """# Refused, and not served yet

A name that stands here can be imported, so that a program which imports more than it uses still runs. Whoever calls it,
or makes an object of it, gets a `RefusedError` with these reasons. [if_then.md](if_then.md) has the names that are
served.
"""

_LATER = """## Not served yet

A later release will serve these.
"""

_REFUSED = """## Refused

These stay refused.
"""

_ARGUMENTS = """## Arguments and members

Of names that are served, what is not.
"""

_MODULES = """## Modules

Importing one of these, or a module inside it, is a `RefusedImportError`. All are of older versions of AIToolbox.
"""


def page(names: Surface | None = None) -> str:
    """Write the page.

    Args:
        names: The table of names; that of the package if left out.
    """
    shown = names or surface()
    rows = shown.names.values()
    lines = [NOTE, "", *_BEGIN.splitlines(), ""]
    for heading, status in ((_LATER, "later"), (_REFUSED, "refused")):
        lines += [*heading.splitlines(), ""]
        for package, group in grouped(row for row in rows if row.status == status):
            lines += [f"### {status}: {package}", ""]
            lines += table(["names", "why, and what to do now", "in Lightning alone"], _alike(group, package))
    lines += [*_ARGUMENTS.splitlines(), ""]
    lines += table(["name", "argument or member", "status", "why"], _parts(rows))
    gone = [module for module in shown.modules.values() if module.status == "refused"]
    lines += [*_MODULES.splitlines(), ""]
    lines += table(
        ["module", "versions", "why, and what to do now", "in Lightning alone"],
        ([code(short_path(module.path)), module.versions, module.why, module.native] for module in gone),
    )
    return "\n".join(lines).rstrip("\n") + "\n"


def _alike(rows: Iterable[Name], package: str) -> Iterator[list[str]]:
    """Yield the names, those of one reason together."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        name = code(short_path(row.old).removeprefix(f"{package}."))
        reasons.setdefault((row.why, row.native), []).append(f"{name} ({row.versions})" if row.versions else name)
    yield from ([", ".join(names), why, native] for (why, native), names in reasons.items())


def _parts(rows: Iterable[Name]) -> Iterator[list[str]]:
    for row in rows:
        if row.is_served:
            for keys, what in told(row, older=False):
                if what.status in ("later", "refused"):
                    yield [code(row.short), keys, what.status, what.why]
