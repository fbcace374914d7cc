"""Notes the uses of the old API in one file, each once, and where it stands."""

import ast
from collections.abc import Iterable
from dataclasses import replace

from compat._surface import surface
from compat.migrate.findings import Finding, Place, Remark
from compat.migrate.names import Target, Verdict, verdict
from compat.migrate.sources import Chunk

__all__ = ["Recorder"]

_LONGEST = 200


class Recorder:
    """Collects the findings and remarks of one file.

    Args:
        shown: The file, as the user would name it.

    Attributes:
        chunk: The part of the file that is read.
        is_asking: Whether the program only asks if there is such a thing: what is not there is then no use.
        is_guarded: Whether the program goes on if an import fails.
    """

    def __init__(self, shown: str) -> None:
        """Start with nothing."""
        self.shown = shown
        self.chunk = Chunk(tree=ast.Module([], []), lines=())
        self._findings: dict[tuple[Place, str], Finding] = {}
        self._remarks: dict[tuple[Place, str], Remark] = {}
        self.is_asking = False
        self.is_guarded = False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, by place."""
        return tuple(sorted(self._findings.values(), key=lambda found: (found.place, found.name)))

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """The remarks, by place."""
        return tuple(sorted(self._remarks.values(), key=lambda remark: (remark.place, remark.text)))

    def use(self, kind: str, target: Target, node: ast.AST, *, at_name: bool = False, is_called: bool = False) -> None:
        """Note a use of something of the old library.

        Args:
            kind: How it is used, as in a finding.
            target: What is used.
            node: Where.
            at_name: Whether the place is that of the last name in the node, not that of its beginning.
            is_called: Whether it is called, rather than named alone.
        """
        name = target.written if target.kind == "foreign" else target.path
        said = verdict(target)
        if self.is_asking and said.status in ("refused", "unknown"):
            return
        # What stands in for a name that is not served may be imported, named and subclassed.
        stands_in = target.kind == "name" and target.row in surface().names and said.status in ("later", "refused")
        is_met = not (stands_in and not is_called) and not (self.is_guarded and kind == "import")
        self._note(kind, name, target.written, said, self._place(node, at_name), is_met)

    def refuse(self, kind: str, name: str, said: Verdict, node: ast.AST) -> None:
        """Note something that looks like a name of the old library, and is an error."""
        self._note(kind, name, name, said, self._place(node))

    def argument(self, name: str, said: Verdict, node: ast.AST) -> None:
        """Note an argument of which the table has something to say."""
        self._note("argument", name, name, said, self._place(node))

    def remark(self, text: str, node: ast.AST) -> None:
        """Note something that is no use, once for each place."""
        place = self._place(node)
        self._remarks.setdefault((place, text), Remark(place, text))

    def _note(self, kind: str, name: str, written: str, said: Verdict, place: Place, is_met: bool = True) -> None:
        code = self.chunk.line(place.line).strip()
        code = code if len(code) <= _LONGEST else code[: _LONGEST - 3] + "..."
        found = Finding(
            place,
            kind,
            name,
            written,
            said.status,
            said.why,
            said.quirks,
            said.native,
            said.nearest,
            said.versions,
            code,
            is_met,
            said.is_harmless,
        )
        known = self._findings.setdefault((place, name), found)
        if is_met and not known.is_met:
            self._findings[(place, name)] = replace(known, is_met=True)

    def _place(self, node: ast.AST, at_name: bool = False) -> Place:
        line, offset = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        if at_name and isinstance(node, ast.Attribute) and not getattr(node, "in_string", False):
            line = node.end_lineno or line
            offset = (node.end_col_offset or 0) - len(node.attr.encode())
        return Place(self.shown, self.chunk.cell, line, self.chunk.column(line, offset))


def in_string(nodes: Iterable[ast.AST], place: ast.AST) -> None:
    """Let nodes that were parsed out of a string stand where the string stands."""
    for node in nodes:
        ast.copy_location(node, place)
        node.in_string = True  # type: ignore[attr-defined]
