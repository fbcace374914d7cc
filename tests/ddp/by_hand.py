"""The loop that a careful hand would write: torch alone, and the order of events of the reference.

Every process seeds itself with 0, deals itself its part with a ``DistributedSampler`` (which is told the epoch), wraps
the model in ``DistributedDataParallel``, divides a loss by the window, and averages gradients at each backward pass, of
batches that make no update too. An evaluation opens its loader, which draws one random number; the loss of the data set
is computed on the side, by one process, batch by batch, without any.
"""

import gc
import math
import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from tests.ddp import models
from tests.ddp.cases import CASES, Case

__all__ = ["run", "weights_of"]

Losses = dict[str, Any]


class Whole(nn.Module):
    """Gives a network its loss, so that all of it happens in one forward pass."""

    def __init__(self, net: Any, in_bfloat16: bool) -> None:
        super().__init__()
        self.net, self.in_bfloat16 = net, in_bfloat16

    def forward(self, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
        """Return the loss."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.in_bfloat16):
            return self.loss(inputs, targets)

    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
        """Compute it."""
        loss = nn.functional.mse_loss(self.net(inputs), targets)
        if isinstance(self.net, models.Parts) and self.training:
            loss = loss + 0.1 * self.net.encoder(inputs).pow(2).mean()
            loss = loss + 0.01 * self.net.head.weight.pow(2).mean()
        return loss


class _Run:
    """A case, on one process of several."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.net: Any = case.model()
        self.optimizers = case.optimizers(self.net)
        self.history: dict[str, list[Any]] = {}
        self.of_one_process: dict[str, list[Any]] = {}
        self.epoch, self.batches_done = case.start, 0

    def fit(self, epochs: int) -> None:
        """Train, from the epoch that was last to one before ``epochs``."""
        torch.manual_seed(0)
        case = self.case
        self.loaders = [_dealt(case.train, case.batch, case.shuffle)]
        self.loaders += [_dealt(rows, case.batch) for rows in (case.validation, case.test) if len(rows)]
        if case.iterations:
            epochs = math.ceil(case.iterations / len(self.loaders[0]))
        whole = Whole(self.net, case.bfloat16)
        several = len(self.optimizers) > 1
        self.wrapped: Any = whole if several else DistributedDataParallel(whole, **dict(case.arguments))
        rates = [group["lr"] for group in self.optimizers[0].param_groups]
        samplers: list[Any] = [loader.sampler for loader in self.loaders]
        # As it is before the first epoch: the batches stay the same.
        self.batches = list(islice(self.loaders[0], case.subset)) if case.subset else self.loaders[0]
        for epoch in range(self.epoch, epochs):
            self.epoch = epoch
            for sampler in samplers:
                sampler.set_epoch(epoch)
            self.train_epoch()
            self.end_epoch()
            if case.decay:
                for group, rate in zip(self.optimizers[0].param_groups, rates, strict=True):
                    group["lr"] = rate * case.decay ** (epoch + 1)
        if case.evaluate:
            self.evaluate("train_end_test_loss", self.loaders[-1], case.test)

    def train_epoch(self) -> None:
        """Go over the batches."""
        losses = []
        for index, batch in enumerate(self.batches):
            update = (index + 1) % self.case.window == 0 or index == len(self.batches) - 1
            losses.append(self.step(batch, update))
            self.batches_done += 1
            if self.batches_done == self.case.iterations:
                break
        self.note("accumulated_loss", losses)

    def step(self, batch: list[torch.Tensor], update: bool) -> Losses:
        """Back-propagate a batch, and make an update if it is time."""
        if len(self.optimizers) > 1:
            losses = self.net.losses(*batch, nn.functional.mse_loss)
        else:
            losses = {"": self.wrapped(*batch)}
        for optimizer, name in zip(self.optimizers, losses, strict=True):
            (losses[name] / self.case.window).backward(retain_graph=len(losses) > 1)
            if len(losses) > 1:
                _average(self.net)
            if self.case.clip:
                nn.utils.clip_grad_norm_(self.net.parameters(), self.case.clip)
            if update:
                optimizer.step()
                optimizer.zero_grad()
        return {name: loss.detach() for name, loss in losses.items()}

    def end_epoch(self) -> None:
        """Evaluate."""
        if self.case.evaluate:
            self.evaluate("loss", self.batches, self.case.train)
            if len(self.case.validation):
                self.evaluate("val_loss", self.loaders[1], self.case.validation)

    def evaluate(self, key: str, loader: Any, rows: Dataset[Any]) -> None:
        """Note the loss of the dealt parts, padding and all, and that of the data set."""
        self.wrapped.eval()
        with torch.no_grad():
            self.note(key, [self.losses(self.wrapped, batch) for batch in loader])
            if dist.get_rank() == 0:
                whole = Whole(self.net, self.case.bfloat16).eval()
                for name, loss in _mean([self.losses(whole, batch) for batch in _batches(rows, self.case.batch)]):
                    self.of_one_process.setdefault(f"{key}{name}", []).append(loss)
        self.wrapped.train()

    def losses(self, whole: Any, batch: Any) -> Losses:
        """Compute the losses of a batch."""
        if len(self.optimizers) > 1:
            computed: Losses = self.net.losses(*batch, nn.functional.mse_loss)
            return {f"_{name}": loss for name, loss in computed.items()}
        return {"": whole(*batch)}

    def note(self, key: str, losses: list[Losses]) -> None:
        """Average the losses of all processes, rank by rank."""
        everyone: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, losses)
        for name, loss in _mean([loss for own in everyone for loss in own]):
            named = f"{key}{name}" if not name or name.startswith("_") else f"{key}_{name}"
            self.history.setdefault(named, []).append(loss)


