"""When a logger gets what: once an epoch, only what is new, and on from where the last fit left off."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from compat import EarlyStopping, FunctionOnTrainLoop, TrainLoop
from compat.exceptions import InvalidTypeError
from tests.both_worlds.parts_loggers import OwnLogger
from tests.toys import Linear, batches, make_loop, on

BATCHES = 3


def loop_with(logger: Any, **options: Any) -> TrainLoop:
    """Make a loop that evaluates on three batches, and logs."""
    args = {"logger": logger, **options.pop("args", {})}
    return make_loop(validation=batches(2), lightning_args=args, **options)


def rows(logger: OwnLogger, name: str) -> dict[int | None, float]:
    """Return what a logger got under a name, by step."""
    found = [(step, row[name]) for step, row in logger.rows if name in row]
    assert len(dict(found)) == len(found), "nothing is logged twice at one step"
    return dict(found)


def accuracy(values: list[float]) -> FunctionOnTrainLoop:
    """Make an old callback that records a metric of its own in each epoch."""
    left = iter(values)
    return on("epoch_end", lambda loop: loop.insert_metric_result_into_history("accuracy", next(left)))


def test_metric_of_an_old_callback_is_logged_in_its_epoch() -> None:
    logger = OwnLogger()
    loop = loop_with(logger)
    loop.fit(2, callbacks=[accuracy([0.25, 0.75])])
    assert rows(logger, "accuracy") == {2: 0.25, 5: 0.75}


def test_value_that_no_epoch_refreshed_is_not_logged_again() -> None:
    logger = OwnLogger()
    loop = loop_with(logger, end_auto_eval=2)
    loop.fit(4)
    values = loop.train_history["val_loss"]
    assert rows(logger, "val_loss") == {2: values[0], 8: values[1]}
    assert list(rows(logger, "accumulated_loss")) == [2, 5, 8, 11]


def test_second_fit_goes_on_where_the_first_left_off() -> None:
    logger = OwnLogger()
    loop = loop_with(logger, quirks={"Q01": "kept"})
    loop.fit(2)
    loop.fit(3)
    last = loop.total_iteration_idx
    steps = list(rows(logger, "accumulated_loss"))
    assert steps[:2] == [2, 5]
    assert steps[-1] == last
    assert list(rows(logger, "accumulated_loss").values()) == loop.train_history["accumulated_loss"]
    assert logger.status == ["success", "success"]


def test_losses_of_single_batches_are_logged_only_when_asked() -> None:
    quiet, asked = OwnLogger(), OwnLogger()
    loop_with(quiet).fit(1)
    loop_with(asked, args={"log_every_n_steps": 1}).fit(1)
    assert rows(quiet, "accumulated_loss_step") == {}
    steps = rows(asked, "accumulated_loss_step")
    assert list(steps) == [0, 1, 2]
    assert sum(steps.values()) / BATCHES == pytest.approx(rows(asked, "accumulated_loss")[2])


@pytest.mark.parametrize("args", [{}, {"log_every_n_steps": 0}], ids=["not given", "zero"])
def test_logger_of_epochs_leaves_whole_epochs_to_a_step(args: dict[str, Any]) -> None:
    loop = loop_with(OwnLogger(), args=args)
    loop.fit(1)
    module: Any = loop.lightning_module
    assert module.cadence.reasons == ()


def test_logger_is_told_of_a_fit_that_failed() -> None:
    logger = OwnLogger()
    loop = loop_with(logger)

    def fail(loop: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.fit(1, callbacks=[on("epoch_end", fail)])
    assert logger.status == ["failed"]


def test_logger_changes_nothing_in_the_training(tmp_path: Path) -> None:
    bare, logged = make_loop(Linear()), make_loop(Linear(), lightning_args={"logger": CSVLogger(tmp_path)})
    for loop in (bare, logged):
        torch.manual_seed(0)
        loop.fit(2, callbacks=[EarlyStopping(monitor="loss", patience=9)])
    assert logged.train_history.train_history == bare.train_history.train_history
    for ours, theirs in zip(logged.model.parameters(), bare.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_logger_writes_nothing_but_its_own_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    loop_with(TensorBoardLogger(tmp_path, "board", "")).fit(1)
    assert [path.name for path in tmp_path.iterdir()] == ["board"]


@pytest.mark.parametrize("given", [OwnLogger, object(), "csv", [CSVLogger]], ids=["class", "object", "text", "list"])
def test_what_is_no_logger_is_an_early_error(given: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"no logger\. Use a logger of lightning\.pytorch\.loggers"):
        make_loop(lightning_args={"logger": given})


def test_packages_of_the_loggers_are_an_extra_and_tested() -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    assert {"tensorboard", "wandb", "mlflow-skinny"} <= {name.partition(">")[0] for name in extras["loggers"]}
    assert set(extras["loggers"]) <= set(extras["dev"])
