"""Paths of the old library in strings: of ``mock.patch``, of dynamic imports, of configurations, of annotations."""

import ast
import re

from compat.migrate import names
from compat.migrate.recorder import Recorder, in_string
from compat.migrate.sources import PROBLEMS
from compat.migrate.values import NOTHING, Thing, Values

__all__ = ["mentions_package", "parse_annotation", "read_import", "read_looked_up", "read_string"]

_PATH = re.compile(r"(?:aitoolbox|AIToolbox)(?:[.:][^\W\d]\w*)*")


def _target(node: ast.expr) -> names.Target | None:
    text = node.value if isinstance(node, ast.Constant) else None
    if not isinstance(text, str) or not _PATH.fullmatch(text) or not re.search("[.:]", text):
        return None
    return names.find(text.replace(":", "."))


def read_string(recorder: Recorder, node: ast.Constant) -> None:
    """Note a string that is the path of a name of the old library, as those of configurations are.

    Paths of modules are no uses: loggers and files are called like them.
    """
    target = _target(node)
    if target is not None and target.kind in ("name", "member"):
        recorder.use("string", target, node)


def read_looked_up(recorder: Recorder, node: ast.expr) -> None:
    """Note a string that a function looks up, if it is a path of the old library or meant to be one."""
    target = _target(node)
    if target is None:
        return
    parent = names.find(target.path.rpartition(".")[0])
    if target.kind != "unknown" or (parent.path.count(".") > 0 and parent.kind != "unknown"):
        recorder.use("string", target, node)
    else:
        text = f"The string {target.written!r} looks like a path of AIToolbox, which has none like it."
        recorder.remark(text, node)


def read_import(
    recorder: Recorder, node: ast.expr, package: ast.expr | None = None, kind: str = "dynamic import"
) -> Values:
    """Read the argument of a call that imports a module by name, and return the module.

    Args:
        recorder: Where the use goes.
        node: The argument.
        package: The package that a relative path starts from.
        kind: What the use is called.
    """
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
    if text is None:
        if mentions_package(node):
            recorder.remark(
                "The path of this import is computed when the program runs: what it imports is not known.", node
            )
        return NOTHING
    if text.startswith(".") and isinstance(package, ast.Constant) and isinstance(package.value, str):
        up = len(text) - len(text.lstrip("."))
        base = package.value.split(".")
        text = ".".join([*base[: len(base) - up + 1], text.lstrip(".")])
    if not _PATH.fullmatch(text):
        return NOTHING
    target = names.find(text.replace(":", "."))
    recorder.use(kind, target, node)
    return frozenset({Thing(target)}) if target.kind in ("module", "name") else NOTHING


def mentions_package(node: ast.AST) -> bool:
    """Tell whether a string in an expression speaks of the old library."""
    texts = (inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant))
    return any(isinstance(text, str) and names.PACKAGE in text.lower() for text in texts)


def parse_annotation(node: ast.Constant) -> ast.expr | None:
    """Parse an annotation that is written as a string; None if it is none."""
    try:
        parsed = ast.parse(str(node.value), mode="eval").body
    except PROBLEMS:
        return None
    in_string(ast.walk(parsed), node)
    return parsed
