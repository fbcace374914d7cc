"""What is trained, and how: written once, and run by the hand-written loop, by the reference and by this package."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.ddp import models
from tests.ddp.models import table

Optimizers = Callable[[Any], list[torch.optim.Optimizer]]


def sgd(model: Any) -> list[torch.optim.Optimizer]:
    """SGD with momentum."""
    return [torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)]


def adam(model: Any) -> list[torch.optim.Optimizer]:
    """Adam."""
    return [torch.optim.Adam(model.parameters(), lr=0.05)]


def of_disjoint(model: Any) -> list[torch.optim.Optimizer]:
    """One optimizer for each network."""
    return [torch.optim.SGD(model.first.parameters(), lr=0.1), torch.optim.Adam(model.second.parameters(), lr=0.05)]


def of_shared(model: Any) -> list[torch.optim.Optimizer]:
    """The trunk goes with the second head."""
    second = [*model.trunk.parameters(), *model.second.parameters()]
    return [torch.optim.SGD(model.first.parameters(), lr=0.1), torch.optim.SGD(second, lr=0.05)]


@dataclass(frozen=True)
class Went:
    """Makes a network, or optimizers, that have been trained before.

    Attributes:
        make: Makes them new.
        states: The states that they had.
    """

    make: Callable[..., Any]
    states: list[Any]

    def __call__(self, *args: Any) -> Any:
        """Make them, and give them their states."""
        made = self.make(*args)
        for thing, state in zip(made if isinstance(made, list) else [made], self.states, strict=True):
            thing.load_state_dict(state)
        return made


@dataclass(frozen=True)
class Case:
    """A training.

    Attributes:
        model: Makes the network.
        optimizers: Makes its optimizers, one for each loss.
        rows: The rows of the training set; the validation set has half as many, the test set four.
        batch: The rows of a batch of one process.
        shuffle: Whether the training set is shuffled.
        fits: The ``num_epochs`` of one fit after another.
        iterations: ``num_iterations`` in place of them.
        window: The batches of an update.
        evaluate: ``end_auto_eval``.
        clip: The norm that gradients are clipped to, if they are.
        decay: What the learning rate is multiplied by after each epoch, if it is.
        subset: How many batches of its part each process trains with, if not with all.
        arguments: ``ddp_model_args``.
        bfloat16: Whether losses and predictions are computed in it.
        in_reference: Whether the reference can run it.
        start: The epoch to start with.
    """

    model: Callable[[], Any] = models.Dropout
    optimizers: Optimizers = sgd
    rows: int = 24
    batch: int = 2
    shuffle: bool = False
    fits: tuple[int, ...] = (2,)
    iterations: int = 0
    window: int = 1
    evaluate: bool = True
    clip: float = 0
    decay: float = 0
    subset: int = 0
    arguments: tuple[tuple[str, Any], ...] = ()
    bfloat16: bool = False
    in_reference: bool = True
    start: int = 0

    @property
    def train(self) -> TensorDataset:
        """The training set."""
        return TensorDataset(*table(self.rows))

    @property
    def validation(self) -> TensorDataset:
        """The validation set."""
        return TensorDataset(*table(self.rows // 2, seed=2))

    @property
    def test(self) -> TensorDataset:
        """The test set."""
        return TensorDataset(*table(4, seed=3))


def _own(**changes: Any) -> Case:
    return Case(**changes, in_reference=False)


# Twenty-four rows give 2 processes 6 batches each, and 3 processes 4.
CASES = {
    "momentum and dropout": Case(),
    "no evaluation": Case(evaluate=False),
    "batch norm": Case(model=models.Normed, optimizers=adam),
    "a partial window": Case(optimizers=adam, window=5),
    "shuffled": Case(shuffle=True),
    "shuffled, batch norm, a window": Case(model=models.Normed, shuffle=True, window=3),
    "rows that do not divide": Case(rows=13),
    "rows that do not divide, shuffled": Case(rows=17, shuffle=True, optimizers=adam),
    "fewer rows than processes": Case(rows=1, batch=1, evaluate=False),
    "iterations": Case(fits=(), iterations=9),
    "clipped": Case(clip=0.05),
    "a schedule": Case(decay=0.5, optimizers=adam),
    "a feed definition": Case(model=models.plain),
    "a part that is not used": Case(model=models.Unused, arguments=(("find_unused_parameters", True),)),
    "a few batches": Case(subset=2, shuffle=True),
    "parts of the model": _own(model=models.Parts),
    "parts of the model, shuffled, a window": _own(model=models.Parts, optimizers=adam, shuffle=True, window=2),
    "bfloat16": _own(bfloat16=True),
    "two fits": _own(model=models.Normed, optimizers=adam, fits=(2, 3)),
    "two networks": _own(model=models.Disjoint, optimizers=of_disjoint),
    "two networks, a window": _own(model=models.Disjoint, optimizers=of_disjoint, window=5, shuffle=True),
    "a shared trunk": _own(model=models.SharedTrunk, optimizers=of_shared),
}
WITH_TWO_LOSSES = frozenset(name for name, case in CASES.items() if case.optimizers in (of_disjoint, of_shared))


def loaders(case: Case) -> tuple[Any, Any, Any]:
    """Make the loaders as one process has them."""
    return (
        DataLoader(case.train, batch_size=case.batch, shuffle=case.shuffle),
        DataLoader(case.validation, batch_size=case.batch) if len(case.validation) else None,
        DataLoader(case.test, batch_size=case.batch),
    )


def make_loop(case: Case, cls: Any = None, **options: Any) -> Any:
    """Make the ``TrainLoop`` of a case, of this package or of the reference.

    Args:
        case: The case.
        cls: A subclass of ``TrainLoop``, if it is not that itself.
        options: Further arguments of ``TrainLoop``.
    """
    model = case.model()
    optimizers = case.optimizers(model)
    given = models.ModelWrap(model, models.Feed()) if case.model is models.plain else model
    if case.bfloat16:
        options["lightning_args"] = {"precision": "bf16-mixed"}
    return (cls or models.TrainLoop)(
        given,
        *loaders(case),
        optimizers[0] if len(optimizers) == 1 else models.MultiOptimizer(optimizers),
        nn.MSELoss(),
        end_auto_eval=case.evaluate,
        gpu_mode="ddp",
        **options,
    )


def callbacks(case: Case) -> list[Any]:
    """Make the callbacks of a case."""
    made: list[Any] = []
    if case.clip:
        made.append(models.GradNormClip(case.clip))
    if case.decay:
        made.append(models.StepLRScheduler(1, gamma=case.decay))
    if case.subset:
        made.append(models.DataSubsetTestRun(case.subset))
    return made


def duration(case: Case, number: int) -> dict[str, int]:
    """Return the arguments of a fit that say how long it is."""
    return {"num_iterations": case.iterations} if case.iterations else {"num_epochs": case.fits[number]}
