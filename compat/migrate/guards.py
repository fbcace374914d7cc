"""Trainings that begin when a program is imported: worker processes import it, and would begin them again."""

import ast
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compat.migrate.expressions import Expressions

__all__ = ["is_main_guard", "remark_on_import"]

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_TEXT = (
    "gpu_mode='ddp' starts worker processes, and each imports this file, which would start the training again. Put "
    'what starts it under `if __name__ == "__main__":`, as for AIToolbox. A program that torchrun starts need not.'
)


def remark_on_import(reader: "Expressions", node: ast.Call) -> None:
    """Remark on a call that starts worker processes, if it runs when its file is imported.

    Args:
        reader: Where the call stands. A notebook is imported by nobody.
        node: The call.
    """
    chunk = reader.recorder.chunk
    if not chunk.cell and node in _run_on_import(chunk.tree):
        reader.recorder.remark(_TEXT, node)


def is_main_guard(node: ast.AST) -> bool:
    """Tell whether a statement is ``if __name__ == "__main__":``, or something to that effect.

    Args:
        node: The statement.
    """
    return isinstance(node, ast.If) and "__main__" in {
        part.value for part in ast.walk(node.test) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }


def _run_on_import(tree: ast.Module) -> frozenset[ast.Call]:
    """Return the calls that run when a module is imported, also in functions that are called then; kept at the tree."""
    known: frozenset[ast.Call] | None = getattr(tree, "run_on_import", None)
    if known is None:
        known = frozenset(_calls(tree))
        tree.run_on_import = known  # type: ignore[attr-defined]
    return known


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    bodies: list[Iterable[ast.AST]] = [tree.body]
    while bodies:
        for node in _reached(bodies.pop()):
            if isinstance(node, ast.Call):
                yield node
                # Each once: what is called twice is read once, and recursion ends.
                function = functions.pop(node.func.id, None) if isinstance(node.func, ast.Name) else None
                if function is not None:
                    bodies.append(function.body)


def _reached(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yield what runs with some statements: neither bodies of functions nor what the program itself alone runs."""
    queue = list(nodes)
    while queue:
        node = queue.pop()
        if is_main_guard(node):
            queue.extend(node.orelse)  # type: ignore[attr-defined]
        elif not isinstance(node, _SCOPES):
            yield node
            queue.extend(ast.iter_child_nodes(node))
        elif isinstance(node, ast.ClassDef):
            queue.extend(node.body)
