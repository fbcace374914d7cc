"""Arguments -> one frozen plan. Every refusal is made here, with its reason, before anything is changed.

Phases: 1. ``check_construction`` reads the constructor's arguments; 2. ``check_fit`` reads those of ``fit`` together
with the loop's attributes, which may have been reassigned in between; 3. ``plan_fit`` freezes what the Trainer needs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from compat import _compiled
from compat._amp import scaler_options
from compat._distributed.failures import check_main_guard
from compat._evaluation import check_loader, length_of
from compat._lightning.arguments import (
    accumulation_problems,
    data_parallel_problems,
    duration_problems,
    replicas,
    trainer_arguments,
    unknown_arguments,
    whole,
)
from compat._lightning.flags import Flags, PrecisionName, ddp_settings, precision_of, read_flags
from compat._lightning.limits import limit_problems
from compat._lightning.processes import ddp_problems, dealing_problems
from compat._lightning.registration import native_callbacks, native_problems
from compat.callbacks._given import as_list
from compat.callbacks._native import is_native
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import (
    CompatError,
    InvalidArgumentError,
    InvalidTypeError,
    ZeroArgumentError,
    raise_problems,
)
from compat.model import ModelWrap, TTModel
from compat.parallel import TTParallelBase
from compat.utils import is_empty_function

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = [
    "FitPlan",
    "Processes",
    "auto_eval",
    "check_construction",
    "check_fit",
    "ddp_arguments",
    "device_of",
    "is_own",
    "loader_problems",
    "note_arguments",
    "plan_fit",
]

GPU_MODES = ("single", "dp", "ddp")


@dataclass(frozen=True)
class Processes:
    """The processes of a fit, seen from one of them.

    Attributes:
        rank: Its index among all.
        size: Their number.
        local_size: Their number on its machine.
        backend: What they talk by.
    """

    rank: int
    size: int
    local_size: int
    backend: str

    @property
    def nodes(self) -> int:
        """The number of machines."""
        return self.size // self.local_size


@dataclass(frozen=True)
class FitPlan:
    """What the Trainer of one fit needs to know.

    Attributes:
        device: Where the model trains.
        precision: Lightning's name for the precision.
        max_epochs: An upper bound for the Trainer to start with; the real range is read after ``on_train_begin``.
        replicas: The devices of a data parallel model, none without CUDA; ``None`` if the model is not parallel.
        processes: This process among those of the fit; ``None`` if it trains alone.
        flags: What ``lightning_args`` asks for.
        callbacks: Lightning's callbacks.
    """

    device: torch.device
    precision: PrecisionName
    max_epochs: int
    replicas: tuple[torch.device, ...] | None = None
    processes: Processes | None = None
    flags: Flags = field(default_factory=Flags)
    callbacks: tuple[Any, ...] = ()

    @property
    def accelerator(self) -> str:
        """Lightning's name for the kind of device."""
        return "cuda" if self.device.type == "cuda" else "cpu"


def plan_fit(loop: "TrainLoop") -> FitPlan:
    """Freeze what the Trainer needs.

    Args:
        loop: The facade, its callbacks registered.

    Returns:
        The plan.
    """
    device = loop.device
    if device == torch.device("cuda"):
        device = torch.device("cuda", torch.cuda.current_device())
    # At least one epoch: with none Lightning would fire no hook, and the old loop runs begin and end all the same.
    max_epochs = max(1, loop._compat.target.num_epochs or 1)
    return FitPlan(
        device=device,
        precision=precision_of(loop),
        max_epochs=max_epochs,
        replicas=replicas(loop),
        processes=_processes(loop),
        flags=loop._compat.flags,
        callbacks=native_callbacks(loop),
    )


def _processes(loop: "TrainLoop") -> Processes | None:
    ranks = loop._compat.ranks
    if ranks is None:
        return None
    return Processes(ranks.rank, ranks.size, loop._compat.local_size, dist.get_backend())


