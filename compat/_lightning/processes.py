"""The arguments that ``fit`` takes with ``gpu_mode='ddp'``: checked, and turned into a layout of processes."""

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from compat._distributed import dealing
from compat._distributed.errand import TIMEOUT_SECONDS, Layout
from compat._distributed.sharding import sharding_problems
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, raise_problems

if TYPE_CHECKING:
    from compat._lightning.cluster import Place
    from compat.train_loop import TrainLoop

__all__ = ["TIMEOUT", "ddp_problems", "dealing_problems", "plan_processes", "settle_log_folders"]

TIMEOUT = "COMPAT_DDP_TIMEOUT"


def ddp_problems(
    loop: "TrainLoop", settings: Mapping[str, Any], callbacks: Sequence[AbstractCallback]
) -> list[CompatError]:
    """List what is wrong with a fit in several processes, before any is started.

    Args:
        loop: The facade; a subclass may have given ``_train_ddp`` further parameters.
        settings: The arguments that only such a fit has, by name.
        callbacks: The callbacks of the fit.
    """
    if loop._compat.ranks is not None:
        return [
            InvalidArgumentError("A callback cannot call fit again in a fit of several processes. Call it after fit.")
        ]
    defaults = _defaults(loop)
    unknown = [name for name in settings if name not in defaults]
    if unknown:
        return [
            InvalidTypeError(
                f"fit got {', '.join(sorted(unknown))}, which gpu_mode='ddp' does not take. Beside the arguments of"
                f" every fit it takes {', '.join(defaults)}."
            )
        ]
    asked = {**defaults, **settings}
    problems = _kinds(asked)
    if problems:
        return problems
    problems += _meeting_problems(asked)
    if problems:
        return problems
    try:
        layout, _ = plan_processes(loop, asked, "num_gpus" in settings)
    except CompatError as problem:
        return [problem]
    size = layout.processes * layout.nodes
    problems += _rank_problems([*loop.callbacks, *loop.callbacks_handler.callbacks_cache, *callbacks], size)
    if loop._compat.flags.strategy == "fsdp":
        problems += sharding_problems(loop.model, loop.optimizer)
    problems += _model_problems(loop.model, asked["ddp_model_args"] or {})
    return problems


def _defaults(loop: "TrainLoop") -> dict[str, Any]:
    parameters = list(signature(loop._train_ddp).parameters.values())[4:]
    return {parameter.name: parameter.default for parameter in parameters}


def _kinds(asked: Mapping[str, Any]) -> list[CompatError]:
    problems: list[CompatError] = []
    for name, least in (("num_nodes", 1), ("node_rank", 0), ("num_gpus", 0)):
        value = asked[name]
        if not isinstance(value, int) or isinstance(value, bool):
            problems.append(InvalidTypeError(f"{name}={value!r} is a {type(value).__name__}. Pass a whole number."))
        elif value < least:
            problems.append(InvalidArgumentError(f"{name}={value}, but it is {least} at least."))
    if not problems and asked["node_rank"] >= asked["num_nodes"]:
        problems.append(
            InvalidArgumentError(
                f"node_rank={asked['node_rank']}, but num_nodes={asked['num_nodes']}: machines are numbered from 0."
            )
        )
    problems += [
        InvalidTypeError(f"{name}={asked[name]!r} is a {type(asked[name]).__name__}. Pass a string.")
        for name in ("backend", "init_method")
        if not isinstance(asked[name], str)
    ]
    if not isinstance(asked["ddp_model_args"], Mapping | None):
        kind = type(asked["ddp_model_args"]).__name__
        problems.append(
            InvalidTypeError(f"ddp_model_args is a {kind}. Pass a dict such as {{'find_unused_parameters': True}}.")
        )
    loads = asked["in_process_data_load"]
    problems += [
        InvalidTypeError(
            f"in_process_data_load holds a {type(each).__name__}. Pass an InMultiProcessDataLoad or a list of them."
        )
        for each in (loads if isinstance(loads, list | tuple) else [loads])
        if each is not None and not isinstance(each, AbstractCallback)
    ]
    return problems


def settle_log_folders(loop: "TrainLoop") -> None:
    """Let loggers choose their folder in this process, which can then name it; in a worker it would stay there.

    Args:
        loop: The facade.
    """
    given = loop._compat.flags.trainer.get("logger")
    chosen = loop._compat.log_folders
    loggers: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    for logger in loggers:
        names = {each.__name__ for each in type(logger).__mro__}
        if not names & {"CSVLogger", "TensorBoardLogger"}:
            continue
        # XXX: no public word for it (lightning 2.6). A later fit gets a folder of its own: in the old one its workers
        # would begin anew, over what is there.
        if logger._version is None or any(logger is one for one in chosen):
            logger._version = None
            logger._version = logger.version
            chosen.append(logger)


