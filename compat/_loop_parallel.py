"""What a training loop does on several devices: one process with replicas, or several processes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from compat import _data_parallel
from compat._lightning import processes
from compat._loop_state import LoopState
from compat.callbacks._native import AnyCallback
from compat.ddp import DDPHandler

__all__ = ["LoopParallel"]


class LoopParallel:
    """The parallel half of ``TrainLoop``: how a fit gets to its devices before :meth:`_train` runs on each."""

    # What TrainLoop has.
    _compat: LoopState
    model: Any
    device: torch.device
    num_epochs: int | None
    num_iterations: int | None
    grad_accumulation: int
    ddp_handler: Any

    _train: Callable[..., Any]

    def _train_dp(
        self,
        num_epochs: int,
        num_iterations: int,
        callbacks: Sequence[AnyCallback] | None = None,
        grad_accumulation: int = 1,
        dp_model_args: dict[str, Any] | None = None,
    ) -> Any:
        """Wrap the model for several devices, unless it is wrapped, and train it.

        Args:
            num_epochs: The epoch to stop before.
            num_iterations: The number of batches to stop after.
            callbacks: Callbacks to register, which meet the wrapper.
            grad_accumulation: The number of batches whose gradients make one update.
            dp_model_args: Arguments of ``torch.nn.DataParallel``, such as ``device_ids``.

        Returns:
            The wrapper, which the loop keeps as its model.

        Raises:
            InvalidTypeError: ``dp_model_args`` is no dict, or has an unknown key.
            MissingAttributeError: The model lists an attribute for transfer that it does not have.
        """
        self.model = _data_parallel.data_parallel(self.model, dp_model_args)
        self.device = _data_parallel.root_device(self.model, self.device)
        return self._train(num_epochs, num_iterations, callbacks=callbacks, grad_accumulation=grad_accumulation)

    def _train_ddp(
        self,
        num_epochs: int,
        num_iterations: int,
        callbacks: Sequence[AnyCallback] | None = None,
        grad_accumulation: int = 1,
        ddp_model_args: dict[str, Any] | None = None,
        in_process_data_load: Any = None,
        num_nodes: int = 1,
        node_rank: int = 0,
        num_gpus: int = torch.cuda.device_count(),
        backend: str = "nccl",
        init_method: str = "env://",
        on_gpu: bool = True,
    ) -> Any:
        """Train in several processes: in workers that are started here, or in those that a cluster has started.

        Args:
            num_epochs: The epoch to stop before.
            num_iterations: The number of batches to stop after, in each process.
            callbacks: Callbacks to register, in the processes.
            grad_accumulation: The number of batches whose gradients make one update.
            ddp_model_args: Arguments of ``torch.nn.parallel.DistributedDataParallel``.
            in_process_data_load: A callback, or a list of them, that makes the loaders in each process.
            num_nodes: The number of machines; the program runs on each of them.
            node_rank: The index of this machine.
            num_gpus: The number of processes on each machine.
            backend: What the processes talk by: ``nccl`` on GPUs, ``gloo`` on the CPU.
            init_method: Where they meet: ``env://`` for ``MASTER_ADDR`` and ``MASTER_PORT`` if they are set and a free
                port of this machine if not, or ``tcp://host:port``.
            on_gpu: Whether each process has a GPU of its own.

        Returns:
            The trained model, as it was passed, without a wrapper.

        Raises:
            InvalidArgumentError: There are no such devices, or the processes cannot be laid out like that.
            WorkerError: A process failed. The message names it, and says why.
        """
        # Here and not above: torch's launcher takes its time, and a loop in one process needs none of it.
        from compat._distributed import fit, worker

        loop: Any = self
        layout, ddp_args = processes.plan_processes(
            loop,
            {
                "ddp_model_args": ddp_model_args,
                "in_process_data_load": in_process_data_load,
                "num_nodes": num_nodes,
                "node_rank": node_rank,
                "num_gpus": num_gpus,
                "backend": backend,
                "init_method": init_method,
                "on_gpu": on_gpu,
            },
            num_gpus != torch.cuda.device_count(),
        )
        listed = None if callbacks is None else list(callbacks)
        # By position: an override of `_spawn_fit` may have other names for them.
        arguments = (ddp_args, num_epochs, num_iterations, listed, grad_accumulation, in_process_data_load)
        if layout.local_rank is None:
            processes.settle_log_folders(loop)
            fit.in_workers(self, layout, arguments)
        else:
            worker.train_here(self, layout.local_rank, arguments)
        return self.model

    def _spawn_fit(
        self,
        gpu: int,
        ddp_args: dict[str, Any],
        num_epochs: int,
        num_iterations: int,
        callbacks: Sequence[AnyCallback] | None,
        grad_accumulation: int,
        in_process_data_load: Any,
    ) -> None:
        """Run one process of a fit. Override it to prepare each process, and call it from there.

        Args:
            gpu: The index of the process on its machine, and of its GPU.
            ddp_args: What is the same in all processes: ``node_rank``, ``num_gpus``, ``world_size``, ``backend``,
                ``init_method``, ``on_gpu``, ``ddp_model_args``, ``timeout`` in seconds and ``seed``.
            num_epochs: The epoch to stop before.
            num_iterations: The number of batches to stop after.
            callbacks: Callbacks to register.
            grad_accumulation: The number of batches whose gradients make one update.
            in_process_data_load: Callbacks that make the loaders.
        """
        from compat._distributed import worker

        loop: Any = self
        with worker.joined(self, gpu, ddp_args):
            self.num_epochs, self.num_iterations, self.grad_accumulation = num_epochs, num_iterations, grad_accumulation
            worker.prepare(self, callbacks, in_process_data_load)
            self.ddp_handler = DDPHandler(loop)
            worker.wrap(self, ddp_args["ddp_model_args"])
            self._train(num_epochs, num_iterations, callbacks=None, grad_accumulation=grad_accumulation)
