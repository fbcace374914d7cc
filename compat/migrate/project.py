"""Which of the checked files an import leads to.

An import is looked for as Python would: from the folder of the importing file on, and in those above it, which covers
a script's own folder, a project's root and a ``src`` folder. Nothing outside the checked paths is looked at.
"""

from collections.abc import Iterable
from pathlib import PurePath

from compat.migrate.values import NOTHING, Facts, InProject, Value, Values

__all__ = ["Project"]


class Project:
    """The checked Python files, by their places.

    Args:
        files: Their paths, absolute.
    """

    def __init__(self, files: Iterable[str]) -> None:
        """Index the files."""
        self._files = set(files)
        self._resolved: dict[tuple[str, str, int], InProject | None] = {}
        self._folders = {str(parent) for file in self._files for parent in PurePath(file).parents}

    def add(self, file: str) -> None:
        """Add a file, before anything is looked for."""
        self._files.add(file)
        self._folders.update(str(parent) for parent in PurePath(file).parents)

    def file_of(self, module: str) -> str:
        """Return the file of a module, by the module's path without a suffix; nothing for a folder without one."""
        for file in (f"{module}.py", str(PurePath(module, "__init__.py")), f"{module}.pyw"):
            if file in self._files:
                return file
        return ""

    def is_module(self, module: str) -> bool:
        """Tell whether there is such a module, or a folder that can be one."""
        return bool(self.file_of(module)) or module in self._folders

    def resolve(self, importer: str, dotted: str, level: int) -> InProject | None:
        """Return the module that an import leads to, or None if it is not among the checked files.

        Args:
            importer: The importing file.
            dotted: The path of the module as it is written; empty for ``from . import``.
            level: The number of dots before it.
        """
        # Files are read several times, and many files of a folder import the same.
        asked = (str(PurePath(importer).parent), dotted, level)
        if asked not in self._resolved:
            self._resolved[asked] = self._resolve(PurePath(asked[0]), dotted, level)
        return self._resolved[asked]

    def _resolve(self, folder: PurePath, dotted: str, level: int) -> InProject | None:
        parts = dotted.split(".") if dotted else []
        if level:
            for _ in range(level - 1):
                folder = folder.parent
            module = str(folder.joinpath(*parts))
            return InProject(module) if self.is_module(module) else None
        for root in (folder, *folder.parents):
            for base in (root, root / "src"):
                module = str(base.joinpath(*parts))
                # A mere folder would be found too easily: it takes a file to stop the search.
                if self.file_of(module):
                    return InProject(module)
        return None

    def packages(self, importer: str, dotted: str) -> InProject | None:
        """Return the first package of a dotted path, which is what ``import a.b.c`` binds."""
        found = self.resolve(importer, dotted, 0)
        if found is None:
            return None
        top = PurePath(found.path)
        for _ in range(dotted.count(".")):
            top = top.parent
        return InProject(str(top))

    def attribute(self, module: str, name: str, facts: Facts) -> Values:
        """Return what a name of a module among the checked files may be."""
        file = self.file_of(module)
        exported: set[Value] = facts.exports(file).get(name, set()) if file else set()
        inner = str(PurePath(module, name))
        if not exported and self.is_module(inner):
            return frozenset({InProject(inner)})
        return frozenset(exported) if exported else NOTHING