def plan_processes(loop: "TrainLoop", asked: Mapping[str, Any], num_gpus_given: bool) -> tuple[Layout, dict[str, Any]]:
    """Lay out the processes of a fit.

    Args:
        loop: The facade.
        asked: All arguments of ``_train_ddp`` that only such a fit has, by name.
        num_gpus_given: Whether ``num_gpus`` is the caller's; else a cluster may say something else.

    Returns:
        The layout, and what the workers' ``_spawn_fit`` is given.

    Raises:
        InvalidArgumentError: There are no such devices, or a cluster has laid out something else.
    """
    # Here and not above: who trains in one process need not wait for Lightning.
    from compat._lightning import cluster

    here = cluster.place()
    if here is not None and _starts_its_own(here, asked):
        here = None
    raise_problems(_place_problems(here, asked, num_gpus_given) if here else [])
    processes, nodes, node_rank = asked["num_gpus"], asked["num_nodes"], asked["node_rank"]
    if here is not None:
        processes = here.local_size or here.size // nodes
        nodes, node_rank = here.size // processes, here.node_rank
    raise_problems(_device_problems(asked, processes))
    init_method, endpoint = asked["init_method"], None
    if here is None:
        endpoint = _endpoint(init_method, nodes)
        init_method = "env://" if init_method.startswith("tcp://") else init_method
    elif init_method == "env://" and here.cluster != "torchrun":
        init_method = f"tcp://{here.address}"
    timeout = loop._compat.flags.timeout or _timeout_of_environment()
    layout = Layout(processes, nodes, node_rank, endpoint, timeout, here.local_rank if here else None)
    return layout, {
        "node_rank": node_rank,
        "num_gpus": processes,
        "world_size": nodes * processes,
        "backend": asked["backend"],
        "init_method": init_method,
        "on_gpu": asked["on_gpu"],
        "ddp_model_args": dict(asked["ddp_model_args"] or {}),
        # These two the old library did not pass.
        "timeout": timeout.total_seconds(),
        "seed": torch.initial_seed(),
    }


def _starts_its_own(here: "Place", asked: Mapping[str, Any]) -> bool:
    """Tell whether the cluster has started one process on each machine, which is to start the others, as programs did.

    Args:
        here: Where the cluster has put this process.
        asked: What ``fit`` was asked for.
    """
    return (
        here.cluster != "torchrun"
        and here.local_size == 1
        and here.size == asked["num_nodes"]
        and asked["num_gpus"] > 1
    )


