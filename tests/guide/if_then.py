"""``migration_guide/if_then.md``: if you used this name of AIToolbox, then that serves it, and so Lightning says it."""

from compat._surface import Module, Name, Surface, surface
from tests.guide.markdown import NOTE, code, grouped, short_path, table, told

__all__ = ["page"]

_BEGIN = """# If you used ... then ...

Every public name of AIToolbox: what serves it here, and how the same is said in Lightning alone.

`compat` gives every name of AIToolbox 1.8 that is served: `from compat import EarlyStopping`. Old import lines work
too, with `python -m compat run` or after `compat.install()`.

* **same**: the same signature, numbers and files.
* **differs**: it works, and something is not as it was; the oddities of single numbers are in
  [differences.md](differences.md).
* **later** and **refused**: an error that says why; [refused.md](refused.md) has the reasons.
"""

_OLDER = """## AIToolbox 1.0 to 1.7

A path of an older version that is not listed here is still that of 1.8.

### Modules that moved or are gone
"""

_NAMES = """### Names

Paths of 1.8 that older versions had elsewhere are served under both.
"""

_CALLS = """### Calls

Signatures changed between the versions. What stands here was right in the versions named, and means something else
today, or is an error. `#3` is what is passed in the third place.
"""


def page(names: Surface | None = None) -> str:
    """Write the page.

    Args:
        names: The table of names; that of the package if left out.
    """
    shown = names or surface()
    rows = shown.names.values()
    lines = [NOTE, "", *_BEGIN.splitlines(), ""]
    for package, group in grouped(row for row in rows if not row.versions):
        lines += [f"## {package}", ""]
        lines += table(["AIToolbox", "here", "in Lightning alone"], [_line(row, package) for row in group])
    moved = [module for module in shown.modules.values() if module.now or module.why]
    lines += [*_OLDER.splitlines(), ""]
    lines += table(["module", "versions", "today"], map(_moved, moved))
    lines += [*_NAMES.splitlines(), ""]
    lines += table(
        ["name", "versions", "here", "in Lightning alone"], map(_older, (row for row in rows if row.versions))
    )
    lines += [*_CALLS.splitlines(), ""]
    calls = [[code(row.short), keys, what.versions, what.why] for row in rows for keys, what in told(row, older=True)]
    lines += table(["name", "call", "versions", "today"], calls)
    return "\n".join(lines).rstrip("\n") + "\n"


def _line(row: Name, package: str) -> list[str]:
    return [code(short_path(row.old).removeprefix(f"{package}.")), _here(row), row.native]


def _here(row: Name) -> str:
    if not row.is_served:
        return f"[{row.status}](refused.md)"
    return f"{code(row.ours)} {row.status}" + (f": {row.why}" if row.why else "")


def _older(row: Name) -> list[str]:
    return [code(short_path(row.old)), row.versions, _here(row), row.native]


def _moved(module: Module) -> list[str]:
    today = code(short_path(module.now)) if module.now else f"{module.status}: {module.why}"
    return [code(short_path(module.path)), module.versions or "1.0 - 1.8", today]
