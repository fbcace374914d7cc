"""What old programs use of training in several processes: gathering their data, and dealing out the loaders."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from compat import _ledger
from compat._distributed import dealing
from compat._loop_state import state_of
from compat.callbacks.ddp import DistributedSamplerSetEpoch
from compat.exceptions import InvalidArgumentError, MissingAttributeError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["DDPHandler"]


class DDPHandler:
    """A loop's link to the other processes of its fit. ``fit`` with ``gpu_mode='ddp'`` makes it: ``loop.ddp_handler``.

    Args:
        train_loop_obj: The training loop.
    """

    def __init__(self, train_loop_obj: "TrainLoop") -> None:
        """Keep the loop."""
        _ledger.called("compat.ddp.DDPHandler")
        self.train_loop_obj = train_loop_obj

    def add_distributed_samplers(self, world_size: int, rank: int) -> None:
        """Put a process's part in the place of each loader of the loop, as :meth:`build_loader_sampler` makes it.

        A callback that tells the samplers the epoch is registered too. ``fit`` does this to the training loader by
        itself. Evaluations and predictions of the loop are those of the whole loaders nevertheless.

        Args:
            world_size: The number of processes.
            rank: The number of this process among them.

        Raises:
            InvalidTypeError: A loader without a length.
            InvalidArgumentError: No such rank.
        """
        _check_rank(world_size, rank)
        loop = self.train_loop_obj
        loaders = (loop.train_loader, loop.validation_loader, loop.test_loader)
        for loader in loaders:
            # The other settings that the old library lost decide no batch.
            for kept in {"sampler", "batch_sampler"}.intersection(dealing.lost_before(loader)):
                self._met("Q61", f"the {kept} of a loader is kept, and its samples are dealt out in turn")
        parts = [
            (None, None) if loader is None else dealing.deal_out(loader, rank, world_size, self._agree)
            for loader in loaders
        ]
        (loop.train_loader, loop.validation_loader, loop.test_loader), samplers = zip(*parts, strict=True)
        loop.callbacks_handler.register_callbacks([DistributedSamplerSetEpoch(*samplers)])

    @staticmethod
    def build_loader_sampler(data_loader: Any, shuffle: bool, world_size: int, rank: int) -> tuple[Any, Any]:
        """Make a process's part of a loader, with as many batches as that of every other process.

        Of a loader that reads its data set in order, or all of it shuffled, the part gets torch's
        ``DistributedSampler``. A sampler or batch sampler of any other kind is kept, and the processes take its
        samples, or batches, in turn (quirk Q61). So it is with a list of batches.

        Args:
            data_loader: The loader. It is not changed; all its settings are those of the part too.
            shuffle: Whether to shuffle, where there is a ``DistributedSampler``.
            world_size: The number of processes.
            rank: The number of the process among them.

        Returns:
            The part, and what its ``set_epoch`` belongs to: a sampler, or ``None`` where there is none.

        Raises:
            InvalidTypeError: A loader without a length.
            InvalidArgumentError: No such rank.
        """
        _check_rank(world_size, rank)
        return dealing.deal_out(data_loader, rank, world_size, shuffle=bool(shuffle))

    def mp_sync(
        self, data: Any, double_precision: bool = False, concat_mp_data: bool = True, return_tensor: bool = True
    ) -> Any:
        """Gather data from all processes. All have to call it; their data may differ in length.

        Args:
            data: A tensor ``(N, ...)``, an array, a list, or a number. What no tensor can hold, such as strings and
                lists of unequal length, is gathered as it is, and comes as a list whatever ``return_tensor`` says, or
                as an array where arrays were passed (quirk Q62).
            double_precision: Whether to make float64 of what is no tensor yet.
            concat_mp_data: Whether to join the data along the first dimension. Otherwise it comes as a list with that
                of each process (quirk Q63).
            return_tensor: Whether to return tensors. Otherwise it is an array where one was passed, and else a list.

        Returns:
            The data of rank 0, then that of rank 1, and so on, the same in each process: a tensor ``(sum of N, ...)``
            of a tensor ``(N, ...)``, and ``(world size,)`` of a number or a tensor without dimensions. It is on the
            CPU, or on the loop's device if the data was a tensor on a GPU.

        Raises:
            InvalidArgumentError: Shapes that cannot be joined, or no process group.
            OutOfStepError: Another process of the fit calls something else.
        """
        tensor = _as_tensor(data, double_precision)
        flat = None if tensor is None else _bytes_of(tensor)
        described = self._exchange(None if tensor is None else (tensor.dtype, tuple(tensor.shape)))
        if flat is None or None in described:
            self._met("Q62", f"mp_sync gathers {_shown(data)} as it is")
            return _joined_objects(self._exchange(_elements(data)), concat_mp_data, isinstance(data, np.ndarray))
        if not (concat_mp_data and all(shape for _, shape in described)):
            what = "a tensor without dimensions" if concat_mp_data else "data that is not to be joined"
            self._met("Q63", f"mp_sync gathers {what}")
        parts = self._gather(flat, described)
        if not (isinstance(data, torch.Tensor) and data.device.type != "cpu"):
            parts = [part.cpu() for part in parts]
        if concat_mp_data:
            return _as_asked(_concatenated(parts), data, return_tensor)
        return [_as_asked(part, data, return_tensor) for part in parts]

    def mp_sync_dict(self, dict_data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Gather the values of a dict, one by one; see :meth:`mp_sync`.

        Args:
            dict_data: The values by name; the names have to be the same in all processes.

        Returns:
            A dict with the gathered values.

        Raises:
            MissingAttributeError: No dict.
            InvalidArgumentError: Another process has other names.
        """
        given: Any = dict_data
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise MissingAttributeError(
                f"mp_sync_dict got a {kind} object, which has no attribute 'items'. Pass a dict, or call mp_sync."
            )
        names = self._exchange(list(dict_data))
        if any(set(theirs) != set(names[0]) for theirs in names):
            listed = "; ".join(f"rank {rank}: {theirs}" for rank, theirs in enumerate(names))
            raise InvalidArgumentError(
                f"mp_sync_dict needs the same names in all processes, and got {listed}. Pass the same dict everywhere,"
                " with empty lists where a process has nothing."
            )
        # In one order everywhere: a process may have filled its dict in another.
        synced = {name: self.mp_sync(dict_data[name]) for name in names[0]}
        return {name: synced[name] for name in dict_data}

    def _exchange(self, value: Any) -> list[Any]:
        """Give each process the small values of all, by rank."""
        ranks = state_of(self.train_loop_obj).ranks
        if ranks is not None:
            return ranks.exchange("mp_sync()", value)
        if not (dist.is_available() and dist.is_initialized()):
            raise InvalidArgumentError(
                "mp_sync gathers data from the processes of a fit, and the default process group has not been"
                " initialized. Call it from a callback while gpu_mode='ddp' trains."
            )
        values: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(values, value)
        return values

    def _gather(self, flat: torch.Tensor, described: Sequence[Any]) -> list[torch.Tensor]:
        """Gather tensors of any type and shape, on the loop's device.

        As bytes, which every backend can carry, filled up to the longest.
        """
        sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in described]
        device = self.train_loop_obj.device
        padded = torch.zeros(max(sizes), dtype=torch.uint8, device=device)
        padded[: len(flat)] = flat
        parts = [torch.empty_like(padded) for _ in sizes]
        if len(padded):
            dist.all_gather(parts, padded)
        return [
            part[:size].view(dtype).reshape(shape)
            for part, size, (dtype, shape) in zip(parts, sizes, described, strict=True)
        ]

    def _agree(self, items: list[Any]) -> list[Any]:
        ranks = state_of(self.train_loop_obj).ranks
        agreed: list[Any] = items if ranks is None else ranks.share("deal out the data", items)
        return agreed

    def _met(self, quirk: str, detail: str) -> None:
        state_of(self.train_loop_obj).quirks.met(quirk, detail)