def check_construction(
    model: Any, use_amp: Any, gpu_mode: Any, cuda_device_idx: Any, lightning_args: Any = None
) -> Flags:
    """Check the constructor's arguments, all of them, and raise once.

    Args:
        model: ``TrainLoop(model)``.
        use_amp: ``TrainLoop(use_amp=)``.
        gpu_mode: ``TrainLoop(gpu_mode=)``.
        cuda_device_idx: ``TrainLoop(cuda_device_idx=)``.
        lightning_args: ``TrainLoop(lightning_args=)``.

    Returns:
        What ``lightning_args`` asks for.

    Raises:
        InvalidTypeError: The model is of a kind that no loop can train, or an option of the scaler is unknown.
        InvalidArgumentError: No such CUDA device, or no such mode, or ``lightning_args`` contradicts another argument.
        RefusedError: ``lightning_args`` asks for something that is not served.
    """
    problems: list[CompatError] = []
    model = _compiled.inside(model)
    if not isinstance(model, TTModel | ModelWrap):
        inside = " TrainLoop(gpu_mode='dp') takes the model inside it: model.module."
        problems.append(
            InvalidTypeError(
                f"model is a {type(model).__name__}. TrainLoop trains a TTModel, or a ModelWrap of a torch module and a"
                " feed definition. Derive the model from TTModel, or wrap it: ModelWrap(model, feed_definition)."
                f"{inside if isinstance(model, TTParallelBase) else ''}"
            )
        )
    try:
        scaler_options(use_amp)
    except CompatError as problem:
        problems.append(problem)
    if cuda_device_idx is not None and torch.cuda.is_available() and cuda_device_idx >= torch.cuda.device_count():
        problems.append(
            InvalidArgumentError(
                f"cuda_device_idx={cuda_device_idx!r}, but this machine has {torch.cuda.device_count()} CUDA devices."
                f" Use an index from 0 to {torch.cuda.device_count() - 1}, or None for the current device."
            )
        )
    problems += _gpu_mode_problems(gpu_mode)
    flags, found = read_flags(lightning_args, use_amp=use_amp, gpu_mode=gpu_mode, cuda_device_idx=cuda_device_idx)
    raise_problems([*problems, *found])
    return flags


def device_of(cuda_device_idx: int | None, flags: Flags) -> torch.device:
    """Return the device of a loop: CUDA where there is one, else the CPU.

    Args:
        cuda_device_idx: The index of the CUDA device; ``None`` leaves the choice to torch.
        flags: What ``lightning_args`` asks for.
    """
    if flags.accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    cuda_device_idx = flags.device_index if cuda_device_idx is None else cuda_device_idx
    return torch.device("cuda") if cuda_device_idx is None else torch.device("cuda", cuda_device_idx)


def _gpu_mode_problems(gpu_mode: Any) -> list[CompatError]:
    if gpu_mode in GPU_MODES:
        return []
    return [InvalidArgumentError(f"gpu_mode={gpu_mode!r} is not a mode. Use 'single', 'dp' or 'ddp'.")]


