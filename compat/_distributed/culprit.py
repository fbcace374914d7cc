"""Which object it is that cannot be pickled, and where in the value it is."""

import functools
import inspect
import io
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from compat.exceptions import UnpicklableError

__all__ = ["explained"]

_EXTRA = 'pip install "trainloop-compat[cloudpickle]"'
_DEPTH = 40


def explained(
    value: Any, error: Exception, trial: Callable[[Any], Exception | None], *, cloudpickle: bool
) -> UnpicklableError:
    """Make the error that names the object.

    Args:
        value: What was to be pickled.
        error: How that ended.
        trial: Pickles part of it and returns the error, or ``None``.
        cloudpickle: Whether that was done with cloudpickle.
    """
    path, culprit, why = _innermost(value, error, trial)
    what = _described(culprit)
    subject = f"{path} ({what})" if path else what
    if cloudpickle:
        cure = (
            "Even cloudpickle cannot. Make it in the workers (in `on_multiprocess_start` of a callback, for instance), "
            "or give its class a `__getstate__` that leaves it out."
        )
    elif _is_of_code(culprit):
        cure = (
            f"Define it, or its class, under a name at the top of a module; or {_EXTRA}, and it can be sent as it is."
        )
    else:
        cure = (
            "Make it in the workers (in `on_multiprocess_start` of a callback, for instance), or give its class a "
            f"`__getstate__` that leaves it out. More kinds of objects can be sent after {_EXTRA}."
        )
    return UnpicklableError(
        f"{subject} cannot be sent to the worker processes of gpu_mode='ddp': {type(why).__name__}: {why}. {cure}"
    )


def _innermost(value: Any, error: Exception, trial: Callable[[Any], Exception | None]) -> tuple[str, Any, Exception]:
    path, seen = "", {id(value)}
    for _ in range(_DEPTH):
        for step, child in _children(value, at_root=not path):
            if id(child) in seen:
                continue
            seen.add(id(child))
            failed = trial(child)
            if failed is not None:
                path, value, error = (path + step) if path else step.lstrip("."), child, failed
                break
        else:
            break
    return path, value, error


def _children(value: Any, *, at_root: bool) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with the step that leads there."""
    if isinstance(value, Mapping):
        for key, part in list(value.items()):
            yield (f".{key}" if at_root and isinstance(key, str) else f"[{key!r}]"), part
    elif isinstance(value, list | tuple | set | frozenset):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield ".args", value.args
        yield ".keywords", value.keywords
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value)
    elif not isinstance(value, type | types.ModuleType):
        for name, part in _state(value).items():
            yield f".{name}", part


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f".<variable {name}>", cell.cell_contents
        except ValueError:
            # Not assigned yet.
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield f".<global {name}>", function.__globals__[name]


def _state(thing: Any) -> dict[str, Any]:
    """Return what an object would have pickled, or its attributes where it cannot say."""
    try:
        state = thing.__getstate__()
    # Whatever the user's own method raises: then the attributes are searched.
    except Exception:  # noqa: BLE001
        state = getattr(thing, "__dict__", {})
    if isinstance(state, tuple) and len(state) == 2:
        state = {**(state[0] or {}), **(state[1] or {})}
    if not isinstance(state, dict):
        return {}
    parts: dict[str, Any] = {}
    for name, part in state.items():
        # The parts of a module are attributes to those who read the message.
        if name in ("_modules", "_parameters", "_buffers") and isinstance(part, dict):
            parts.update({str(key): inner for key, inner in part.items()})
        else:
            parts[str(name)] = part
    return parts


def _is_of_code(thing: Any) -> bool:
    if isinstance(thing, type | types.FunctionType):
        return True
    # An object of a class that is no attribute of its module.
    return "<locals>" in type(thing).__qualname__ or type(thing).__module__ == "__main__"


def _described(thing: Any) -> str:
    if isinstance(thing, types.FunctionType):
        place = f"{Path(thing.__code__.co_filename).name}:{thing.__code__.co_firstlineno}"
        if thing.__name__ == "<lambda>":
            return f"a lambda defined at {place}"
        return f"the function {thing.__qualname__} defined at {place}"
    if isinstance(thing, type):
        return f"the class {thing.__qualname__}{_line_of(thing)}"
    if isinstance(thing, types.ModuleType):
        return f"the module {thing.__name__}"
    if isinstance(thing, types.GeneratorType):
        return f"a running generator, {thing.__qualname__}"
    if isinstance(thing, io.IOBase):
        return f"an open file, {getattr(thing, 'name', 'without a name')}"
    kind = type(thing)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return f"an object of the class {module}{kind.__qualname__}{_line_of(kind)}"


def _line_of(kind: type) -> str:
    if "<locals>" not in kind.__qualname__:
        return ""
    try:
        lines = inspect.getsourcelines(kind)[1]
        return f" defined at {Path(inspect.getfile(kind)).name}:{lines}"
    except (OSError, TypeError):
        return ""