def _check_rank(world_size: int, rank: int) -> None:
    if not 0 <= rank < world_size:
        raise InvalidArgumentError(f"rank={rank} is none of world_size={world_size} processes. They count from 0.")


def _as_tensor(data: Any, double_precision: bool) -> torch.Tensor | None:
    """Make a tensor of data, ``None`` if it cannot be one."""
    if isinstance(data, torch.Tensor):
        return data.detach()
    values = data if hasattr(data, "__len__") else [data]
    try:
        if isinstance(values, list | tuple) and any(isinstance(value, np.ndarray) for value in values):
            # Going through the arrays element by element is slow, and torch warns of it.
            values = np.asarray(values)
        tensor = torch.tensor(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    return tensor.double() if double_precision else tensor


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)


def _elements(data: Any) -> list[Any]:
    if isinstance(data, torch.Tensor):
        return list(data.detach().cpu()) if data.dim() else [data.detach().cpu()]
    if isinstance(data, np.ndarray):
        return list(data) if data.ndim else [data.item()]
    is_list = isinstance(data, Sequence) and not isinstance(data, str | bytes)
    return [each.cpu() if isinstance(each, torch.Tensor) else each for each in data] if is_list else [data]


def _joined_objects(parts: list[list[Any]], concat: bool, as_array: bool) -> Any:
    if not concat:
        return [np.asarray(part) for part in parts] if as_array else parts
    joined = [element for part in parts for element in part]
    return np.asarray(joined) if as_array else joined


def _concatenated(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    rows = [part if part.dim() else part.reshape(1) for part in parts]
    # An empty list says nothing of the type and the shape of what it could hold.
    filled = [part for part in rows if part.shape != (0,)] or rows
    if len({part.shape[1:] for part in filled}) > 1:
        shapes = "; ".join(f"rank {rank}: {tuple(part.shape)}" for rank, part in enumerate(rows))
        raise InvalidArgumentError(
            f"mp_sync cannot join these shapes along the first dimension: {shapes}. Pass data that differs in the first"
            " dimension alone, or concat_mp_data=False."
        )
    return torch.cat(filled)


def _as_asked(tensor: torch.Tensor, data: Any, return_tensor: bool) -> Any:
    if return_tensor:
        return tensor
    return tensor.cpu().numpy() if isinstance(data, np.ndarray) else tensor.tolist()


def _shown(data: Any) -> str:
    return f"a {type(data).__name__} that no tensor can hold"