def _dealt(rows: Any, batch: int, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(rows, batch_size=batch, sampler=DistributedSampler(rows, shuffle=shuffle))


def _batches(rows: Any, size: int) -> list[Any]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _mean(losses: list[Losses]) -> list[tuple[str, float]]:
    return [(name, torch.stack([loss[name] for loss in losses]).double().mean(dim=0).item()) for name in losses[0]]


def _average(net: nn.Module) -> None:
    """Average the gradients that there are; every process has the same."""
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]).div_(dist.get_world_size())
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    """Return copies of the parameters and buffers of a network, wrapped or not."""
    return {name.removeprefix("module."): value.detach().clone() for name, value in model.state_dict().items()}


def _outcome(case: Case) -> dict[str, Any]:
    training = _Run(case)
    for epochs in case.fits or (0,):
        training.fit(epochs)
    return {
        "weights": weights_of(training.net),
        "optimizers": [optimizer.state_dict() for optimizer in training.optimizers],
        "history": training.history,
        "of one process": training.of_one_process,
        "epoch": training.epoch,
        "iterations": training.batches_done,
    }


def _process(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    cases: dict[str, Case] = pickle.loads(Path(folder, "cases.pickle").read_bytes())
    outcomes = {name: _outcome(case) for name, case in cases.items()}
    if rank == 0:
        Path(folder, "outcomes.pickle").write_bytes(pickle.dumps(outcomes))
    # No wrapper may outlive the group, nor may a process end while another still talks to it.
    gc.collect()
    dist.barrier()
    dist.destroy_process_group()


def run(processes: int, folder: Path, cases: dict[str, Case] = CASES) -> dict[str, Any]:
    """Train cases.

    Args:
        processes: How many processes train.
        folder: Where they meet; an empty one.
        cases: What they train.

    Returns:
        By case: the weights, optimizer states, history with the losses of the dealt parts and of one process, and the
        last epoch.
    """
    (folder / "cases.pickle").write_bytes(pickle.dumps(cases))
    spawn(_process, args=(processes, str(folder)), nprocs=processes)  # type: ignore[no-untyped-call]
    outcomes: dict[str, Any] = pickle.loads((folder / "outcomes.pickle").read_bytes())
    return outcomes
