"""One process of a fit in several: it joins the others, trains, and hands back what the fit was for.

The same code runs in the workers that :mod:`compat._distributed.launch` starts and in the processes of torchrun, SLURM
and other clusters. The difference is the end: a worker packs the results for its parent, a process of a cluster keeps
them.
"""

import gc
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from compat._compiled import compile_again
from compat._distributed import dealing, gradients, home, sharding
from compat._distributed.calls import broadcast
from compat._distributed.errand import TIMEOUT_SECONDS, Errand
from compat._distributed.failures import is_secondary
from compat._distributed.luggage import Luggage
from compat._distributed.ranks import Ranks
from compat.callbacks._hooks import one_by_one
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.ddp import DistributedSamplerSetEpoch
from compat.exceptions import QuirkWarning

__all__ = ["joined", "joined_late", "prepare", "run", "train_here", "wrap"]

_LOADERS = ("train_loader", "validation_loader", "test_loader")


def run(luggage: Luggage) -> bytes | None:
    """Run a fit in a worker; what ``launch`` calls in each of them.

    Args:
        luggage: A packed :class:`Errand`.

    Returns:
        What goes home to the parent on this machine; see :func:`compat._distributed.home.pack`.
    """
    # The default one is shared between processes, and left over by a worker that is killed.
    tqdm.set_lock(threading.RLock())
    errand: Errand = luggage.unpack()
    errand.settings.apply()
    if "OMP_NUM_THREADS" not in os.environ:
        # With all cores for each of them the processes get in each other's way; torchrun gives them one.
        torch.set_num_threads(max(errand.settings.threads // int(os.environ["LOCAL_WORLD_SIZE"]), 1))
    # The parent warns, at the line of the program that called fit.
    warnings.filterwarnings("ignore", category=QuirkWarning)
    loop = errand.loop
    compile_again(loop.model, errand.compiled)
    callbacks = home.callbacks_of(loop, errand.arguments)
    things = home.things_of(loop, callbacks)
    local_rank = int(os.environ["LOCAL_RANK"])
    # An override of `_spawn_fit` need not call the original, which says so too.
    loop.ddp_training_mode, loop.ddp_rank = True, int(os.environ["RANK"])
    loop._spawn_fit(local_rank, *errand.arguments)
    parcel = home.pack(loop, callbacks, things, dist.get_rank(), local_rank)
    if dist.get_backend() == "nccl":
        # It asks for that, gloo does not. While a wrapper still lives the process might be aborted.
        loop.model = gradients.unwrapped(loop.model)
        loop._compat.trainer = loop._compat.lightning_module = None
        gc.collect()
        dist.destroy_process_group()
    return parcel


def train_here(loop: Any, gpu: int, arguments: tuple[Any, ...]) -> None:
    """Run a fit in this process, which a cluster or torchrun has started together with the others.

    Args:
        loop: The facade.
        gpu: The index of this process on its machine.
        arguments: The further arguments of ``_spawn_fit``.
    """
    rank = arguments[0]["node_rank"] * arguments[0]["num_gpus"] + gpu
    if rank:
        # One process warns for all.
        warnings.filterwarnings("ignore", category=QuirkWarning)
    whole = {name: getattr(loop, name) for name in _LOADERS}
    loop.ddp_training_mode, loop.ddp_rank = True, rank
    try:
        loop._spawn_fit(gpu, *arguments)
    finally:
        loop.model = gradients.unwrapped(loop.model)
        for name, loader in whole.items():
            setattr(loop, name, loader)
        made, loop._compat.of_this_fit = loop._compat.of_this_fit, []
        loop.callbacks_handler.keep_callbacks(lambda callback: all(callback is not one for one in made))


@contextmanager
def joined(loop: Any, gpu: int, ddp_args: Mapping[str, Any]) -> Iterator[None]:
    """Hold a process among those of a fit: the group, the seed, the device.

    Args:
        loop: The facade.
        gpu: The index of this process on its machine.
        ddp_args: What the facade gives ``_spawn_fit``.
    """
    rank = ddp_args["node_rank"] * ddp_args["num_gpus"] + gpu
    # Old code may call this with arguments of its own making, which lack what the old library did not pass.
    timeout = timedelta(seconds=ddp_args.get("timeout", TIMEOUT_SECONDS))
    if not dist.is_initialized():
        dist.init_process_group(
            ddp_args["backend"],
            init_method=ddp_args["init_method"],
            world_size=ddp_args["world_size"],
            rank=rank,
            timeout=timeout,
        )
    _seed(loop, rank, ddp_args)
    if ddp_args["on_gpu"]:
        torch.cuda.set_device(gpu)
    loop.device = torch.device("cuda", gpu) if ddp_args["on_gpu"] else torch.device("cpu")
    with _among_others(loop, timeout, ddp_args["num_gpus"]):
        yield


@contextmanager
def joined_late(loop: Any) -> Iterator[None]:
    """Hold a process among those of a fit where an override of ``_spawn_fit`` has prepared it without the original.

    Args:
        loop: The facade; its model may be in a wrapper that leaves gradients out.
    """
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size()))
    with _among_others(loop, timedelta(seconds=TIMEOUT_SECONDS), local_size):
        model, arguments = loop.model, {}
        if isinstance(model, DistributedDataParallel):
            arguments = {name: getattr(model, name) for name in ("find_unused_parameters", "broadcast_buffers")}
            model = model.module
        loop.model = model
        loop._compat.has_dealt = True
        wrap(loop, arguments)
        yield