def _place_problems(here: "Place", asked: Mapping[str, Any], num_gpus_given: bool) -> list[CompatError]:
    local = here.local_size or here.size // asked["num_nodes"]
    laid_out = f"{here.cluster} has started {here.size} processes, {local} on this machine"
    problems: list[CompatError] = []
    if num_gpus_given and asked["num_gpus"] != local:
        problems.append(
            InvalidArgumentError(
                f"num_gpus={asked['num_gpus']}, but {laid_out}. Use num_gpus={local}, or leave it out."
            )
        )
    if asked["num_nodes"] not in (1, here.size // local):
        problems.append(
            InvalidArgumentError(
                f"num_nodes={asked['num_nodes']}, but {laid_out}, so on {here.size // local} machines. Leave it out."
            )
        )
    if asked["node_rank"] not in (0, here.node_rank):
        problems.append(
            InvalidArgumentError(
                f"node_rank={asked['node_rank']}, but {here.cluster} says {here.node_rank}. Leave it out."
            )
        )
    if here.rank != here.node_rank * local + here.local_rank:
        problems.append(
            InvalidArgumentError(
                f"{here.cluster} numbers its processes otherwise than machine by machine: rank {here.rank} is process"
                f" {here.local_rank} of machine {here.node_rank}, with {local} on each. Use its block distribution."
            )
        )
    return problems


def _device_problems(asked: Mapping[str, Any], processes: int) -> list[CompatError]:
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    on_cpu = "on_gpu=False, num_gpus=2, backend='gloo'"
    if asked["on_gpu"] and processes > there:
        return [
            InvalidArgumentError(
                f"num_gpus={processes} with on_gpu=True, but this machine has {there} CUDA devices. To train on the CPU"
                f" in two processes use fit(..., {on_cpu})."
            )
        ]
    if processes == 0:
        what = f"there are {there} to use" if asked["on_gpu"] else "on the CPU the number of processes has to be said"
        return [
            InvalidArgumentError(
                f"num_gpus=0, so that nothing would be trained: {what}. To train on the CPU in two processes use"
                f" fit(..., {on_cpu}); num_gpus is the number of processes on each machine."
            )
        ]
    if not asked["on_gpu"] and asked["backend"] == "nccl":
        return [InvalidArgumentError(f"backend='nccl' needs CUDA devices, and on_gpu=False. Use fit(..., {on_cpu}).")]
    return []


def _meeting_problems(asked: Mapping[str, Any]) -> list[CompatError]:
    """List what is wrong with how the processes are to find each other and to talk."""
    backend, init_method = asked["backend"], asked["init_method"]
    known = [name for name in dist.Backend.backend_list if name != "undefined"]
    # One for all, or one for each kind of device: cpu:gloo,cuda:nccl.
    named = [part.rpartition(":")[2].strip().lower() for part in backend.split(",")]
    problems: list[CompatError] = []
    if not all(name in known for name in named):
        problems.append(
            InvalidArgumentError(
                f"backend={backend!r} is none of {', '.join(known)}. Use 'nccl' on GPUs and 'gloo' on the CPU."
            )
        )
    host, _, port = init_method.removeprefix("tcp://").split("?")[0].rpartition(":")
    is_tcp = init_method.startswith("tcp://") and host and port.isdecimal() and 0 < int(port) < 65536
    if not (is_tcp or init_method.startswith(("env://", "file://"))):
        problems.append(
            InvalidArgumentError(
                f"init_method={init_method!r} says of no place where the processes meet. Use 'env://', which is what is"
                " meant where nothing is said, 'tcp://host:port' or 'file://path'."
            )
        )
    return problems


def _endpoint(init_method: str, nodes: int) -> str | None:
    """Find out where the processes are to meet: where the caller says, else on a free port of this machine."""
    if init_method.startswith("tcp://"):
        return init_method.removeprefix("tcp://").split("?")[0]
    port = os.environ.get("MASTER_PORT")
    address = os.environ.get("MASTER_ADDR", "127.0.0.1" if nodes == 1 else "")
    if port and address:
        return f"{address}:{port}"
    if nodes > 1:
        raise InvalidArgumentError(
            f"num_nodes={nodes}, and the machines do not know where to meet. Set MASTER_ADDR and MASTER_PORT to the"
            " first machine and a free port of it on all of them, or pass init_method='tcp://host:port'."
        )
    return None


def _timeout_of_environment() -> timedelta:
    text = os.environ.get(TIMEOUT, "").strip()
    try:
        seconds = float(text) if text else TIMEOUT_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise InvalidArgumentError(f"{TIMEOUT}={text!r} is no number of seconds above 0.")
    return timedelta(seconds=seconds)


def dealing_problems(loader: Any) -> list[CompatError]:
    """List what keeps a loader from being dealt out to processes, whatever their number.

    Args:
        loader: The training loader, if nobody brings another one.
    """
    try:
        dealing.deal_out(loader, 0, 1)
    except InvalidTypeError as problem:
        return [problem]
    except CompatError:
        # What depends on the number is said where the processes are.
        return []
    return []


def _rank_problems(callbacks: Sequence[AbstractCallback], size: int) -> list[CompatError]:
    return [
        InvalidArgumentError(
            f"device_idx_execution={callback.device_idx_execution} of {type(callback).__name__}, but there are {size}"
            f" processes. Use a number from 0 to {size - 1}, or None for all."
        )
        for callback in callbacks
        if (wanted := getattr(callback, "device_idx_execution", None)) is not None and wanted >= size
    ]


def _model_problems(model: Any, ddp_model_args: Mapping[str, Any]) -> list[CompatError]:
    problems: list[CompatError] = []
    if isinstance(model, nn.DataParallel | DistributedDataParallel):
        problems.append(
            InvalidTypeError(
                f"The model is a {type(model).__name__}. gpu_mode='ddp' wraps it itself: pass model.module."
            )
        )
    allowed = [name for name in signature(DistributedDataParallel).parameters if name != "module"]
    unknown = [str(name) for name in ddp_model_args if name not in allowed]
    if unknown:
        told = ", ".join(map(repr, unknown))
        problems.append(InvalidTypeError(f"ddp_model_args has unknown keys: {told}. Allowed are {', '.join(allowed)}."))
    return problems
