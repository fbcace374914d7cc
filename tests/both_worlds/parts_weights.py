"""Native callbacks that change weights, on purpose, and no more than they say."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import callbacks as native
from lightning.pytorch.callbacks import BackboneFinetuning, BaseFinetuning, ModelPruning

from tests.both_worlds.cells import (
    BATCHES,
    EPOCHS,
    Attached,
    Fit,
    Setting,
    assert_equal,
    baseline,
    loader,
)
from tests.both_worlds.part import NativePart, callback
from tests.both_worlds.witness import Net, Weights, optimizers_of

DECAY = 0.75


def averaging(name: str, **options: Any) -> Callable[[Setting], Attached]:
    """Attach a callback that older Lightnings do not have."""
    return lambda _: Attached([getattr(native, name)(**options)])


def assert_close(left: Weights, right: Weights) -> None:
    """Compare weights up to the rounding of float32."""
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=0.0, atol=1e-6)


def trained_as_without(fit: Fit) -> None:
    """Check that the weights that were trained are those without the part: only what is kept in the end is not."""
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation)
    fit.finished()
    assert len(fit.witness.weights) == EPOCHS * BATCHES
    for ours, theirs in zip(fit.witness.weights, bare.witness.weights, strict=True):
        assert_equal(ours, theirs)


def moving_average(weights: Iterable[Weights], decay: float) -> Weights:
    """Average by hand: the first as they are, each further one with a share of ``1 - decay``."""
    found: Weights = {}
    for each in weights:
        found = {name: decay * found[name] + (1 - decay) * each[name] if found else each[name] for name in each}
    return found


def mean(weights: list[Weights]) -> Weights:
    """Average by hand: all alike."""
    return {name: torch.stack([each[name] for each in weights]).mean(dim=0) for name in weights[0]}


def after_updates(fit: Fit, until: int | None = None) -> list[Weights]:
    """List the weights after each update, as far as a number of batches."""
    last = fit.updates[(until or EPOCHS * BATCHES) - 1]
    return [fit.after_update(update) for update in range(1, last + 1)]


def kept_moving_average(fit: Fit) -> None:
    """The model is the average over the updates, and each epoch's value is that of the average so far."""
    trained_as_without(fit)
    assert_close(fit.final, moving_average(after_updates(fit), DECAY))
    for epoch, value in enumerate(fit.history[fit.setting.monitor]):
        average = moving_average(after_updates(fit, BATCHES * (epoch + 1)), DECAY)
        assert abs(value - value_of(average, fit.setting)) < 1e-6


def value_of(weights: Weights, setting: Setting) -> float:
    """Compute the (first) loss over the validation set by hand."""
    model = Net(setting.optimizers).eval()
    model.load_state_dict(weights)
    with torch.no_grad():
        losses = [torch.nn.functional.mse_loss(model(inputs), targets).item() for inputs, targets in loader(6, 2)]
    return sum(losses) / len(losses)


def kept_mean(fit: Fit) -> None:
    """The model is the mean over the updates."""
    trained_as_without(fit)
    assert_close(fit.final, mean(after_updates(fit)))


def kept_average_of_epochs(fit: Fit) -> None:
    """The model is the average over the ends of the second and the third epoch."""
    trained_as_without(fit)
    assert_close(fit.final, moving_average([fit.after_epoch(1), fit.after_epoch(2)], DECAY))


PRUNED = 2


def pruning(_: Setting) -> Attached:
    """Attach a ModelPruning that takes two weights of the backbone an epoch, once there is a model."""
    found = Attached()

    def prepare(loop: Any) -> None:
        found.callbacks.append(
            ModelPruning("l1_unstructured", parameters_to_prune=[(loop.model.backbone, "weight")], amount=PRUNED)
        )

    found.prepare = prepare
    return found


def pruned(fit: Fit) -> None:
    """Two weights less an epoch, for good, and the model has its old names."""
    fit.finished()
    bare = baseline(fit.setting.optimizers, fit.setting.accumulation)
    for ours, theirs in zip(fit.witness.weights[:BATCHES], bare.witness.weights, strict=False):
        assert_equal(ours, theirs)
    assert fit.final.keys() == bare.final.keys()
    assert int((fit.final["backbone.weight"] == 0).sum()) == PRUNED * EPOCHS
    assert int((fit.final["head.weight"] == 0).sum()) == 0


class Thaw(BaseFinetuning):
    """Freezes the backbone, and trains it from the second epoch on."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.model.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.make_trainable(pl_module.model.backbone)


def thawed(fit: Fit) -> None:
    """The backbone stays as it was for an epoch, and is trained from then on."""
    fit.finished()
    start, names = fit.witness.start, ("backbone.weight", "backbone.bias")
    for name in names:
        assert all(torch.equal(weights[name], start[name]) for weights in fit.witness.weights[:BATCHES])
        assert not torch.equal(fit.final[name], fit.after_epoch(0)[name])
    assert not torch.equal(fit.after_epoch(0)["head.weight"], start["head.weight"])


def backbone_joined(fit: Fit) -> None:
    """The backbone also joined the optimizers, at the rate that was asked for."""
    thawed(fit)
    for optimizer in optimizers_of(fit.loop):
        _, joined = optimizer.param_groups
        assert {id(parameter) for parameter in joined["params"]} == {
            id(parameter) for parameter in fit.loop.model.backbone.parameters()
        }


def backbone(setting: Setting) -> Attached:
    """Attach a BackboneFinetuning, to a model whose backbone no optimizer has yet."""
    return Attached([BackboneFinetuning(1, backbone_initial_lr=0.01, should_align=False)], trained="head")


PARTS = [
    NativePart(
        f"EMAWeightAveraging(decay={DECAY})", "callback", "2.6", averaging("EMAWeightAveraging", decay=DECAY),
        kept_moving_average,
        "After `fit` the model holds the average; losses, and metrics of old callbacks, are the average's.",
        cadence="cut", same=False,
    ),
    NativePart(
        "EMAWeightAveraging(update_every_n_steps=0, update_starting_at_epoch=1)", "callback", "2.6",
        averaging("EMAWeightAveraging", decay=DECAY, update_every_n_steps=0, update_starting_at_epoch=1),
        kept_average_of_epochs, "Averages over epochs cost nothing per batch.", same=False,
    ),
    NativePart(
        "WeightAveraging()", "callback", "2.6", averaging("WeightAveraging"), kept_mean, "The mean over all updates.",
        cadence="cut", same=False,
    ),
    NativePart(
        "ModelPruning(...)", "callback", "2.4", pruning, pruned,
        "Take the layers from your model, or name none.", same=False,
    ),
    NativePart(
        "a BaseFinetuning of your own", "callback", "2.4", callback(lambda _: Thaw()), thawed,
        "Your model is `pl_module.model`.", same=False,
    ),
    NativePart(
        "BackboneFinetuning(...)", "callback", "2.4", backbone, backbone_joined,
        "For a model with a `backbone`. With several optimizers it joins each of them, as in Lightning.", same=False,
    ),
]  # fmt: skip
