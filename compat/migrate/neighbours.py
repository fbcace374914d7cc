"""Modules that checked files import and that are not among them: read only to know what they hold.

They are looked for as Python would, in the folder of a script or in that which holds the outermost package.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

__all__ = ["imported_files"]

# What these hold is known from the table.
_OTHERS = frozenset({"aitoolbox", "compat"})


def imported_files(tree: ast.Module, importer: Path) -> Iterator[Path]:
    """Yield the files that the imports of a program may lead to and that are there.

    Args:
        tree: The program.
        importer: Where it is, absolute.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] not in _OTHERS:
                    yield from _steps(_root(importer.parent), alias.name.split("."))
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] not in _OTHERS):
            folder = _above(importer.parent, node.level - 1) if node.level else _root(importer.parent)
            parts = node.module.split(".") if node.module else []
            yield from _steps(folder, parts)
            for alias in node.names:
                yield from _files(folder.joinpath(*parts, alias.name))


def _root(folder: Path) -> Path:
    """Return the folder from which a module of a folder is imported."""
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def _above(folder: Path, levels: int) -> Path:
    for _ in range(levels):
        folder = folder.parent
    return folder


def _steps(folder: Path, parts: list[str]) -> Iterator[Path]:
    """Yield the files of a module and of the packages that it is in."""
    for end in range(len(parts) + 1):
        yield from _files(folder.joinpath(*parts[:end]))


def _files(module: Path) -> Iterator[Path]:
    for file in (module.with_name(f"{module.name}.py") if module.name else module, module / "__init__.py"):
        try:
            if file.is_file():
                yield file
        except (OSError, ValueError):
            # A name that no file can have, or a folder that may not be looked into.
            continue