def check_fit(
    loop: "TrainLoop",
    num_epochs: Any,
    num_iterations: Any,
    callbacks: Any,
    grad_accumulation: Any,
    further: Mapping[str, Any],
) -> list[AbstractCallback]:
    """Check the arguments of ``fit`` against the loop, all of them, and raise once.

    Args:
        loop: The facade.
        num_epochs: ``fit(num_epochs=)``.
        num_iterations: ``fit(num_iterations=)``.
        callbacks: ``fit(callbacks=)``.
        grad_accumulation: ``fit(grad_accumulation=)``.
        further: What else ``fit`` was given by name.

    Returns:
        The callbacks as a list.

    Raises:
        InvalidArgumentError: A value that is not allowed.
        InvalidTypeError: An object of the wrong kind.
        WorkerError: The program trains while a worker imports it.
        MissingAttributeError: The model lists an attribute for its parallel wrapper that it does not have.
    """
    problems = duration_problems(num_epochs, num_iterations)
    problems += _gpu_mode_problems(loop.gpu_mode)
    if loop.gpu_mode == "ddp":
        check_main_guard()
    as_list, found = _callbacks(loop, callbacks)
    problems += found
    problems += accumulation_problems(grad_accumulation)
    problems += trainer_arguments(further)
    problems += _optimizer_problems(loop.optimizer)
    problems += _auto_eval_problems(loop.end_auto_eval, loop._compat.quirks.fixed("Q17"))
    if loop.gpu_mode == "dp":
        problems += data_parallel_problems(loop, further, is_own(loop, "_train_dp"))
    if loop.gpu_mode == "ddp" and is_own(loop, "_train_ddp"):
        settings, found = ddp_settings(loop._compat.flags, further)
        problems += found or ddp_problems(loop, settings, as_list)
    loads_in_process = loop.gpu_mode == "ddp" and further.get("in_process_data_load")
    if (
        not problems
        and not loads_in_process
        and _has_epochs_left(loop, num_epochs)
        and not _may_swap_loaders([*loop.callbacks, *loop.callbacks_handler.callbacks_cache, *as_list])
    ):
        problems += loader_problems(loop, num_iterations, grad_accumulation)
        problems += limit_problems(loop)
        if not problems and loop.gpu_mode == "ddp" and is_own(loop, "_spawn_fit"):
            problems += dealing_problems(loop.train_loader)
    raise_problems(problems)
    return as_list


