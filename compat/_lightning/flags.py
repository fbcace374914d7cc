"""``TrainLoop(lightning_args=)``: what of Lightning's Trainer a loop takes, and where it goes.

Phases: 1. ``read_flags`` checks each setting, and all of them against the constructor's other arguments;
2. ``ddp_settings`` merges what is meant for several processes into the arguments of ``fit``. A setting is honoured or
refused, and never dropped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import torch

from compat import _ledger
from compat._lightning import flag_devices, flag_limits, flag_running, flag_strategies
from compat._lightning.flag_limits import LIMITS, Limits
from compat._lightning.flag_refused import REFUSED, refusal
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["Flags", "PrecisionName", "ddp_settings", "precision_of", "read_flags"]

PrecisionName = Literal["32-true", "16-mixed", "bf16-mixed"]

SERVED = (
    "accelerator", "callbacks", "devices", "inference_mode", *LIMITS, "num_nodes", "plugins",
    "precision", *flag_running.RUNNING, "strategy",
)  # fmt: skip

# Lightning's defaults that are not None: they ask for nothing.
_DEFAULTS: dict[str, Any] = {
    "accelerator": "auto",
    "accumulate_grad_batches": 1,
    "barebones": False,
    "check_val_every_n_epoch": 1,
    "detect_anomaly": False,
    "devices": "auto",
    "enable_autolog_hparams": True,
    "fast_dev_run": False,
    "inference_mode": True,
    "max_steps": -1,
    "num_nodes": 1,
    "overfit_batches": 0.0,
    "reload_dataloaders_every_n_epochs": 0,
    "strategy": "auto",
    "sync_batchnorm": False,
    "use_distributed_sampler": True,
}

_PRECISIONS: dict[Any, PrecisionName] = {
    32: "32-true",
    "32": "32-true",
    "32-true": "32-true",
    16: "16-mixed",
    "16": "16-mixed",
    "16-mixed": "16-mixed",
    "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
}
_TRUE_PRECISIONS = {
    64: "torch.float64",
    "64": "torch.float64",
    "64-true": "torch.float64",
    "bf16-true": "torch.bfloat16",
    "16-true": "torch.float16",
}


@dataclass(frozen=True)
class Flags:
    """What ``lightning_args`` asks for, in plain values: it travels to other processes.

    Attributes:
        strategy: ``"auto"``, ``"ddp"`` or ``"fsdp"``; or the mode once more, as ``"dp"`` or ``"single_device"``.
        precision: ``"32-true"``, ``"16-mixed"`` or ``"bf16-mixed"``; ``None`` leaves it to ``use_amp``.
        devices: The number of processes on this machine, ``None`` if that is open.
        num_nodes: The number of machines, ``None`` if that is open.
        accelerator: ``"cpu"``, ``"cuda"``, or ``None`` for what there is.
        device_index: The CUDA device of a loop in one process, ``None`` if that is open.
        model_args: Arguments of ``DistributedDataParallel``.
        timeout: How long the processes wait for each other, ``None`` if that is open.
        backend: The backend of the process group, ``None`` if that is open.
        trainer: Arguments of the Trainer that it is handed as they were given.
        plugins: What the Trainer is handed beside the loop's own plugins.
        callbacks: The callbacks that were given here, and not to ``fit``; not checked yet.
        limits: How many batches of each set a fit uses.
    """

    strategy: str = "auto"
    precision: PrecisionName | None = None
    devices: int | None = None
    num_nodes: int | None = None
    accelerator: str | None = None
    device_index: int | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    timeout: timedelta | None = None
    backend: str | None = None
    trainer: Mapping[str, Any] = field(default_factory=dict)
    plugins: tuple[Any, ...] = ()
    callbacks: tuple[Any, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def use_amp(self) -> bool:
        """Whether they switch on what ``use_amp=True`` does."""
        return self.precision == "16-mixed"

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The type that losses and predictions are computed in, ``None`` where ``use_amp`` decides."""
        return torch.bfloat16 if self.precision == "bf16-mixed" else None


