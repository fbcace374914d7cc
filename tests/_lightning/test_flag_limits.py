"""``lightning_args``: which numbers of batches are read, and how."""

from typing import Any

import pytest

from compat._lightning.flag_limits import LIMITS, Limits
from compat._lightning.flags import Flags, read_flags
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError


def limits(**given: Any) -> Limits:
    """Return what is read of limits without a problem."""
    flags, problems = read_flags(given)
    assert problems == []
    return flags.limits


def problems(**given: Any) -> list[CompatError]:
    """Return what is wrong with limits."""
    return read_flags(given)[1]


@pytest.mark.parametrize(
    ("value", "read"), [(3, 3), (1, 1), (0, 0), (3.0, 3), (0.0, 0), (0.5, 0.5), (1.0, None), (None, None)]
)
@pytest.mark.parametrize(("name", "field"), [(f"limit_{data}_batches", data) for data in ("train", "val", "test")])
def test_an_int_is_a_number_and_a_float_a_share(name: str, field: str, value: Any, read: Any) -> None:
    assert limits(**{name: value}) == Limits(**{field: read})
    assert type(getattr(limits(**{name: value}), field)) is type(read)


def test_all_batches_are_no_limit_but_for_overfitting() -> None:
    assert not limits(limit_train_batches=1.0, limit_val_batches=1.0, fast_dev_run=0, overfit_batches=0)
    # All of them, but in their own order.
    assert limits(overfit_batches=1.0) == Limits(overfit=1.0)
    assert limits(overfit_batches=2) == Limits(overfit=2)
    assert limits(limit_test_batches=1)


@pytest.mark.parametrize(("value", "read"), [(True, 1), (1, 1), (3, 3), (0, 0), (False, 0)])
def test_a_trial_run_is_one_batch_or_as_many_as_it_says(value: Any, read: int) -> None:
    flags, found = read_flags({"fast_dev_run": value})
    assert found == []
    assert flags == Flags(limits=Limits(fast_dev_run=read), trainer={"fast_dev_run": read} if read else {})
    assert type(flags.limits.fast_dev_run) is int


@pytest.mark.parametrize("name", [name for name in LIMITS if name != "fast_dev_run"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (True, InvalidTypeError),
        ("3", InvalidTypeError),
        (-1, InvalidArgumentError),
        (-0.5, InvalidArgumentError),
        (1.5, InvalidArgumentError),
        (float("nan"), InvalidArgumentError),
        (float("inf"), InvalidArgumentError),
    ],
)
def test_what_is_no_number_of_batches_is_named(name: str, value: Any, error: type[CompatError]) -> None:
    (found,) = problems(**{name: value})
    assert type(found) is error
    assert f"{name!r}: {value!r}" in str(found)
    assert "Use a whole number of batches, or a float from 0.0 to 1.0" in str(found)


@pytest.mark.parametrize(("value", "error"), [(-1, InvalidArgumentError), (0.5, InvalidTypeError)])
def test_what_is_no_trial_run_is_named(value: Any, error: type[CompatError]) -> None:
    (found,) = problems(fast_dev_run=value)
    assert type(found) is error
    assert "Use True for one batch of each set, a number of batches, or False." in str(found)


@pytest.mark.parametrize("other", [{"limit_train_batches": 3}, {"limit_val_batches": 0.5}, {"fast_dev_run": True}])
def test_overfitting_and_another_limit_contradict_each_other(other: dict[str, Any]) -> None:
    (found,) = problems(overfit_batches=2, **other)
    assert type(found) is InvalidArgumentError
    assert f"{{'overfit_batches': 2}} contradicts {other!r}" in str(found)


def test_overfitting_goes_with_a_limit_of_the_test_set() -> None:
    assert limits(overfit_batches=2, limit_test_batches=3) == Limits(overfit=2, test=3)


def test_a_trial_run_goes_before_other_limits_as_in_lightning() -> None:
    assert limits(fast_dev_run=True, limit_train_batches=0.5) == Limits(fast_dev_run=1, train=0.5)
