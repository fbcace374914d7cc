"""``lightning_args``: the strategy, by name or as one of Lightning's objects, in terms of what the loop does itself."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from compat import _ledger
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError

if TYPE_CHECKING:
    from compat._lightning.flags import Flags

__all__ = ["mode_problems", "read_strategy"]

_UNUSED = "find_unused_parameters"
_NAMES: dict[str, dict[str, Any]] = {
    "dp": {"strategy": "dp"},
    "single_device": {"strategy": "single_device"},
    "fsdp": {"strategy": "fsdp"},
    # Lightning's two ways to start processes; the loop has one of its own.
    **{
        f"{start}{suffix}": {"strategy": "ddp", "model_args": args}
        for start in ("ddp", "ddp_spawn")
        for suffix, args in (
            ("", {}),
            (f"_{_UNUSED}_true", {_UNUSED: True}),
            (f"_{_UNUSED}_false", {_UNUSED: False}),
        )
    },
}
_SHOWN = "Use 'ddp' or 'fsdp' with gpu_mode='ddp', or leave it out."
_FORK = "Forked processes hang where this one has used torch's threads."
_OWN_LOOP = "It wraps Lightning's module and takes over the backward pass, and both are the loop's own here."
_REFUSED = {
    "ddp_fork": f"{_FORK} Use 'ddp', which starts new processes",
    "ddp_notebook": f"{_FORK} Use 'ddp', which works in notebooks, too",
    "fsdp_cpu_offload": "Weights that wait on the CPU are not served. Use 'fsdp'",
    "deepspeed": f"{_OWN_LOOP} Use 'fsdp', which shards the same",
    "model_parallel": f"{_OWN_LOOP} Use 'fsdp'",
    "single_xla": "The loop trains on the CPU and on CUDA. Leave it out",
    "single_tpu": "The loop trains on the CPU and on CUDA. Leave it out",
    "xla": "The loop trains on the CPU and on CUDA. Use 'ddp'",
    "hpu": "The loop trains on the CPU and on CUDA. Use 'ddp'",
}


def read_strategy(value: Any) -> dict[str, Any]:
    """Read ``strategy``.

    Args:
        value: A name that Lightning knows, a ``DDPStrategy``, ``FSDPStrategy`` or ``SingleDeviceStrategy``.

    Returns:
        The fields of the settings. Of an object everything that differs from its defaults is honoured.

    Raises:
        RefusedError: A strategy, or a part of one, that cannot be honoured.
        InvalidArgumentError: No such strategy.
        InvalidTypeError: Neither a name nor a strategy.
    """
    if not isinstance(value, str):
        return _read_object(value)
    name = value.lower()
    if name in _NAMES:
        return _NAMES[name]
    for start, why in _REFUSED.items():
        if name.startswith(start):
            raise _refusal(repr(value), f"{why}.")
    near = get_close_matches(name, _NAMES, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    raise InvalidArgumentError(f"lightning_args={{'strategy': {value!r}}} is no strategy.{meant} {_SHOWN}")


def _refusal(shown: str, why: str) -> RefusedError:
    _ledger.refused(f"TrainLoop(lightning_args={{'strategy': {shown}}})", why)
    return RefusedError(f"lightning_args={{'strategy': {shown}}} is not served. {why}")


def _read_object(strategy: Any) -> dict[str, Any]:
    kind = type(strategy)
    if not any(base.__module__.startswith(("lightning.", "pytorch_lightning.")) for base in kind.__mro__):
        raise InvalidTypeError(f"lightning_args={{'strategy': ...}} is a {kind.__name__}. {_SHOWN}")
    # Whoever has made one has imported it; nobody else waits for it.
    from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy

    shown = f"{kind.__name__}(...)"
    if kind is DDPStrategy:
        return _read_ddp(strategy, DDPStrategy())
    if kind is FSDPStrategy:
        return _read_fsdp(strategy, FSDPStrategy())
    if kind is SingleDeviceStrategy:
        raise _refusal(shown, "The loop is told its device: use 'accelerator': 'cpu', or 'devices': [i] for CUDA.")
    if issubclass(kind, DDPStrategy | FSDPStrategy):
        parent = DDPStrategy if issubclass(kind, DDPStrategy) else FSDPStrategy
        raise _refusal(
            shown,
            f"Its own methods would not run: the loop wraps the model itself. Pass a plain {parent.__name__}(...), and"
            " override TrainLoop._spawn_fit for what each process does.",
        )
    raise _refusal(shown, f"{_OWN_LOOP} {_SHOWN}")


def _read_ddp(strategy: Any, default: Any) -> dict[str, Any]:
    reasons = {
        "_ddp_comm_hook": "the loop averages several losses by hand, which no hook sees",
        "_ddp_comm_state": "the loop averages several losses by hand, which no hook sees",
        "_ddp_comm_wrapper": "the loop averages several losses by hand, which no hook sees",
        "_model_averaging_period": "the loop averages gradients in every batch",
        "_start_method": f"the loop starts new processes. {_FORK}",
    }
    changed = _changed(strategy, default)
    if changed.get("_start_method") == "spawn":
        del changed["_start_method"]
    fields = {"strategy": "ddp", "model_args": dict(changed.pop("_ddp_kwargs", {})), **_group(changed)}
    _refuse_the_rest(strategy, changed, reasons)
    return fields


def _read_fsdp(strategy: Any, default: Any) -> dict[str, Any]:
    reasons = {
        "sharding_strategy": "weights, gradients and optimizer state are spread over all processes",
        "auto_wrap_policy": "a batch gathers the weights of the whole model, since get_loss may use any of them",
        "cpu_offload": "weights that wait on the CPU are not served",
        "mixed_precision": "the precision is lightning_args={'precision': ...}",
        "_state_dict_type": "a checkpoint holds the full state, so that every loop can load it",
        "_activation_checkpointing_kwargs": "torch.utils.checkpoint in the model does the same",
    }
    changed = _changed(strategy, default)
    options = dict(changed.pop("kwargs", {}))
    fields = {"strategy": "fsdp", **_group(changed)}
    if options.get("use_orig_params"):
        del options["use_orig_params"]
    _refuse_the_rest(strategy, {**changed, **options}, reasons)
    return fields


def _group(changed: dict[str, Any]) -> dict[str, Any]:
    """Take out what the process group is made with."""
    return {
        field: changed.pop(name)
        for field, name in (("timeout", "_timeout"), ("backend", "_process_group_backend"))
        if name in changed
    }


def _changed(strategy: Any, default: Any) -> dict[str, Any]:
    """Return the attributes of a strategy that are not those of one made without arguments."""
    standard = vars(default)
    return {
        name: value
        for name, value in vars(strategy).items()
        if name not in standard or not (value is standard[name] or _is_equal(value, standard[name]))
    }


def _is_equal(value: Any, standard: Any) -> bool:
    if type(value) is not type(standard):
        return False
    # A helper of Lightning's is made anew for each strategy, and holds nothing.
    return bool(value == standard) or (not vars(value) if hasattr(value, "__dict__") else False)


def _refuse_the_rest(strategy: Any, changed: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    if not changed:
        return
    parts = [
        f"{name.lstrip('_').removesuffix('_kwargs')} ({reasons.get(name, 'the loop has nothing to give it to')})"
        for name in changed
    ]
    raise _refusal(f"{type(strategy).__name__}(...)", f"It sets {'; '.join(parts)}. Leave that out.")


def mode_problems(given: Mapping[str, Any], flags: "Flags", gpu_mode: Any) -> list[CompatError]:
    """List where the strategy, the number of devices or that of machines contradicts ``gpu_mode``.

    Args:
        given: ``lightning_args`` without what asks for nothing.
        flags: What was read of it.
        gpu_mode: ``TrainLoop(gpu_mode=)``.
    """
    strategy, problems = flags.strategy, []
    shown = _shown(given.get("strategy"))
    if strategy == "dp" and gpu_mode != "dp":
        problems.append(_contradiction(shown, gpu_mode, "Set gpu_mode='dp', and leave the strategy out."))
    if strategy in ("ddp", "fsdp") and gpu_mode != "ddp":
        problems.append(_contradiction(shown, gpu_mode, "It trains in several processes: set gpu_mode='ddp'."))
    if strategy == "single_device" and gpu_mode != "single":
        problems.append(
            _contradiction(shown, gpu_mode, "It trains in one process on one device: leave one of them out.")
        )
    several = {"devices": flags.devices, "num_nodes": flags.num_nodes}
    for name, number in several.items():
        # What the mode 'dp' says of its devices is said where devices are looked at.
        if (number or 1) > 1 and gpu_mode != "ddp" and (gpu_mode, name) != ("dp", "devices"):
            advice = "Several processes are started with gpu_mode='ddp'."
            problems.append(_contradiction(f"'{name}': {given[name]!r}", gpu_mode, advice))
    return problems


def _shown(strategy: Any) -> str:
    return f"'strategy': {strategy!r}" if isinstance(strategy, str) else f"'strategy': {type(strategy).__name__}(...)"


def _contradiction(setting: str, gpu_mode: Any, advice: str) -> CompatError:
    return InvalidArgumentError(f"lightning_args={{{setting}}} contradicts gpu_mode={gpu_mode!r}. {advice}")
