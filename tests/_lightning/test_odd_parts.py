"""Native parts that are used in odd ways: late hooks, stale metrics, swapped weights, stops at odd moments."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch.callbacks as native
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger

from compat import AbstractCallback
from compat.exceptions import InvalidArgumentError
from tests.toys import Recorder, batches, data_loader, make_loop

needs_averaging = pytest.mark.skipif(not hasattr(native, "EMAWeightAveraging"), reason="came with Lightning 2.6")


class Inserts(AbstractCallback):
    """Puts a metric into the history, every few epochs."""

    def __init__(self, value: Any = None, every: int = 1) -> None:
        """Keep the value; without one it is the epoch's number."""
        super().__init__("inserts")
        self.value, self.every = value, every

    def on_epoch_end(self) -> None:
        """Insert."""
        loop: Any = self.train_loop_obj
        if loop.epoch % self.every == 0:
            loop.insert_metric_result_into_history("own", loop.epoch if self.value is None else self.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what an epoch has not brought ------------------------------------------------------------------------------------


def test_only_the_parts_whose_metric_is_left_out_wait(tmp_path: Path) -> None:
    last = native.ModelCheckpoint(tmp_path / "all", save_top_k=-1)
    best = native.ModelCheckpoint(tmp_path / "best", monitor="val_loss", save_top_k=-1)
    own = native.EarlyStopping("own", patience=9, mode="max")
    loop = make_loop(train=batches(2), validation=batches(1), end_auto_eval=2)
    loop.fit(4, callbacks=[last, best, own, Inserts()])
    assert names(tmp_path / "all") == [f"epoch={epoch}-step={2 * epoch + 2}.ckpt" for epoch in range(4)]
    assert names(tmp_path / "best") == ["epoch=0-step=2.ckpt", "epoch=2-step=6.ckpt"]
    assert own.best_score == 3
    assert all("on_train_epoch_end" not in vars(each) for each in (last, best, own)), "each has its hooks back"


def test_patience_is_spent_on_new_values_of_an_old_callback_alone() -> None:
    stopping = native.EarlyStopping("own", patience=1)
    loop = make_loop(train=batches(2))
    loop.fit(9, callbacks=[Inserts(every=3), stopping])
    assert loop.train_history["own"] == [0, 3]
    assert loop.epoch == 3


@pytest.mark.parametrize("window", [1, 2])
def test_a_metric_of_an_old_callback_is_there_when_validation_ends(window: int, tmp_path: Path) -> None:
    part = native.ModelCheckpoint(
        tmp_path, monitor="own", save_top_k=-1, save_on_train_epoch_end=False, filename="{epoch}-{own}"
    )
    make_loop(train=batches(2)).fit(2, callbacks=[Inserts(), part], grad_accumulation=window)
    assert names(tmp_path) == ["epoch=0-own=0.0.ckpt", "epoch=1-own=1.0.ckpt"]


def test_a_checkpoint_that_waits_in_vain_is_an_error(tmp_path: Path) -> None:
    loop = make_loop(train=batches(2), validation=batches(1))
    with pytest.raises(InvalidArgumentError, match=r"monitor='val_los'.*There are: accumulated_loss, loss, val_loss"):
        loop.fit(3, callbacks=[native.ModelCheckpoint(tmp_path, monitor="val_los")])


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(2), np.array(0.5), np.array([0.5]), torch.tensor(2), True])
def test_numbers_of_every_kind_are_metrics(value: Any) -> None:
    loop, stopping = make_loop(), native.EarlyStopping("own")
    loop.fit(1, callbacks=[Inserts(value), stopping])
    assert stopping.best_score.item() == float(np.asarray(value).item())


# --- weights that a part swaps ----------------------------------------------------------------------------------------


