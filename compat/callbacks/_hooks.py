"""Which hooks a callback has: those that do something; and how they are run one after the other."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from compat.callbacks.abstract import AbstractCallback
from compat.utils import is_empty_function

if TYPE_CHECKING:
    from compat._distributed.ranks import Ranks

__all__ = ["code_of", "has_hook", "one_by_one", "waiting_hooks"]

_GRADIENT_HOOKS = ("on_after_gradient_update", "on_after_optimizer_step")


def code_of(hook: Callable[..., Any]) -> Any:
    return getattr(hook, "__code__", None)


def has_hook(callback: AbstractCallback, name: str) -> bool:
    hook: Callable[..., Any] = getattr(callback, name)
    # Asked at every epoch for the hooks that were empty; comparing functions is far cheaper than reading byte code.
    if getattr(hook, "__func__", None) is getattr(AbstractCallback, name):
        return False
    return not is_empty_function(hook)


def waiting_hooks(callbacks: Iterable[AbstractCallback]) -> list[str]:
    """Name the gradient hooks of callbacks that need somebody to set ``grad_cb_used``."""
    return [
        f"{type(callback).__name__}.{name}"
        for callback in callbacks
        for name in _GRADIENT_HOOKS
        if has_hook(callback, name) and not _is_built_in(getattr(callback, name))
    ]


def _is_built_in(hook: Callable[..., Any]) -> bool:
    """Tell whether a hook is one of this package's own callbacks, which set ``grad_cb_used`` themselves."""
    return str(getattr(hook, "__module__", "")).startswith("compat.")


def one_by_one(callbacks: Iterable[AbstractCallback], ranks: "Ranks") -> Iterator[AbstractCallback]:
    """Yield callbacks; while the hook of one that runs in a single process runs, that process stands alone.

    Args:
        callbacks: The callbacks.
        ranks: The processes of the fit.
    """
    for callback in callbacks:
        with nullcontext() if callback.device_idx_execution is None else ranks.standing_alone():
            yield callback
