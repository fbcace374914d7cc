"""The gradient scaler that several callbacks share, and the context of mixed precision."""

from typing import Any

import pytest
import torch

from compat._amp import LoopScaler, autocast, readable, scaler_options


def backward(scaler: LoopScaler, infinite: bool = False) -> torch.optim.SGD:
    """Leave scaled gradients of 1, or infinite ones, on one weight."""
    weight = torch.nn.Parameter(torch.zeros(1))
    torch.autograd.backward(scaler.scale(weight.sum() * (float("inf") if infinite else 1.0)))
    return torch.optim.SGD([weight], lr=1.0)


def enabled() -> LoopScaler:
    """Return a scaler that is at work on the CPU."""
    return LoopScaler(device="cpu", init_scale=4.0)


def gradient(optimizer: torch.optim.SGD) -> float:
    """Return the gradient of the only weight."""
    return float(optimizer.param_groups[0]["params"][0].grad)


def test_unscale_twice_divides_once() -> None:
    scaler = enabled()
    optimizer = backward(scaler)
    assert gradient(optimizer) == 4.0
    scaler.unscale_(optimizer)
    scaler.unscale_(optimizer)
    assert gradient(optimizer) == 1.0
    scaler.step(optimizer)
    scaler.update()
    assert optimizer.param_groups[0]["params"][0].item() == -1.0


def test_unscale_after_the_step_is_still_a_mistake() -> None:
    scaler = enabled()
    optimizer = backward(scaler)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)


def test_skipped_step_is_noted() -> None:
    scaler = enabled()
    scaler.step(backward(scaler))
    skipped = [scaler.last_step_skipped]
    scaler.update()
    scaler.step(backward(scaler, infinite=True))
    skipped.append(scaler.last_step_skipped)
    assert skipped == [False, True]
    scaler.update()
    assert scaler.get_scale() == 2.0


def test_disabled_scaler_passes_everything_through() -> None:
    class Optimizer:
        def step(self) -> str:
            return "stepped"

    scaler = LoopScaler(enabled=False)
    loss = torch.ones(1)
    stepper: Any = Optimizer()
    assert scaler.scale(loss) is loss
    stepped: Any = scaler.step(stepper)
    assert stepped == "stepped"
    scaler.unscale_(stepper)
    scaler.update()


def test_without_cuda_the_scaler_is_disabled(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not LoopScaler(enabled=True).is_enabled()
    assert len(recwarn) == 0


def test_empty_state_of_a_cpu_run_is_taken() -> None:
    scaler = enabled()
    scaler.load_state_dict({})
    assert scaler.get_scale() == 4.0
    saved = LoopScaler(device="cpu", init_scale=64.0).state_dict()
    scaler.load_state_dict(saved)
    assert scaler.get_scale() == 64.0


def test_options_are_taken_from_a_dict_only() -> None:
    assert scaler_options({"init_scale": 2.0}) == {"init_scale": 2.0}
    assert scaler_options(True) == {}
    with pytest.raises(TypeError, match="unknown keys: growth"):
        scaler_options({"growth": 2})


@pytest.mark.parametrize(
    ("device", "use_amp", "outer", "expected"),
    [
        ("cpu", True, False, None),
        ("cuda", False, False, None),
        ("cuda", True, False, True),
        ("cuda", False, True, False),
    ],
    ids=["on the CPU", "off", "on", "off inside the user's own"],
)
def test_autocast_acts_only_where_it_changes_something(
    monkeypatch: pytest.MonkeyPatch, device: str, use_amp: bool, outer: bool, expected: bool | None
) -> None:
    opened = []

    class Autocast:
        def __init__(self, device: str, enabled: bool) -> None:
            opened.append((device, enabled))

    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: outer)
    monkeypatch.setattr(torch, "autocast", Autocast)
    autocast(use_amp, torch.device(device))
    assert opened == ([] if expected is None else [("cuda", expected)])


def test_a_type_of_its_own_is_cast_to_on_any_device() -> None:
    cpu = torch.device("cpu")
    with autocast(False, cpu, torch.bfloat16):
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    assert autocast(False, cpu) is autocast(True, cpu)


@pytest.mark.parametrize("cached", [False, True], ids=["ours", "a context that keeps its cache"])
def test_inside_an_autocast_of_the_users_the_weights_are_not_stale(cached: bool) -> None:
    """The cache of cast weights is dropped when the outermost autocast ends, and that one is not ours."""
    layer, inputs = torch.nn.Linear(2, 2, bias=False), torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = []
        for _ in range(2):
            context = torch.autocast("cpu", torch.bfloat16)
            with context if cached else autocast(False, torch.device("cpu"), torch.bfloat16):
                outputs.append(layer(inputs))
            with torch.no_grad():
                layer.weight.mul_(2)
    assert torch.equal(outputs[0], outputs[1]) is cached


def test_bfloat16_becomes_what_numpy_can_read() -> None:
    half = torch.ones(2, dtype=torch.bfloat16)
    whole, text = torch.ones(2, dtype=torch.float64), "text"
    result = readable((half, [half, whole], {"a": half, "b": text}))
    assert isinstance(result, tuple)
    assert [result[0].dtype, result[1][0].dtype, result[2]["a"].dtype] == [torch.float32] * 3
    assert torch.equal(result[0].double(), half.double())
    assert result[1][1] is whole
    assert result[2]["b"] is text
    with pytest.raises(TypeError, match="BFloat16"):
        half.numpy()
