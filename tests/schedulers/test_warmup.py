"""Schedulers with a warm-up."""

import pickle
from typing import Any

import pytest
import torch

from compat import (
    ConstantWithWarmupScheduler,
    CosineWithWarmupScheduler,
    HardRestartsCosineWithWarmupScheduler,
    LambdaLRScheduler,
    LinearWithWarmupScheduler,
)
from compat.exceptions import CompatError, QuirkWarning
from tests.schedulers.test_basic import Rates
from tests.toys import make_loop

# Multipliers of steps 0 to 8, as the reference gave them.
MULTIPLIERS = {
    "constant": (ConstantWithWarmupScheduler(2), [0, 0.5, 1, 1, 1, 1, 1, 1, 1]),
    "linear": (LinearWithWarmupScheduler(2, 6), [0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0, 0]),
    "linear with broken numbers": (
        LinearWithWarmupScheduler(2.5, 6.5),
        [0, 0.4, 0.8, 0.875, 0.625, 0.375, 0.125, 0, 0],
    ),
    "linear without a warm-up": (LinearWithWarmupScheduler(0, 4), [1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0]),
    "linear of no steps": (LinearWithWarmupScheduler(0, 0), [0] * 9),
    "cosine": (
        CosineWithWarmupScheduler(2, 6),
        [0, 0.5, 1, 0.8535533905932737, 0.5, 0.14644660940672627, 0, 0.14644660940672616, 0.4999999999999999],
    ),
    "cosine of one and a half cycles": (
        CosineWithWarmupScheduler(2, 6, 1.5),
        [
            0,
            0.5,
            1,
            0.14644660940672627,
            0.4999999999999999,
            0.8535533905932738,
            0,
            0.8535533905932733,
            0.5000000000000002,
        ],
    ),
    "hard restarts": (
        HardRestartsCosineWithWarmupScheduler(2, 6),
        [0, 0.5, 1, 0.9619397662556434, 0.8535533905932737, 0.6913417161825449, 0, 0, 0],
    ),
    "hard restarts of two cycles": (
        HardRestartsCosineWithWarmupScheduler(2, 6, 2),
        [0, 0.5, 1, 0.5, 1, 0.5, 0, 0, 0],
    ),
}
NAMES = {
    "constant": "Warmed up constant learning rate scheduler",
    "linear": "Warmed up linearly decreasing learning rate scheduler",
    "cosine": "Warmed up cosine decreasing learning rate scheduler",
    "hard restarts": "Warmed up hard restarts cosine learning rate scheduler",
}


def rates(scheduler: Any, window: int = 1, **quirks: str) -> list[float]:
    """Train two epochs of three batches, and return the learning rate before the first and after each."""
    noted = Rates()
    loop = make_loop(quirks={"Q91": "kept", "Q11": "kept", **quirks})
    optimizer: Any = loop.optimizer
    first: list[float] = []
    noted.on_train_begin = lambda: first.append(optimizer.param_groups[0]["lr"])  # type: ignore[method-assign]
    loop.fit(num_epochs=2, callbacks=[scheduler, noted], grad_accumulation=window)
    return [round(rate * 10, 6) for rate in first + noted.batches]


@pytest.mark.parametrize(("scheduler", "expected"), MULTIPLIERS.values(), ids=list(MULTIPLIERS))
def test_multipliers_are_those_of_the_old_library(scheduler: Any, expected: list[float]) -> None:
    assert [scheduler.scheduler_args["lr_lambda"](step) for step in range(9)] == expected


@pytest.mark.parametrize(("kind", "name"), NAMES.items(), ids=list(NAMES))
def test_attributes(kind: str, name: str) -> None:
    scheduler: Any = MULTIPLIERS[kind][0]
    assert isinstance(scheduler, LambdaLRScheduler)
    assert scheduler.callback_name == name
    assert (scheduler.execute_epoch_end, scheduler.execute_batch_end) == (False, True)
    assert list(scheduler.scheduler_args) == ["last_epoch", "lr_lambda"]
    assert scheduler.scheduler_args["last_epoch"] == -1


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param(1, [0, 0.5, 1, 0.75, 0.5, 0.25, 0], id="every batch"),
        pytest.param(2, [0, 0, 0.5, 1, 1, 0.75, 0.5], id="updates only"),
    ],
)
def test_learning_rates_of_a_training(window: int, expected: list[float]) -> None:
    assert rates(LinearWithWarmupScheduler(2, 6), window) == expected


