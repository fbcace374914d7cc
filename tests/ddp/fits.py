"""Trains the cases with this package, in a process that torchrun or something like it has started.

``python -m tests.ddp.fits GROUP FOLDER`` trains a group of them; each process leaves what it has at the end in a file.
"""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import compat
from tests.ddp import exactness
from tests.ddp.by_hand import weights_of
from tests.ddp.cases import CASES, Case, callbacks, duration, make_loop

__all__ = ["GROUPS", "IN_OLD_ORDER", "KEPT", "states", "train"]

IN_OLD_ORDER = (
    "momentum and dropout",
    "shuffled, batch norm, a window",
    "rows that do not divide",
    "rows that do not divide, shuffled",
    "iterations",
)
# The oddities whose numbers the cases have, so that they need no warning.
KEPT = dict.fromkeys(("Q01", "Q11", "Q18", "Q19", "Q58"), "kept")


def states(optimizer: Any) -> list[Any]:
    """Return the states of an optimizer, or of those of a ``MultiOptimizer``."""
    state = optimizer.state_dict()
    return state if isinstance(state, list) else [state]


class _Targets(compat.AbstractCallback):
    """Notes in which order the rows are evaluated."""

    def __init__(self) -> None:
        super().__init__("targets")
        self.seen: list[Any] = []

    def on_epoch_end(self) -> None:
        """Note; the loop's own random numbers stay as they are."""
        loop: Any = self.train_loop_obj
        with torch.random.fork_rng(devices=[]):
            self.seen.append([predict()[1] for predict in (loop.predict_on_train_set, loop.predict_on_validation_set)])


def train_in_old_order(case: Case, **settings: Any) -> dict[str, Any]:
    """Train a case with the evaluations of the reference: dealt out row by row, and padded (quirk Q60).

    Args:
        case: The case, of one fit.
        settings: Further arguments of the fit.

    Returns:
        What this process has then.
    """
    targets = _Targets()
    loop = make_loop(case, quirks=KEPT | {"Q60": "kept"})
    given = {"callbacks": [*callbacks(case), targets], "grad_accumulation": case.window}
    loop.fit(**duration(case, 0), **given, **settings)
    return {
        "weights": weights_of(loop.model),
        "history": dict(loop.train_history.train_history),
        "targets": targets.seen,
    }


def train(case: Case, **settings: Any) -> dict[str, Any]:
    """Train a case, fit after fit.

    Args:
        case: The case.
        settings: Further arguments of each fit.

    Returns:
        What this process has then.
    """
    loop = make_loop(case, quirks=KEPT)
    for number in range(max(1, len(case.fits))):
        given = {
            "callbacks": callbacks(case) if number == 0 else [],
            "grad_accumulation": case.window,
            "ddp_model_args": dict(case.arguments),
        }
        returned = loop.fit(**duration(case, number), **given, **settings)
    return {
        "weights": weights_of(loop.model),
        "keys": list(loop.model.state_dict()),
        "returned": returned is loop.model,
        "mode": loop.model.training,
        "optimizers": states(loop.optimizer),
        "history": dict(loop.train_history.train_history),
        "epoch": loop.epoch,
        "iterations": loop.total_iteration_idx + 1,
        "predictions": loop.predict_on_validation_set()[0] if loop.validation_loader else None,
    }


def _cases(settings: dict[str, Any]) -> Any:
    outcomes = {name: train(case, **settings) for name, case in CASES.items()}
    return outcomes | {f"{name}, old order": train_in_old_order(CASES[name], **settings) for name in IN_OLD_ORDER}


def _exact(settings: dict[str, Any]) -> Any:
    return exactness.train(**settings)


GROUPS = {"cases": _cases, "exact": _exact}


def main(group: str, folder: Path) -> None:
    """Train a group of cases.

    Args:
        group: Its name.
        folder: Where to leave what came out.
    """
    compat.verbose(False)
    torch.set_num_threads(1)
    size = int(os.environ["WORLD_SIZE"])
    outcome = GROUPS[group]({"num_gpus": size, "on_gpu": False, "backend": "gloo"})
    (folder / f"outcome.{dist.get_rank()}.pickle").write_bytes(pickle.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