def read_flags(
    lightning_args: Any, *, use_amp: Any = False, gpu_mode: Any = "single", cuda_device_idx: Any = None
) -> tuple[Flags, list[CompatError]]:
    """Read ``TrainLoop(lightning_args=)`` against the constructor's other arguments.

    Args:
        lightning_args: Arguments of Lightning's Trainer by name, or ``None``. Its defaults ask for nothing.
        use_amp: ``TrainLoop(use_amp=)``.
        gpu_mode: ``TrainLoop(gpu_mode=)``.
        cuda_device_idx: ``TrainLoop(cuda_device_idx=)``.

    Returns:
        The settings, and all that is wrong with them.
    """
    if lightning_args is None:
        return Flags(), []
    if not isinstance(lightning_args, Mapping):
        return Flags(), [
            InvalidTypeError(
                f"lightning_args is a {type(lightning_args).__name__}. Pass a dict with arguments of Lightning's"
                " Trainer, such as {'precision': 'bf16-mixed'}."
            )
        ]
    flags, problems = Flags(), [_unknown(key) for key in lightning_args if key not in SERVED and key not in REFUSED]
    given = {key: value for key, value in lightning_args.items() if not _asks_nothing(key, value)}
    problems += [error for key in given if key in REFUSED and (error := refusal(key, given[key])) is not None]
    readers: dict[str, Callable[[Any], dict[str, Any]]] = {
        "strategy": flag_strategies.read_strategy,
        "accelerator": flag_devices.read_accelerator,
        "devices": lambda value: flag_devices.read_devices(value, gpu_mode),
        "num_nodes": flag_devices.read_nodes,
        "precision": _read_precision,
        "inference_mode": _read_inference_mode,
        "plugins": lambda value: {"plugins": flag_running.read_plugins(value)},
        "callbacks": lambda value: {"callbacks": flag_running.read_callbacks(value)},
    }
    for key, reader in readers.items():
        if key in given:
            try:
                flags = replace(flags, **reader(given[key]))
            except CompatError as problem:
                problems.append(problem)
    limits, found = flag_limits.read_limits(given)
    handed_on, further = flag_running.read_running(given)
    problems += [*found, *further]
    if limits.fast_dev_run:
        # It keeps loggers and checkpoints from writing.
        handed_on["fast_dev_run"] = limits.fast_dev_run
    flags = replace(flags, limits=limits, trainer=handed_on)
    # A setting that could not be read contradicts nothing.
    if not problems:
        problems += flag_strategies.mode_problems(given, flags, gpu_mode)
        problems += flag_devices.device_problems(given, flags, gpu_mode, cuda_device_idx)
        problems += _precision_problems(given, flags, use_amp)
        problems += flag_limits.limit_problems(given, limits)
        problems += flag_running.combination_problems(given, flags.callbacks)
    return flags, problems


def _asks_nothing(key: Any, value: Any) -> bool:
    if value is None or (isinstance(value, str) and value == "auto"):
        return True
    # By type, too: a batch limit of 1 is another than one of 1.0, and True is no number.
    return key in _DEFAULTS and type(value) is type(_DEFAULTS[key]) and bool(value == _DEFAULTS[key])


