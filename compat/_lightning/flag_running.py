"""``lightning_args``: what the Trainer of a fit is handed as it was given: loggers, profilers, time limits, switches.

Nothing here imports Lightning for a program that has not: whoever passes one of its objects has imported it, so an
object is looked up in ``sys.modules``.
"""

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from compat.callbacks._native import check_native, is_native, package_of_class
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError, raise_problems

__all__ = ["RUNNING", "combination_problems", "read_callbacks", "read_plugins", "read_running"]

_LIGHTNING = "lightning.pytorch"
_OTHER_PACKAGE = "pytorch_lightning"


def read_running(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[CompatError]]:
    """Read what the Trainer is handed as it is.

    Args:
        given: ``lightning_args`` without what asks for nothing.

    Returns:
        Its arguments, and all that is wrong with them.
    """
    handed_on: dict[str, Any] = {}
    problems: list[CompatError] = []
    for name, check in RUNNING.items():
        if name in given:
            try:
                handed_on[name] = check(name, given[name])
            except CompatError as problem:
                problems.append(problem)
    return handed_on, problems


def _shown(name: str, value: Any) -> str:
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple | dict | os.PathLike | timedelta)
    return f"lightning_args={{{name!r}: {value!r}}}" if plain else f"lightning_args={{{name!r}: {_kind(value)}(...)}}"


def _kind(value: Any) -> str:
    return type(value).__name__


def is_of(value: Any, module: str, name: str) -> bool:
    """Tell whether an object is of one of Lightning's classes, without importing Lightning.

    Args:
        value: The object.
        module: The module of the class, below ``lightning``.
        name: The name of the class.
    """
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(value, found)


def _check_package(shown: str, value: Any) -> None:
    """Refuse an object of the package ``pytorch_lightning``, whose classes are others than those of ``lightning``."""
    modules = [base.__module__.partition(".")[0] for base in type(value).__mro__]
    if _OTHER_PACKAGE in modules and "lightning" not in modules:
        raise InvalidTypeError(
            f"{shown} comes from the package `pytorch_lightning`, whose classes the Trainer of `lightning` does not"
            " know. Import it from `lightning.pytorch` instead."
        )


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{_shown(name, value)} is a {_kind(value)}. Use True or False.")
    return value


def _deterministic(name: str, value: Any) -> Any:
    if not isinstance(value, bool) and value != "warn":
        error = InvalidArgumentError if isinstance(value, str) else InvalidTypeError
        raise error(f"{_shown(name, value)} says neither. Use True, False or 'warn'.")
    return value


def _count(name: str, value: Any) -> int:
    if type(value) is not int:
        raise InvalidTypeError(f"{_shown(name, value)} is a {_kind(value)}. Use a whole number, 0 or more.")
    if value < 0:
        raise InvalidArgumentError(f"{_shown(name, value)} is below 0. Use a whole number, 0 or more.")
    return value


def _autolog(name: str, value: Any) -> bool:
    # Asked only here, for it takes the import of Lightning.
    import inspect

    from lightning.pytorch import Trainer

    if name not in inspect.signature(Trainer.__init__).parameters:
        from lightning import __version__

        raise InvalidArgumentError(f"{_shown(name, value)}: Lightning {__version__} has no such flag. Leave it out.")
    return _switch(name, value)


def _directory(name: str, value: Any) -> Any:
    if not isinstance(value, str | os.PathLike):
        raise InvalidTypeError(f"{_shown(name, value)} is a {_kind(value)}. Use a path, as text or a pathlib.Path.")
    return value


