"""A fit in workers, as the process sees it that starts them."""

from typing import Any

from compat._distributed import home, worker
from compat._distributed.errand import Errand, Layout, travelling_light
from compat._distributed.launch import launch
from compat._distributed.luggage import pack

__all__ = ["in_workers"]


def in_workers(loop: Any, layout: Layout, arguments: tuple[Any, ...]) -> None:
    """Send a loop to workers, wait for them, and give it the state that they bring.

    Args:
        loop: The facade. If the fit fails, it is as it was before.
        layout: Where the workers are.
        arguments: The arguments of ``_spawn_fit`` after the first, which is the worker's own.

    Raises:
        UnpicklableError: Something that the workers need cannot be sent to them.
        WorkerError: A worker failed.
    """
    callbacks = home.callbacks_of(loop, arguments)
    if hasattr(loop.amp_scaler, "forget_updates"):
        loop.amp_scaler.forget_updates()
    with travelling_light(loop):
        luggage = pack(Errand.of(loop, arguments))
    try:
        parcels = launch(
            worker.run,
            (luggage,),
            processes=layout.processes,
            nodes=layout.nodes,
            node_rank=layout.node_rank,
            endpoint=layout.endpoint,
            timeout=layout.timeout,
        )
    finally:
        # A traceback that somebody keeps would keep the copy of the data alive.
        luggage.close()
    home.take_home(loop, callbacks, parcels)