@contextmanager
def _among_others(loop: Any, timeout: timedelta, local_size: int) -> Iterator[None]:
    state, ranks = loop._compat, Ranks(timeout)
    loop.ddp_training_mode, loop.ddp_rank = True, ranks.rank
    state.ranks, state.local_size = ranks, local_size
    try:
        yield
        ranks.meet("the end of the fit")
        if isinstance(loop.model, sharding.ShardedDoor):
            loop.model.undo()
        gradients.share_buffers(loop.model)
    except BaseException as error:
        # Those that wait for this process need not wait any longer.
        ranks.failed(error)
        if is_secondary(error):
            blame = ranks.blame()
            if blame is not None and blame.culprit != ranks.rank:
                raise blame from error
        raise
    finally:
        state.ranks, state.built_here, state.has_dealt = None, [], False
        ranks.close()


def _seed(loop: Any, rank: int, ddp_args: Mapping[str, Any]) -> None:
    """Seed torch as the old library does, with the same number in every process whatever the user did (Q58)."""
    if loop._compat.quirks.fixed("Q58"):
        own = ddp_args.get("seed", torch.initial_seed())
        seed, told = (own + rank) % 2**64, f"torch is seeded with {own} plus the rank"
    else:
        seed, told = 0, "every process seeds torch with 0, so their dropout masks are the same"
    torch.manual_seed(seed)
    loop._compat.quirks.met("Q58", told)


def prepare(loop: Any, callbacks: Any, in_process_data_load: Any) -> None:
    """Register the callbacks that run in this process, load its data, and deal out the training batches.

    Args:
        loop: The facade.
        callbacks: The callbacks of the fit.
        in_process_data_load: Callbacks that make loaders in each process.
    """
    handler, state, sent = loop.callbacks_handler, loop._compat, _loaders(loop)
    ranks = state.ranks
    handler.mp_filter_callbacks()
    for callback in one_by_one(filter(handler.should_enable_callback, state.incomplete), ranks):
        # What it has set at its registration could not come home from the last fit.
        callback.register_train_loop_object(loop)
    # An old program passes its callbacks to every fit: its loop forgot those of the processes.
    handler.register_callbacks([each for each in callbacks or [] if all(each is not one for one in loop.callbacks)])
    # A single one is documented, and not for the handler to wonder at.
    single = isinstance(in_process_data_load, AbstractCallback)
    loads = [in_process_data_load] if single else list(in_process_data_load or [])
    handler.register_callbacks(loads)
    handler.execute_multiprocess_start()
    state.built_here = [loader for loader in _loaders(loop) if all(loader is not one for one in sent)]
    _settle_rebuilt_loader(loop)
    own = any(loop.train_loader is loader for loader in state.built_here)
    agree = partial(ranks.share, "deal out the training set")
    loop.train_loader, sampler = dealing.deal_out(loop.train_loader, ranks.rank, ranks.size, agree, own=own)
    state.has_dealt = True
    teller = DistributedSamplerSetEpoch(sampler, None, None)
    handler.register_callbacks([teller])
    state.incomplete, state.of_this_fit = [], [*loads, teller]


def _settle_rebuilt_loader(loop: Any) -> None:
    """Keep what the old library lost of a loader when it built one for each process, or lose it too (Q61)."""
    lost, quirks = dealing.lost_before(loop.train_loader), loop._compat.quirks
    if not lost:
        return
    listed, fixed = ", ".join(lost), quirks.fixed("Q61")
    quirks.met("Q61", f"the training loader {'keeps' if fixed else 'loses'} its {listed} in each process")
    if not fixed:
        loop.train_loader = dealing.rebuilt(loop.train_loader)


def _loaders(loop: Any) -> list[Any]:
    return [getattr(loop, name) for name in _LOADERS]


def wrap(loop: Any, ddp_model_args: Mapping[str, Any]) -> None:
    """Move the model to its device and wrap it.

    Args:
        loop: The facade.
        ddp_model_args: Arguments of ``DistributedDataParallel``.
    """
    loop._compat.ddp_model_args = dict(ddp_model_args)
    loop.model = loop.model.to(loop.device)
    _follow_parameters(loop.optimizer)
    if loop._compat.flags.strategy == "fsdp":
        loop.model = sharding.shard(loop.model, loop.optimizer)
    else:
        door = gradients.wrapped(loop.model, ddp_model_args)
        ranks = loop._compat.ranks
        door.averages_by_hand, door.stands_alone = loop.num_optimizers > 1, lambda: ranks.alone
        loop.model = door
    _share_foreign_parameters(loop)


def _share_foreign_parameters(loop: Any) -> None:
    """Give all processes rank zero's values of what the optimizer steps on beside the model's parameters."""
    loop._compat.foreign_parameters = gradients.foreign_parameters(loop.model, loop.optimizer)
    with torch.no_grad():
        for parameter in loop._compat.foreign_parameters:
            broadcast(parameter)


def _follow_parameters(optimizer: Any) -> None:
    """Move an optimizer's state to where its parameters are by now."""
    for each in getattr(optimizer, "optimizer_list", [optimizer]):
        parameters = [parameter for group in getattr(each, "param_groups", ()) for parameter in group["params"]]
        if any(parameter.device.type == "cuda" for parameter in parameters) and getattr(each, "state", None):
            each.load_state_dict(each.state_dict())