def _unknown(key: Any) -> CompatError:
    near = get_close_matches(str(key), [*SERVED, *REFUSED], n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return InvalidTypeError(
        f"lightning_args has {key!r}, which is no argument of Lightning's Trainer.{meant} Taken are"
        f" {_listed(sorted(SERVED))}."
    )


def _read_inference_mode(value: Any) -> dict[str, Any]:
    # What the loop evaluates is without gradients, and never in inference mode: nothing has to be set.
    if not isinstance(value, bool):
        raise InvalidTypeError(
            f"lightning_args={{'inference_mode': {value!r}}} is a {type(value).__name__}. Use True or False."
        )
    return {}


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _read_precision(value: Any) -> dict[str, Any]:
    allowed = "Use '32-true', '16-mixed' or 'bf16-mixed'."
    shown = f"lightning_args={{'precision': {value!r}}}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidTypeError(f"{shown} is a {type(value).__name__}. {allowed}")
    if value in _PRECISIONS:
        return {"precision": _PRECISIONS[value]}
    if value in _TRUE_PRECISIONS:
        dtype = _TRUE_PRECISIONS[value]
        why = "It would convert the model and every batch, and here get_loss prepares its batches by itself."
        _ledger.refused(f"TrainLoop({shown})", why)
        raise RefusedError(
            f"{shown} is not served. {why} Convert them there: model.to({dtype}) before the optimizer is made, and the"
            f" floating tensors of a batch with .to({dtype}) in get_loss and get_predictions. {allowed}"
        )
    if str(value).startswith("transformer-engine"):
        why = "It replaces layers of the model by those of NVIDIA's Transformer Engine."
        _ledger.refused(f"TrainLoop({shown})", why)
        raise RefusedError(
            f"{shown} is not served. {why} Replace them in the model itself, or use 'bf16-mixed'. {allowed}"
        )
    raise InvalidArgumentError(f"{shown} is no precision. {allowed}")


def _precision_problems(given: Mapping[str, Any], flags: Flags, use_amp: Any) -> list[CompatError]:
    is_amp = use_amp is not None and use_amp is not False
    if flags.strategy == "fsdp" and (flags.use_amp or is_amp):
        source = f"use_amp={use_amp!r}" if is_amp else f"'precision': {given['precision']!r}"
        return [
            RefusedError(
                f"{source} is not served with the strategy 'fsdp': each process would look for infinite gradients in"
                " its own shard alone. Use lightning_args={'precision': 'bf16-mixed'}, which scales no gradients."
            )
        ]
    if flags.precision is None or flags.use_amp or not is_amp:
        return []
    return [
        InvalidArgumentError(
            f"lightning_args={{'precision': {given['precision']!r}}} contradicts use_amp={use_amp!r}, which is"
            " precision='16-mixed'. Leave one of them out."
        )
    ]


def precision_of(loop: "TrainLoop") -> PrecisionName:
    """Return Lightning's name for the precision of a loop.

    Args:
        loop: The facade, whose ``use_amp`` may have been set since it was made.
    """
    if loop._compat.autocast_dtype is not None:
        return "bf16-mixed"
    return "16-mixed" if loop.use_amp else "32-true"


def ddp_settings(flags: Flags, further: Mapping[str, Any]) -> tuple[dict[str, Any], list[CompatError]]:
    """Merge the settings for several processes into what ``fit`` was given.

    Args:
        flags: What ``lightning_args`` asks for.
        further: The arguments of ``fit(...)`` that only ``gpu_mode='ddp'`` has, by name.

    Returns:
        ``fit``'s arguments with those that the settings add, and one problem for each contradiction.
    """
    settings = dict(further)
    problems: list[CompatError] = []
    for name, value, source in _wanted(flags, further):
        if name in further and further[name] != value:
            problems.append(
                InvalidArgumentError(
                    f"{source} contradicts fit({name}={further[name]!r}): it asks for {name}={value!r}. Leave one of"
                    " them out."
                )
            )
        settings[name] = value
    if flags.strategy == "fsdp" and further.get("ddp_model_args"):
        problems.append(
            InvalidArgumentError(
                f"lightning_args={{'strategy': 'fsdp'}} contradicts fit(ddp_model_args={further['ddp_model_args']!r}),"
                " which is for DistributedDataParallel. Leave one of them out."
            )
        )
    if flags.model_args:
        problems += _merge_model_args(settings, flags.model_args)
    return settings, problems


def _wanted(flags: Flags, further: Mapping[str, Any]) -> list[tuple[str, Any, str]]:
    """List the arguments of ``fit`` that the settings ask for: name, value and where it comes from."""
    wanted: list[tuple[str, Any, str]] = []
    if flags.devices is not None:
        wanted.append(("num_gpus", flags.devices, f"lightning_args={{'devices': {flags.devices}}}"))
    if flags.num_nodes is not None:
        wanted.append(("num_nodes", flags.num_nodes, f"lightning_args={{'num_nodes': {flags.num_nodes}}}"))
    if flags.backend is not None:
        wanted.append(
            ("backend", flags.backend, f"lightning_args={{'strategy': ...(process_group_backend={flags.backend!r})}}")
        )
    if flags.accelerator is not None:
        on_gpu, source = flags.accelerator == "cuda", f"lightning_args={{'accelerator': {flags.accelerator!r}}}"
        wanted.append(("on_gpu", on_gpu, source))
        if not on_gpu and flags.backend is None:
            wanted.append(("backend", "gloo", source))
    elif flags.devices is not None and not torch.cuda.is_available() and not {"on_gpu", "backend"} & further.keys():
        # Lightning takes what there is: so many processes, here on the CPU.
        wanted += [("on_gpu", False, "lightning_args"), ("backend", flags.backend or "gloo", "lightning_args")]
    return wanted


def _merge_model_args(settings: dict[str, Any], ours: Mapping[str, Any]) -> list[CompatError]:
    given = settings.get("ddp_model_args")
    if given is None:
        settings["ddp_model_args"] = dict(ours)
        return []
    if not isinstance(given, Mapping):
        # What is wrong with it is said where `fit` checks it.
        return []
    settings["ddp_model_args"] = {**given, **ours}
    return [
        InvalidArgumentError(
            f"lightning_args={{'strategy': ...({name}={value!r})}} contradicts fit(ddp_model_args={{{name!r}:"
            f" {given[name]!r}}}). Leave one of them out."
        )
        for name, value in ours.items()
        if name in given and given[name] != value
    ]
