"""What a fit in several processes is, before it is under way: its layout, and what each worker is sent to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

from compat import _console, _ledger, quirks
from compat._compiled import how_compiled
from compat.predictions import ModelPredictionStore

__all__ = ["TIMEOUT_SECONDS", "Errand", "Layout", "ProcessSettings", "travelling_light"]


TIMEOUT_SECONDS = 1800.0


@dataclass(frozen=True)
class Layout:
    """Where the processes of a fit are, and who starts them.

    Attributes:
        processes: Processes on each machine.
        nodes: Machines.
        node_rank: The index of this machine.
        endpoint: ``host:port`` where the processes meet; ``None`` for a free port of this machine.
        timeout: How long a process waits for the others before the fit is given up.
        local_rank: The index of this process on its machine where a cluster has started it as one of the fit's own;
            ``None`` where workers are to be started.
    """

    processes: int
    nodes: int
    node_rank: int
    endpoint: str | None
    timeout: timedelta
    local_rank: int | None = None


@dataclass(frozen=True)
class ProcessSettings:
    """The switches of a process that its workers are to share.

    Attributes:
        quirks: What ``compat.quirks.set`` was given.
        verbose: Whether the printed lines are on.
        watching: Whether used names are noted.
        strict: Whether a corrected result is an error.
        threads: The number of torch's threads.
    """

    quirks: Mapping[str, str]
    verbose: bool
    watching: bool
    strict: bool
    threads: int

    @classmethod
    def of_this_process(cls) -> "ProcessSettings":
        """Look at the switches of this process."""
        return cls(quirks.modes(), _console.is_verbose(), *_ledger.watched(), torch.get_num_threads())

    def apply(self) -> None:
        """Set the switches of this process."""
        quirks.set(**self.quirks)
        _console.verbose(self.verbose)
        if self.watching:
            _ledger.watch(strict=self.strict)


@dataclass
class Errand:
    """What a worker is sent to do: one fit of a loop. The names of its parts are those in errors about them.

    Attributes:
        loop: The facade.
        ddp_args: The first argument of ``_spawn_fit`` after the worker's own.
        fit: The others: epochs, iterations and window.
        callbacks: The callbacks of the fit.
        in_process_data_load: The callbacks that make loaders.
        settings: The switches of the parent.
        compiled: How the model is compiled, which it forgets on the way.
    """

    loop: Any
    ddp_args: dict[str, Any]
    fit: tuple[int, int, int]
    callbacks: list[Any] | None
    in_process_data_load: Any
    settings: ProcessSettings
    compiled: dict[str, Any]

    @classmethod
    def of(cls, loop: Any, arguments: tuple[Any, ...]) -> "Errand":
        """Make an errand of the arguments of ``_spawn_fit`` after the first.

        Args:
            loop: The facade.
            arguments: They.

        Raises:
            InvalidTypeError: The model is compiled in a way that workers cannot be told.
        """
        ddp_args, num_epochs, num_iterations, callbacks, grad_accumulation, in_process_data_load = arguments
        durations = (num_epochs, num_iterations, grad_accumulation)
        settings, compiled = ProcessSettings.of_this_process(), how_compiled(loop.model)
        return cls(loop, ddp_args, durations, callbacks, in_process_data_load, settings, compiled)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments of ``_spawn_fit`` after the first."""
        num_epochs, num_iterations, grad_accumulation = self.fit
        return (
            self.ddp_args, num_epochs, num_iterations, self.callbacks, grad_accumulation, self.in_process_data_load
        )  # fmt: skip


@contextmanager
def travelling_light(loop: Any) -> Iterator[None]:
    """Leave stored predictions behind while a loop is packed: a worker that needs them makes them again.

    Args:
        loop: The facade.
    """
    store = loop.prediction_store
    if type(store) is not ModelPredictionStore:
        yield
        return
    loop.prediction_store = ModelPredictionStore(auto_purge=store.do_auto_purge)
    loop.prediction_store.quirks = store.quirks
    try:
        yield
    finally:
        loop.prediction_store = store
