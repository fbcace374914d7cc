"""Compiled models. A loop holds the model inside what ``torch.compile`` makes of it, and keeps it compiled.

``torch.compile(model)`` is a wrapper that lends the methods of the model, but their ``self`` is the model inside: what
``get_loss`` calls would not be compiled, and the keys of the wrapper's state dict begin with ``_orig_mod.``. After
``model.compile()`` the model stays what it is, and calling it runs the compiled code. That is what the loop makes of a
wrapper, as Lightning does: the model inside, compiled in place the way the wrapper was.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from compat.exceptions import InvalidArgumentError, InvalidTypeError

__all__ = ["compile_again", "compiled_parts", "how_compiled", "in_place", "inside"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def inside(model: Any) -> Any:
    """Return the model inside what ``torch.compile`` returned; any other model as it is.

    Args:
        model: The model.
    """
    while _is(model, "OptimizedModule"):
        model = model._orig_mod
    return model


def in_place(model: Any) -> Any:
    """Return the model inside what ``torch.compile`` returned, compiled in the same way; any other as it is.

    Args:
        model: The model.

    Returns:
        The model whose call runs the compiled code, as after ``model.compile()``.

    Raises:
        InvalidArgumentError: The wrapper has hooks of its own, which nobody would call.
    """
    inner = inside(model)
    if inner is model:
        return model
    hooks = [name for name in _HOOKS if model.__dict__.get(name)]
    if hooks:
        raise InvalidArgumentError(
            f"Hooks are registered on what torch.compile returned ({', '.join(hooks)}), and the loop calls the model"
            " inside. Register them on the model that was compiled."
        )
    _compile(inner, model.dynamo_ctx)
    return inner


def compiled_parts(model: nn.Module) -> list[str]:
    """Name the submodules that are compiled, in place or by a wrapper; the model itself is ``""``.

    Args:
        model: The model.
    """
    return [name for name, part in model.named_modules() if _call_of(part) or _is(part, "OptimizedModule")]


def how_compiled(model: nn.Module) -> dict[str, Any]:
    """Return how the parts of a model that are compiled in place were compiled: a pickle of the model leaves it out.

    Args:
        model: The model.

    Returns:
        By the name of the part what :func:`compile_again` takes. It can be pickled if the backend can.

    Raises:
        InvalidTypeError: A part runs something in place of its own call that is not torch's.
    """
    found = {}
    for name, part in model.named_modules():
        call = _call_of(part)
        if call is None:
            continue
        # XXX: torch keeps it nowhere else; tests/test_compile.py notices when it is no longer there.
        cells = [cell.cell_contents for cell in getattr(call, "__closure__", None) or ()]
        contexts = [content for content in cells if _is(content, "OptimizeContext")]
        if not contexts:
            raise InvalidTypeError(
                f"{f'The part {name!r} of the' if name else 'The'} model is compiled in a way that cannot be told to"
                " another process. Compile it by torch.compile(model) or model.compile(), or start the processes with"
                " torchrun, where each compiles its own."
            )
        found[name] = contexts[0]
    return found


def compile_again(model: nn.Module, how: Mapping[str, Any]) -> None:
    """Compile parts of a model that came out of a pickle, as they were before.

    Args:
        model: The model.
        how: What :func:`how_compiled` returned.
    """
    for name, context in how.items():
        _compile(model.get_submodule(name), context)


def _compile(model: nn.Module, context: Any) -> None:
    # The compiler passes over torch's own code, and nothing of a bare nn.Sequential would be compiled. In a function of
    # somebody else's it looks inside; its wrapper does the same.
    is_torchs_own = str(getattr(model.forward, "__module__", "")).startswith("torch.")
    model._compiled_call_impl = context(_called_from_here(model) if is_torchs_own else model._call_impl)


def _called_from_here(model: nn.Module) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return model._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch's own

    return call


def _call_of(model: nn.Module) -> Any:
    """Return what a module runs in place of its own call; ``None`` for one that is not compiled."""
    return model.__dict__.get("_compiled_call_impl")


def _is(thing: Any, name: str) -> bool:
    # Whoever has such a thing has loaded the compiler, which takes a second and is of no use to anyone else.
    compiler = sys.modules.get("torch._dynamo.eval_frame")
    return compiler is not None and isinstance(thing, getattr(compiler, name))
