"""Callbacks that change or show gradients."""

import re
from typing import Any

import pytest
import torch
from torch import nn

from compat import (
    AbstractCallback,
    GradientCallbackBase,
    GradientStatsPrint,
    GradNormClip,
    GradValueClip,
    MultiOptimizer,
    TrainLoop,
)
from compat._amp import LoopScaler
from compat.exceptions import CompatError
from tests.toys import Linear, TwoHeads, make_loop

HEADER = "---> Model layers gradients stats"


class Scaler:
    """Notes which optimizers are unscaled."""

    def __init__(self) -> None:
        self.unscaled: list[Any] = []

    def unscale_(self, optimizer: Any) -> None:
        self.unscaled.append(optimizer)


class Gradients(AbstractCallback):
    """Notes the largest gradient and the norm of all, after the other callbacks."""

    def __init__(self) -> None:
        super().__init__("gradients", execution_order=50)
        self.largest: list[float] = []
        self.norms: list[float] = []

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        flat = torch.cat([p.grad.flatten() for p in self.train_loop_obj.model.parameters() if p.grad is not None])
        self.largest.append(flat.abs().max().item())
        self.norms.append(flat.norm().item())


class Layer:
    """Stands for a layer with a given gradient."""

    def __init__(self, gradient: torch.Tensor | None) -> None:
        self.weight = nn.Parameter(torch.zeros_like(gradient) if gradient is not None else torch.zeros(1))
        self.weight.grad = gradient


def report_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    wanted = re.compile(r"--->|Layer|\tRatio")
    return [line for line in capsys.readouterr().out.splitlines() if wanted.match(line)]


def registered(callback: Any, loop: TrainLoop | None = None) -> Any:
    return callback.register_train_loop_object(loop or make_loop())


def test_base_switches_the_hooks_on() -> None:
    loop = make_loop()
    callback = registered(GradientCallbackBase("base", 4), loop)
    assert loop.grad_cb_used is True
    assert callback.execution_order == 4


@pytest.mark.parametrize("window", [1, 2])
def test_value_clip(window: int) -> None:
    gradients = Gradients()
    make_loop(quirks={"Q11": "kept"}).fit(
        num_epochs=1, callbacks=[GradValueClip(0.01), gradients], grad_accumulation=window
    )
    clipped = [largest <= 0.01 + 1e-9 for largest in gradients.largest]
    assert clipped == ([True, True, True] if window == 1 else [False, True, True])


def test_norm_clip_passes_its_keywords_on() -> None:
    gradients = Gradients()
    callback = GradNormClip(0.01, norm_type=float("inf"))
    make_loop().fit(num_epochs=1, callbacks=[callback, gradients])
    assert gradients.largest == pytest.approx([0.01] * 3, rel=1e-3)
    assert callback.kwargs == {"norm_type": float("inf")}


def test_norm_clip() -> None:
    gradients = Gradients()
    make_loop().fit(num_epochs=1, callbacks=[GradNormClip(0.01), gradients])
    assert gradients.norms == pytest.approx([0.01] * 3, rel=1e-3)


def test_norm_clip_with_an_unknown_keyword() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'typo'"):
        make_loop().fit(num_epochs=1, callbacks=[GradNormClip(1.0, typo=1)])


@pytest.mark.parametrize("make", [lambda: GradNormClip(0.1), lambda: GradValueClip(0.1)], ids=["norm", "value"])
def test_clipping_unscales_the_optimizer_of_the_index_and_clips_all_parameters(make: Any) -> None:
    model = TwoHeads()
    optimizers: list[Any] = [torch.optim.SGD(part.parameters(), lr=0.1) for part in (model.trunk, model.a)]
    loop = make_loop(model, optimizer=MultiOptimizer(optimizers))
    loop.amp_scaler = scaler = Scaler()  # type: ignore[assignment]
    callback = registered(make(), loop)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 5.0)
    callback.on_after_gradient_update(1)
    callback.on_after_gradient_update(0)
    assert scaler.unscaled == optimizers[::-1]
    assert all(parameter.grad.abs().max() <= 0.1 for parameter in model.parameters() if parameter.grad is not None)