def test_first_update_changes_nothing_and_warns() -> None:
    loop = make_loop()
    before = [parameter.clone() for parameter in loop.model.parameters()]
    with pytest.warns(QuirkWarning, match="Q91: the warm-up schedulers start with a learning rate of 0"):
        loop.fit(num_iterations=1, callbacks=[LinearWithWarmupScheduler(2, 6)])
    assert all(torch.equal(old, new) for old, new in zip(before, loop.model.parameters(), strict=True))


def test_no_warning_without_a_warm_up() -> None:
    make_loop().fit(num_epochs=1, callbacks=[LinearWithWarmupScheduler(0, 6)])


def test_first_update_counts_when_fixed() -> None:
    assert rates(LinearWithWarmupScheduler(2, 6), Q91="fixed") == [0.5, 1, 1, 0.75, 0.5, 0.25, 0]


def test_switch_is_asked_at_each_registration() -> None:
    scheduler = ConstantWithWarmupScheduler(4)
    for mode, rate in (("fixed", 0.025), ("kept", 0.0)):
        loop = make_loop(quirks={"Q91": mode})
        scheduler.register_train_loop_object(loop)
        optimizer: Any = loop.optimizer
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


@pytest.mark.parametrize("kind", NAMES)
def test_can_be_pickled(kind: str) -> None:
    """Q57: they are sent to other processes."""
    scheduler: Any = MULTIPLIERS[kind][0]
    copy = pickle.loads(pickle.dumps(scheduler))
    multipliers = [copy.scheduler_args["lr_lambda"](step) for step in range(9)]
    assert multipliers == MULTIPLIERS[kind][1]


def test_state_holds_no_function_and_leaves_the_new_arguments_alone() -> None:
    source, target = LinearWithWarmupScheduler(2, 6), LinearWithWarmupScheduler(4, 12)
    for scheduler in (source, target):
        scheduler.register_train_loop_object(make_loop(quirks={"Q91": "kept"}))
    state = source.state_dict()
    assert state["lr_lambdas"] == [None]
    target.load_state_dict(state)
    assert target.scheduler_args["lr_lambda"](2) == 0.5
    assert target.scheduler.lr_lambdas[0](2) == 0.5


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"execute_epoch_end": True}, id="execute_epoch_end"),
        pytest.param({"execute_batch_end": False}, id="execute_batch_end"),
        pytest.param({"lr_lambda": max}, id="lr_lambda"),
    ],
)
def test_what_the_warm_up_sets_itself(extra: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="multiple values"):
        LinearWithWarmupScheduler(2, 6, **extra)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        pytest.param(
            lambda: LinearWithWarmupScheduler("a", 6),  # type: ignore[arg-type]
            r"LinearWithWarmupScheduler\(num_warmup_steps='a'\) is a str\. Pass a number",
            id="text",
        ),
        pytest.param(
            lambda: ConstantWithWarmupScheduler(None),  # type: ignore[arg-type]
            r"\(num_warmup_steps=None\) is a NoneType",
            id="none",
        ),
        pytest.param(
            lambda: CosineWithWarmupScheduler(1, 2, "x"),  # type: ignore[arg-type]
            r"CosineWithWarmupScheduler\(num_cycles='x'\)",
            id="cycles",
        ),
        pytest.param(
            lambda: HardRestartsCosineWithWarmupScheduler(1, [2]),  # type: ignore[arg-type]
            r"num_training_steps=\[2\]\) is a list",
            id="list",
        ),
    ],
)
def test_steps_that_are_no_numbers(make: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text) as caught:
        make()
    assert isinstance(caught.value, CompatError)


def test_optimizer_index_reaches_the_scheduler() -> None:
    assert LinearWithWarmupScheduler(2, 6, optimizer_idx=1).optimizer_idx == 1