class Looks(AbstractCallback):
    """Evaluates where it can, as old callbacks do."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        super().__init__("looks")
        self.seen: list[tuple[float, Any]] = []

    def look(self) -> None:
        """Note the loss, as it is stored or not, and the predictions."""
        loop: Any = self.train_loop_obj
        self.seen.append((loop.evaluate_loss_on_validation_set().item(), loop.predict_on_validation_set()[0].clone()))

    def on_epoch_end(self) -> None:
        """Look."""
        self.look()

    def on_train_end(self) -> None:
        """Look."""
        self.look()


@needs_averaging
@pytest.mark.parametrize("averages", [{}, {"update_every_n_steps": 0, "update_starting_at_epoch": 0}], ids=str)
def test_old_callbacks_and_the_loop_see_the_averaged_weights_where_losses_do(averages: dict[str, Any]) -> None:
    loop, looks = make_loop(train=batches(4), validation=batches(2)), Looks()
    loop.fit(2, callbacks=[looks, native.EMAWeightAveraging(decay=0.5, **averages)])
    assert [loss for loss, _ in looks.seen[:2]] == loop.train_history["val_loss"]
    forced = loop.predict_on_validation_set(force_prediction=True)[0]
    assert looks.seen[-1][1].equal(forced)
    assert looks.seen[-1][0] == loop.evaluate_loss_on_validation_set(force_prediction=True).item()


@needs_averaging
def test_a_checkpoint_holds_the_weights_that_its_score_was_measured_with(tmp_path: Path) -> None:
    class Measures(Inserts):
        def on_epoch_end(self) -> None:
            loop: Any = self.train_loop_obj
            predicted = loop.predict_on_validation_set()[0]
            loop.insert_metric_result_into_history("own", predicted.double().sum().item())

    part = native.ModelCheckpoint(tmp_path, monitor="own")
    loop = make_loop(train=batches(4), validation=batches(2))
    loop.fit(2, callbacks=[Measures(), native.EMAWeightAveraging(decay=0.5), part])
    saved = torch.load(part.best_model_path, weights_only=True)["state_dict"]
    other = make_loop(train=batches(4), validation=batches(2))
    other.model.load_state_dict({key.removeprefix("model."): value for key, value in saved.items()})
    assert part.best_model_score is not None
    assert other.predict_on_validation_set()[0].double().sum().item() == part.best_model_score.item()


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_that_appear_in_setup_are_heard() -> None:
    class Late(Callback):
        seen = 0

        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            self.on_train_batch_end = self.count  # type: ignore[assignment, method-assign]

        def count(self, *_: Any) -> None:
            self.seen += 1

    late = Late()
    make_loop(train=batches(4)).fit(1, callbacks=[late])
    assert late.seen == 4


def test_gradient_hooks_can_log(tmp_path: Path) -> None:
    class Logs(Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            pl_module.log("batch", float(trainer.fit_loop.epoch_loop.batch_idx), on_step=True, on_epoch=False)

    args = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 3}
    loop = make_loop(train=batches(6), lightning_args=args)
    loop.fit(1, callbacks=[Logs()])
    header, *rows = [line.split(",") for line in (Path(loop.trainer.log_dir) / "metrics.csv").read_text().splitlines()]
    logged = [(row[header.index("step")], row[header.index("batch")]) for row in rows if row[header.index("batch")]]
    assert logged == [("2", "2.0"), ("5", "5.0")]


def test_the_last_batch_is_known_before_it_is_trained() -> None:
    class Last(Callback):
        def __init__(self) -> None:
            self.seen: list[bool] = []

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.seen.append(trainer.is_last_batch)

        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            self.seen.append(trainer.is_last_batch)

    last = Last()
    make_loop(train=batches(3)).fit(1, callbacks=[last])
    assert last.seen == [False, False, False, False, True, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError("x")], ids=repr)
def test_native_callbacks_hear_of_the_error_itself(error: BaseException) -> None:
    class Hears(Callback):
        def __init__(self) -> None:
            self.heard: list[BaseException] = []

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self.heard.append(exception)

    class Raises(AbstractCallback):
        def on_batch_end(self) -> None:
            raise error

    hears = Hears()
    with pytest.raises(type(error)):
        make_loop().fit(1, callbacks=[hears, Raises("raises")])
    assert hears.heard == [error]
    assert "on_exception" not in vars(hears)


def test_stopping_where_an_epoch_begins_leaves_no_half_epoch_behind() -> None:
    class Stops(Callback):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = trainer.current_epoch == 1

    loop, recorder = make_loop(train=batches(2)), Recorder()
    loop.fit(3, callbacks=[Stops(), recorder])
    assert len(loop.train_history["loss"]) == 1
    assert recorder.names().count("epoch_end") == 1
    assert recorder.names()[-1] == "train_end"


def test_throughput_is_measured_beside_a_validation_loop(tmp_path: Path) -> None:
    part = native.ThroughputMonitor(batch_size_fn=lambda batch: batch[0].size(0), window_size=2)
    args = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 2}
    loop = make_loop(train=batches(4), validation=batches(1), lightning_args=args)
    with pytest.warns(UserWarning, match="flops_per_batch"):
        loop.fit(1, callbacks=[part, native.LambdaCallback(on_validation_end=lambda *_: None)])
    assert loop.trainer is not None
    assert "train/device/batches_per_sec" in (Path(loop.trainer.log_dir or "") / "metrics.csv").read_text()


def test_native_parts_find_the_data_set_behind_the_loader() -> None:
    class Finds(Callback):
        found: Any = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.found = len(trainer.train_dataloader.dataset), trainer.train_dataloader.batch_size
            assert not hasattr(trainer.train_dataloader, "sampler")

    finds = Finds()
    make_loop(train=data_loader(6, 2)).fit(1, callbacks=[finds])
    assert finds.found == (6, 2)


class Norms(Callback):
    """Reads the norm of the gradients before they are stepped on."""

    def __init__(self) -> None:
        """Start with nothing read."""
        self.norms: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Read."""
        self.norms.append(math.sqrt(sum(p.grad.square().sum().item() for p in pl_module.model.parameters())))


@pytest.mark.parametrize("ours", [True, False])
def test_gradients_are_shown_without_their_scale(ours: bool) -> None:
    from compat._amp import LoopScaler

    plain, scaled = Norms(), Norms()
    make_loop(train=batches(3)).fit(1, callbacks=[plain])
    loop = make_loop(train=batches(3))
    scale = 1024.0
    loop.amp_scaler = LoopScaler(device="cpu", init_scale=scale) if ours else torch.amp.GradScaler("cpu", scale)
    loop.fit(1, callbacks=[scaled])
    assert scaled.norms == pytest.approx(plain.norms)