def test_two_clips_and_an_enabled_scaler() -> None:
    """Q25: the gradients are unscaled once, however many callbacks ask for it."""
    gradients = Gradients()
    loop = make_loop()
    loop.amp_scaler = LoopScaler(device="cpu", init_scale=1024.0)
    loop.fit(num_epochs=1, callbacks=[GradValueClip(0.5), GradNormClip(0.1), gradients])
    assert gradients.norms == pytest.approx([0.1] * 3, rel=1e-3)


@pytest.mark.parametrize(
    ("gradient", "lines"),
    [
        pytest.param(
            torch.arange(12.0).view(4, 3),
            ["Layer 0 grads: Mean: 5.5; Std 3.452052593231201", "\tRatio of zero gradients: 0.08333333333333333"],
            id="matrix",
        ),
        pytest.param(
            torch.tensor([[0.0, float("nan")]]),
            ["Layer 0 grads: Mean: nan; Std nan", "\tRatio of zero gradients: 0.5"],
            id="nan",
        ),
        pytest.param(
            torch.ones(1), ["Layer 0 grads: Mean: 1.0; Std 0.0", "\tRatio of zero gradients: 0.0"], id="one number"
        ),
        pytest.param(
            torch.ones(2, dtype=torch.bfloat16),
            ["Layer 0 grads: Mean: 1.0; Std 0.0", "\tRatio of zero gradients: 0.0"],
            id="bfloat16",
        ),
        pytest.param(None, ["Layer 0 grad are None"], id="no gradient"),
    ],
)
def test_report(gradient: torch.Tensor | None, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    registered(GradientStatsPrint(lambda model: [Layer(gradient)])).gradients_report()
    assert report_lines(capsys) == [HEADER, *lines]


def test_report_counts_the_layers(capsys: pytest.CaptureFixture[str]) -> None:
    registered(GradientStatsPrint(lambda model: (Layer(None), Layer(None)))).gradients_report()
    assert report_lines(capsys) == [HEADER, "Layer 0 grad are None", "Layer 1 grad are None"]


@pytest.mark.parametrize(
    ("layers", "kind", "text"),
    [
        pytest.param([nn.ReLU()], AttributeError, r"Layer 0 .* is a ReLU, which has no weight", id="no weight"),
        pytest.param(
            nn.Linear(1, 1), TypeError, r"returned a Linear, which is not iterable\. Return a list", id="no list"
        ),
    ],
)
def test_layers_that_will_not_do(layers: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        registered(GradientStatsPrint(lambda model: layers)).gradients_report()
    assert isinstance(caught.value, CompatError)


class LastGradient(AbstractCallback):
    """Notes the weight gradient just before the step."""

    def __init__(self) -> None:
        super().__init__("last")
        self.gradient = torch.zeros(0)

    def on_train_loop_registration(self) -> None:
        self.train_loop_obj.grad_cb_used = True

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        model: Any = self.train_loop_obj.model
        self.gradient = model.layer.weight.grad.clone()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"momentum": 0.9, "nesterov": True, "foreach": True}, id="an optimizer that works in place"),
    ],
)
def test_epoch_end_shows_the_last_update(options: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Q75: the gradients are cleared long before the end of the epoch."""
    model = Linear()
    loop, last = make_loop(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, **options)), LastGradient()
    loop.fit(num_epochs=1, callbacks=[GradientStatsPrint(lambda m: [m.layer]), last])
    mean = float(last.gradient.numpy().mean())
    assert report_lines(capsys)[1].startswith(f"Layer 0 grads: Mean: {mean};")
    assert model.layer.weight.grad is None


def test_epoch_end_alone_does_not_switch_the_hooks_on(capsys: pytest.CaptureFixture[str]) -> None:
    loop = make_loop()
    loop.fit(num_epochs=2, callbacks=[GradientStatsPrint(lambda m: [m.layer])])
    assert loop.grad_cb_used is False
    assert report_lines(capsys).count(HEADER) == 2


def test_every_backward_pass(capsys: pytest.CaptureFixture[str]) -> None:
    loop = make_loop(quirks={"Q11": "kept"})
    loop.fit(
        num_epochs=1,
        callbacks=[GradientStatsPrint(lambda m: [m.layer], on_every_grad_update=True)],
        grad_accumulation=2,
    )
    lines = report_lines(capsys)
    assert lines.count(HEADER) == 4
    assert lines[-3:] == lines[-6:-3]
    assert "Layer 0 grad are None" not in lines


def test_every_backward_pass_of_the_first_optimizer(capsys: pytest.CaptureFixture[str]) -> None:
    callback = registered(GradientStatsPrint(lambda model: [Layer(None)], on_every_grad_update=True))
    callback.on_after_gradient_update(1)
    assert report_lines(capsys) == []
    callback.on_after_gradient_update(0)
    assert report_lines(capsys)[0] == HEADER


def test_each_optimizer_shows_its_own_layers(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    optimizers: list[Any] = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (first, second)]
    callback = registered(
        GradientStatsPrint(lambda model: [first, second]), make_loop(optimizer=MultiOptimizer(optimizers))
    )
    first.weight.grad = torch.full((1, 1), 1.0)
    optimizers[0].step()
    first.weight.grad, second.weight.grad = torch.full((1, 1), 7.0), torch.full((1, 1), 2.0)
    optimizers[1].step()
    callback.on_epoch_end()
    means = [line for line in report_lines(capsys) if "Mean" in line]
    assert means == ["Layer 0 grads: Mean: 1.0; Std 0.0", "Layer 1 grads: Mean: 2.0; Std 0.0"]


def test_optimizer_that_is_replaced_is_watched_and_the_old_one_left(capsys: pytest.CaptureFixture[str]) -> None:
    layer = nn.Linear(1, 1, bias=False)
    old, new = (torch.optim.SGD(layer.parameters(), lr=0.1) for _ in range(2))
    loop = make_loop(optimizer=old)
    callback = registered(GradientStatsPrint(lambda model: [layer]), loop)
    loop.optimizer = new
    callback.on_epoch_end()
    layer.weight.grad = torch.full((1, 1), 3.0)
    new.step()
    layer.weight.grad = torch.full((1, 1), 4.0)
    old.step()
    layer.weight.grad = None
    callback.on_epoch_end()
    assert report_lines(capsys)[-2] == "Layer 0 grads: Mean: 3.0; Std 0.0"


class Duck:
    """An optimizer that is not torch's."""

    def __init__(self, parameters: Any) -> None:
        self.parameters = list(parameters)

    def step(self) -> None:
        """Change nothing."""

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None


def test_last_update_of_an_optimizer_of_another_kind(capsys: pytest.CaptureFixture[str]) -> None:
    model = Linear()
    loop = make_loop(model, optimizer=Duck(model.parameters()))
    loop.fit(num_epochs=1, callbacks=[GradientStatsPrint(lambda m: [m.layer], on_every_grad_update=True)])
    lines = report_lines(capsys)
    assert lines.count(HEADER) == 4
    assert lines[-3:] == lines[-6:-3]
    assert lines[-2].startswith("Layer 0 grads: Mean:")


def test_optimizer_of_another_kind_is_not_watched(capsys: pytest.CaptureFixture[str]) -> None:
    callback = registered(GradientStatsPrint(lambda model: [Layer(None)]), make_loop(optimizer=object()))
    callback.on_epoch_end()
    assert report_lines(capsys) == [HEADER, "Layer 0 grad are None"]