def _duration(name: str, value: Any) -> Any:
    shown = _shown(name, value)
    allowed = "Use a datetime.timedelta, its arguments as a dict such as {'minutes': 5}, or text as 'DD:HH:MM:SS'."
    if not isinstance(value, str | Mapping | timedelta):
        raise InvalidTypeError(f"{shown} is a {_kind(value)}. {allowed}")
    try:
        duration = _timedelta(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(f"{shown} is no duration: {error}. {allowed}") from error
    if duration < timedelta():
        raise InvalidArgumentError(f"{shown} is below 0. {allowed}")
    return dict(value) if isinstance(value, Mapping) else value


def _timedelta(value: "str | Mapping[str, Any] | timedelta") -> timedelta:
    """Read a duration as Lightning does; what cannot be read is one of Python's own errors."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        if not value:
            raise ValueError("it is empty")
        return timedelta(**value)
    if not re.fullmatch(r"\d+:\d\d:\d\d:\d\d", value.strip()):
        raise ValueError("the text has another form")
    days, hours, minutes, seconds = map(int, value.split(":"))
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _logger(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    one = not isinstance(value, Iterable) or is_of(value, f"{_LIGHTNING}.loggers", "Logger")
    loggers = [value] if one else list(value)
    for logger in loggers:
        _check_package(f"lightning_args={{{name!r}: {_kind(logger)}(...)}}", logger)
        if isinstance(logger, type) or not is_of(logger, f"{_LIGHTNING}.loggers", "Logger"):
            kind = f"the class {logger.__name__}" if isinstance(logger, type) else f"a {_kind(logger)}"
            raise InvalidTypeError(
                f"lightning_args={{{name!r}: ...}} has {kind}, which is no logger. Use a logger of"
                " lightning.pytorch.loggers, such as CSVLogger('logs'), a list of them, True for Lightning's own"
                " choice, or False for none."
            )
    return value if one else loggers


_PROFILERS = ("simple", "advanced", "pytorch", "xla")


def _profiler(name: str, value: Any) -> Any:
    shown = _shown(name, value)
    allowed = "Use 'simple', 'advanced' or 'pytorch', or a profiler of lightning.pytorch.profilers."
    if isinstance(value, str):
        if value.lower() not in _PROFILERS:
            raise InvalidArgumentError(f"{shown} is no profiler. {allowed}")
        if value.lower() == "xla":
            raise RefusedError(f"{shown} is not served: the loop trains on the CPU and on CUDA. {allowed}")
        return value.lower()
    _check_package(shown, value)
    if not is_of(value, f"{_LIGHTNING}.profilers", "Profiler"):
        raise InvalidTypeError(f"{shown} is a {_kind(value)}. {allowed}")
    return value


# What each is read by; the order is that of the table in the guide.
RUNNING: dict[str, Callable[[str, Any], Any]] = {
    "logger": _logger,
    "profiler": _profiler,
    "max_time": _duration,
    "min_epochs": _count,
    "min_steps": _count,
    "log_every_n_steps": _count,
    "default_root_dir": _directory,
    "enable_checkpointing": _switch,
    "enable_progress_bar": _switch,
    "enable_model_summary": _switch,
    "enable_autolog_hparams": _autolog,
    "detect_anomaly": _switch,
    "deterministic": _deterministic,
    "benchmark": _switch,
    "barebones": _switch,
}


def read_plugins(value: Any) -> tuple[Any, ...]:
    """Read ``plugins``.

    Args:
        value: A ``CheckpointIO``, or a list of one.

    Returns:
        The plugin.

    Raises:
        RefusedError: A plugin of another kind.
        InvalidTypeError: No plugin.
        InvalidArgumentError: More than one.
    """
    plugins = tuple(value) if isinstance(value, list | tuple) else (value,)
    allowed = "Use a CheckpointIO of lightning.pytorch.plugins, which decides how checkpoints are written."
    for plugin in plugins:
        shown = f"lightning_args={{'plugins': {_kind(plugin) if not isinstance(plugin, str) else repr(plugin)}}}"
        _check_package(shown, plugin)
        if is_of(plugin, "lightning.fabric.plugins", "CheckpointIO"):
            continue
        if type(plugin).__module__.startswith("lightning.") or isinstance(plugin, str):
            raise RefusedError(
                f"{shown} is not served: the loop has its own precision and its own processes. {allowed} For the"
                " precision use 'precision', for several processes gpu_mode='ddp'."
            )
        raise InvalidTypeError(f"{shown} is no plugin. {allowed}")
    if len(plugins) > 1:
        raise InvalidArgumentError(f"lightning_args={{'plugins': ...}} has {len(plugins)} CheckpointIO. Use one.")
    return plugins


def read_callbacks(value: Any) -> tuple[Any, ...]:
    """Read ``callbacks``; which of Lightning's will not do in a loop is found where ``fit`` looks at all of them.

    Args:
        value: A callback of Lightning's, or a list or tuple of them.

    Returns:
        The callbacks.

    Raises:
        InvalidTypeError: Something else, or something else among them.
    """
    callbacks = tuple(value) if isinstance(value, list | tuple) else (value,)
    raise_problems(problem for each in callbacks if (problem := _callback_problem(each)) is not None)
    return callbacks


def _callback_problem(given: Any) -> CompatError | None:
    shown = "lightning_args={'callbacks': ...} has"
    if is_native(given):
        try:
            check_native(given)
        except CompatError as problem:
            return problem
        return None
    if isinstance(given, type) and (issubclass(given, AbstractCallback) or package_of_class(given)):
        return InvalidTypeError(f"{shown} the class {given.__name__}. Pass an instance, {given.__name__}(...).")
    if isinstance(given, AbstractCallback):
        return InvalidTypeError(
            f"{shown} the {_kind(given)}, a callback of the old kind, which the loop runs and not the Trainer. Pass it"
            " to fit(callbacks=[...])."
        )
    return InvalidTypeError(
        f"{shown} {given!r}, a {_kind(given)}. Use a list of callbacks of lightning.pytorch, or a single one."
    )


# What a fit for raw speed takes none of.
_SLOW = (
    "enable_checkpointing", "logger", "enable_progress_bar", "log_every_n_steps", "enable_model_summary",
    "fast_dev_run", "detect_anomaly", "profiler",
)  # fmt: skip
_SWITCHED_OFF = {
    "enable_checkpointing": ("Checkpoint", "a checkpoint callback"),
    "enable_progress_bar": ("ProgressBar", "a progress bar"),
}


def combination_problems(given: Mapping[str, Any], callbacks: tuple[Any, ...]) -> list[CompatError]:
    """List which settings Lightning would refuse together.

    Args:
        given: ``lightning_args`` without what asks for nothing.
        callbacks: The callbacks among them.
    """
    problems: list[CompatError] = []
    if given.get("barebones"):
        problems += [
            InvalidArgumentError(
                f"{_shown(name, given[name])} contradicts 'barebones': True, which is for measuring the Trainer's raw"
                " speed. Leave one of them out."
            )
            for name in _SLOW
            if given.get(name)
        ]
    for name, (kind, what) in _SWITCHED_OFF.items():
        found = [each for each in callbacks if is_of(each, f"{_LIGHTNING}.callbacks", kind)]
        # For raw speed both kinds are off.
        by = name if given.get(name) is False else "barebones" if given.get("barebones") else None
        if by is not None and found:
            problems.append(
                InvalidArgumentError(
                    f"{_shown(by, given[by])} contradicts the {_kind(found[0])} in 'callbacks', {what}. Leave one of"
                    " them out."
                )
            )
    bars = [each for each in callbacks if is_of(each, f"{_LIGHTNING}.callbacks", "ProgressBar")]
    if len(bars) > 1:
        problems.append(
            InvalidArgumentError(
                f"lightning_args={{'callbacks': ...}} has {len(bars)} progress bars, and a Trainer shows one. Leave out"
                f" all but one of {', '.join(map(_kind, bars))}."
            )
        )
    return problems