def ddp_arguments(loop: "TrainLoop", further: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``fit`` passes on to ``_train_ddp``: what it was given, and what ``lightning_args`` add.

    Args:
        loop: The facade.
        further: What ``fit`` was given by name.
    """
    return ddp_settings(loop._compat.flags, further)[0]


def _has_epochs_left(loop: "TrainLoop", num_epochs: int) -> bool:
    return num_epochs <= 0 or loop.epoch < num_epochs


def is_own(loop: "TrainLoop", *methods: str) -> bool:
    """Tell whether a loop's methods are this package's own, and not overridden by a subclass or on the object.

    Args:
        loop: The facade.
        methods: Their names.
    """
    return all(str(getattr(getattr(loop, name), "__module__", "")).startswith("compat.") for name in methods)


def _callbacks(loop: "TrainLoop", callbacks: Any) -> tuple[list[AbstractCallback], list[CompatError]]:
    # As the handler will check them when it registers them; here because the loop has not changed yet.
    try:
        given = as_list(callbacks)
        loop.callbacks_handler.enforce_callbacks_quality(given)
    except CompatError as problem:
        return [], [problem]
    return given, native_problems(loop, given)


def _optimizer_problems(optimizer: Any) -> list[CompatError]:
    if not isinstance(optimizer, type):
        return []
    name = optimizer.__name__
    return [
        InvalidTypeError(
            f"optimizer is the class {name}. Pass an instance, such as {name}(model.parameters(), lr=0.01)."
        )
    ]


def note_arguments(loop: "TrainLoop", callbacks: Any, unknown: Iterable[str]) -> None:
    """Count arguments of ``fit`` that the old loop cannot take or does not look at (Q08, Q09).

    Args:
        loop: The facade.
        callbacks: ``fit(callbacks=)``.
        unknown: The names of keyword arguments that ``fit`` does not have.
    """
    if unknown:
        loop._compat.quirks.met("Q08", unknown_arguments(unknown))
    if callbacks is not None and not isinstance(callbacks, list):
        loop._compat.quirks.met("Q09", f"callbacks is a {type(callbacks).__name__}")


def _auto_eval_problems(end_auto_eval: Any, lenient: bool) -> list[CompatError]:
    allowed = "Use True for every epoch, False for none, or n for every n-th epoch."
    value = auto_eval(end_auto_eval, lenient)
    if value is None:
        return [InvalidArgumentError(f"end_auto_eval={end_auto_eval!r} says neither when nor whether. {allowed}")]
    if value == 0 and value is not False:
        return [ZeroArgumentError(f"end_auto_eval=0 would divide the epoch's index by zero. {allowed}")]
    return []


def _may_swap_loaders(callbacks: Sequence[AbstractCallback]) -> bool:
    """Tell whether a callback has a hook that runs before the first batch, and so may bring another loader."""
    hooks = ("on_train_loop_registration", "on_multiprocess_start", "on_train_begin", "on_epoch_begin")
    own_check = AbstractCallback.register_train_loop_object
    # A mock passes for a callback, and its class has none of these.
    return any(
        getattr(type(callback), "register_train_loop_object", None) is not own_check
        or any(
            getattr(type(callback), hook, None) is not getattr(AbstractCallback, hook)
            and not is_empty_function(getattr(callback, hook))
            for hook in hooks
        )
        for callback in callbacks
        if not _is_scheduler(callback) and not is_native(callback)
    )


def _is_scheduler(callback: AbstractCallback) -> bool:
    # Ours, and known to touch no loader.
    return type(callback).__module__.startswith("compat.schedulers")


def loader_problems(loop: "TrainLoop", num_iterations: Any, grad_accumulation: Any) -> list[CompatError]:
    """List what is wrong with the loaders of a loop that is about to train.

    Args:
        loop: The facade.
        num_iterations: ``fit(num_iterations=)``.
        grad_accumulation: ``fit(grad_accumulation=)``.

    Returns:
        The problems, in the order in which the old loop would have met them.
    """
    problems: list[CompatError] = []
    purposes = [("train", loop.train_loader, True)]
    # An overridden method may never look at its loader.
    evaluates = auto_eval(loop.end_auto_eval, loop._compat.quirks.fixed("Q17")) is not False
    if evaluates and is_own(loop, "evaluate_model_loss"):
        if is_own(loop, "auto_execute_end_of_epoch", "evaluate_loss_on_validation_set"):
            purposes.append(("evaluate the loss on the validation set", loop.validation_loader, False))
        if is_own(loop, "auto_execute_end_of_training", "evaluate_loss_on_test_set"):
            purposes.append(("evaluate the loss on the test set", loop.test_loader, False))
    for purpose, loader, needed in purposes:
        if loader is None and not needed:
            continue
        try:
            check_loader(loader, purpose)
        except CompatError as problem:
            problems.append(problem)
    if problems and num_iterations and length_of(loop.train_loader) == 0:
        problems[0] = ZeroArgumentError(
            f"{problems[0]} num_iterations={num_iterations} cannot be divided by 0 batches."
        )
    needs_length = "num_iterations" if num_iterations else "grad_accumulation > 1" if grad_accumulation > 1 else ""
    if not problems and needs_length and length_of(loop.train_loader) is None:
        problems.append(
            InvalidTypeError(
                f"The train loader, a {type(loop.train_loader).__name__}, has no length, and {needs_length} needs one."
                " Give it a __len__, or train by num_epochs with grad_accumulation=1."
            )
        )
    return problems


def auto_eval(end_auto_eval: Any, lenient: bool) -> bool | int | None:
    """Read ``TrainLoop(end_auto_eval=)``.

    Args:
        end_auto_eval: The old loop takes an exact bool or int, and anything else for False.
        lenient: Take other whole numbers, truth values and ``None`` for what they say (quirk Q17).

    Returns:
        Whether to evaluate, or every how many epochs; ``None`` for a value that says neither.
    """
    if type(end_auto_eval) in (bool, int):
        return end_auto_eval  # type: ignore[no-any-return]
    if not lenient or end_auto_eval is None:
        return False
    if type(end_auto_eval).__name__ in ("bool", "bool_"):
        return bool(end_auto_eval)
    return whole(end_auto_eval)
