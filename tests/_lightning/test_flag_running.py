"""``lightning_args``: what the Trainer is handed as it is: how it is checked, and that it has its effect."""

import inspect
import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.io import CheckpointIO, TorchCheckpointIO
from lightning.pytorch.profilers import SimpleProfiler

from compat._lightning.flag_running import RUNNING
from compat._lightning.flags import read_flags
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError
from tests.toys import Linear, Recorder, batches, make_loop, on


def fitted(lightning_args: dict[str, Any], epochs: int = 2, callbacks: Any = (), **options: Any) -> Any:
    """Return a loop after a fit."""
    loop = make_loop(validation=batches(2), lightning_args={"accelerator": "cpu", **lightning_args}, **options)
    loop.fit(num_epochs=epochs, callbacks=list(callbacks))
    return loop


OF_THE_TRAINER = inspect.signature(Trainer.__init__).parameters

# --- reading --------------------------------------------------------------------------------------------------------

LOGGER = CSVLogger("nowhere")
ACCEPTED: dict[str, list[Any]] = {
    "logger": [True, False, LOGGER, [LOGGER], []],
    "profiler": ["simple", "advanced", "pytorch", SimpleProfiler()],
    "max_time": ["00:12:00:00", {"minutes": 5}, timedelta(minutes=5)],
    "min_epochs": [0, 3],
    "min_steps": [0, 3],
    "log_every_n_steps": [0, 1, 50],
    "default_root_dir": ["folder", Path("folder")],
    "enable_checkpointing": [True, False],
    "enable_progress_bar": [True, False],
    "enable_model_summary": [True, False],
    "enable_autolog_hparams": [False],
    "detect_anomaly": [True],
    "deterministic": [True, False, "warn"],
    "benchmark": [True, False],
    "barebones": [True],
}


def test_accepted_values_are_handed_on_unchanged() -> None:
    assert ACCEPTED.keys() == RUNNING.keys()
    for name, values in ACCEPTED.items():
        for value in values if name in OF_THE_TRAINER else []:
            flags, problems = read_flags({name: value})
            assert problems == []
            assert flags.trainer == {name: value}


def test_an_iterable_of_loggers_becomes_a_list_that_can_be_read_twice() -> None:
    assert read_flags({"logger": iter((LOGGER, LOGGER))})[0].trainer == {"logger": [LOGGER, LOGGER]}
    assert read_flags({"profiler": "Simple"})[0].trainer == {"profiler": "simple"}


@pytest.mark.parametrize(
    ("lightning_args", "error", "text"),
    [
        ({"logger": "csv"}, InvalidTypeError, "'logger': ...} has a str, which is no logger. Use a logger of"),
        ({"logger": CSVLogger}, InvalidTypeError, "has the class CSVLogger, which is no logger"),
        ({"logger": [LOGGER, 3]}, InvalidTypeError, "has a int, which is no logger"),
        ({"profiler": "fast"}, InvalidArgumentError, "'fast'} is no profiler. Use 'simple', 'advanced' or 'pytorch'"),
        ({"profiler": "xla"}, RefusedError, "'xla'} is not served: the loop trains on the CPU and on CUDA"),
        ({"profiler": LOGGER}, InvalidTypeError, r"CSVLogger\(...\)} is a CSVLogger. Use 'simple'"),
        ({"max_time": "12 hours"}, InvalidArgumentError, "'12 hours'} is no duration: the text has another"),
        ({"max_time": "9999999999:00:00:00"}, InvalidArgumentError, "is no duration: .*Use a datetime.timedelta"),
        ({"max_time": {"seconds": float("nan")}}, InvalidArgumentError, "'seconds': nan}} is no duration: .*Use a"),
        ({"max_time": {"days": 10**12}}, InvalidArgumentError, "is no duration: .*Use a datetime.timedelta"),
        ({"max_time": {"days": float("inf")}}, InvalidArgumentError, "is no duration: .*Use a datetime.timedelta"),
        ({"max_time": {"seconds": -1}}, InvalidArgumentError, "'seconds': -1}} is below 0. Use a datetime.timedelta"),
        ({"max_time": timedelta(days=-1)}, InvalidArgumentError, "is below 0. Use a datetime.timedelta"),
        ({"max_time": {}}, InvalidArgumentError, "'max_time': {}} is no duration: it is empty. Use"),
        ({"max_time": {"moons": 1}}, InvalidArgumentError, "is no duration: .*moons.*such as {'minutes': 5}"),
        ({"max_time": 60}, InvalidTypeError, "60} is a int. Use a datetime.timedelta"),
        ({"min_epochs": -1}, InvalidArgumentError, "-1} is below 0. Use a whole number, 0 or more."),
        ({"min_steps": 1.5}, InvalidTypeError, "1.5} is a float. Use a whole number"),
        ({"log_every_n_steps": True}, InvalidTypeError, "True} is a bool. Use a whole number"),
        ({"default_root_dir": 3}, InvalidTypeError, "3} is a int. Use a path"),
        ({"enable_checkpointing": 1}, InvalidTypeError, "1} is a int. Use True or False."),
        ({"detect_anomaly": "yes"}, InvalidTypeError, "'yes'} is a str. Use True or False."),
        ({"deterministic": "always"}, InvalidArgumentError, "says neither. Use True, False or 'warn'."),
        ({"deterministic": 1}, InvalidTypeError, "says neither. Use True, False or 'warn'."),
        ({"plugins": MixedPrecision("bf16-mixed", "cpu")}, RefusedError, "has its own precision and its own processes"),
        ({"plugins": [LightningEnvironment()]}, RefusedError, "for several processes gpu_mode='ddp'"),
        ({"plugins": "x"}, RefusedError, "'plugins': 'x'} is not served"),
        ({"plugins": 3}, InvalidTypeError, "'plugins': int} is no plugin. Use a CheckpointIO"),
        ({"callbacks": EarlyStopping}, InvalidTypeError, "the class EarlyStopping. Pass an instance, EarlyStopping"),
        ({"callbacks": [Recorder]}, InvalidTypeError, "the class Recorder. Pass an instance, Recorder"),
        ({"callbacks": Recorder()}, InvalidTypeError, r"a callback of the old kind.*Pass it to fit\(callbacks="),
        ({"callbacks": (ModelCheckpoint(), Recorder())}, InvalidTypeError, "has the Recorder, a callback of the old"),
        ({"callbacks": "x"}, InvalidTypeError, "has 'x', a str. Use a list of callbacks of lightning.pytorch, or a si"),
        ({"callbacks": {"a": ModelCheckpoint()}}, InvalidTypeError, "a dict. Use a list of callbacks"),
        ({"callbacks": [None]}, InvalidTypeError, "has None, a NoneType. Use a list of callbacks"),
        ({"callbacks": iter([ModelCheckpoint()])}, InvalidTypeError, "a list_iterator. Use a list of callbacks"),
        ({"callbacks": int}, InvalidTypeError, "has <class 'int'>, a type. Use a list of callbacks"),
        ({"plugins": [TorchCheckpointIO()] * 2}, InvalidArgumentError, "has 2 CheckpointIO. Use one."),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(
    lightning_args: dict[str, Any], error: type[CompatError], text: str
) -> None:
    with pytest.raises(error, match=text) as raised:
        make_loop(lightning_args=lightning_args)
    assert type(raised.value) is error


def test_parts_of_the_other_package_are_refused_with_the_one_to_import() -> None:
    for name in ("logger", "profiler", "plugins"):
        foreign = type("Foreign", (), {"__module__": "pytorch_lightning.parts"})()
        (problem,) = read_flags({name: foreign})[1]
        assert type(problem) is InvalidTypeError
        assert f"lightning_args={{{name!r}: Foreign" in str(problem)
        assert "comes from the package `pytorch_lightning`" in str(problem)
        assert "Import it from `lightning.pytorch` instead." in str(problem)


def test_good_callbacks_are_taken_one_or_many() -> None:
    one, other = EarlyStopping("loss"), ModelCheckpoint()
    for given, taken in ((one, (one,)), ([one, other], (one, other)), ((other, one), (other, one)), ([], ())):
        flags, problems = read_flags({"callbacks": given})
        assert (flags.callbacks, problems) == (taken, [])


def test_all_bad_callbacks_are_named_at_once() -> None:
    (problem,) = read_flags({"callbacks": [Recorder(), "x", EarlyStopping("loss"), None]})[1]
    for part in ("3 problems", "the Recorder", "'x', a str", "None, a NoneType"):
        assert part in str(problem)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_callbacks_of_the_other_package_are_refused_with_the_one_to_import() -> None:
    import pytorch_lightning

    with pytest.raises(InvalidTypeError, match=r"from lightning\.pytorch\.callbacks import EarlyStopping"):
        make_loop(lightning_args={"callbacks": [pytorch_lightning.callbacks.EarlyStopping("loss")]})


def test_a_flag_that_this_lightning_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch

    class Older:
        def __init__(self, logger: Any = None) -> None:
            self.logger = logger

    monkeypatch.setattr(lightning.pytorch, "Trainer", Older)
    (problem,) = read_flags({"enable_autolog_hparams": False})[1]
    assert type(problem) is InvalidArgumentError
    assert f"Lightning {lightning.__version__} has no such flag. Leave it out." in str(problem)


# --- combinations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lightning_args", "text"),
    [
        ({"barebones": True, "logger": LOGGER}, r"'logger': CSVLogger\(...\)} contradicts 'barebones': True"),
        ({"barebones": True, "profiler": "simple"}, "'profiler': 'simple'} contradicts 'barebones'"),
        ({"barebones": True, "enable_checkpointing": True}, "'enable_checkpointing': True} contradicts"),
        ({"barebones": True, "enable_progress_bar": True}, "'enable_progress_bar': True} contradicts"),
        ({"barebones": True, "enable_model_summary": True}, "'enable_model_summary': True} contradicts"),
        ({"barebones": True, "log_every_n_steps": 1}, "'log_every_n_steps': 1} contradicts"),
        ({"barebones": True, "fast_dev_run": True}, "'fast_dev_run': True} contradicts"),
        ({"barebones": True, "detect_anomaly": True}, "'detect_anomaly': True} contradicts"),
        (
            {"enable_checkpointing": False, "callbacks": ModelCheckpoint()},
            "'enable_checkpointing': False} contradicts the ModelCheckpoint in 'callbacks', a checkpoint callback",
        ),
        (
            {"enable_progress_bar": False, "callbacks": [TQDMProgressBar()]},
            "'enable_progress_bar': False} contradicts the TQDMProgressBar in 'callbacks', a progress bar",
        ),
        (
            {"barebones": True, "callbacks": [ModelCheckpoint()]},
            "'barebones': True} contradicts the ModelCheckpoint in 'callbacks', a checkpoint callback",
        ),
        (
            {"barebones": True, "callbacks": [TQDMProgressBar()]},
            "'barebones': True} contradicts the TQDMProgressBar in 'callbacks', a progress bar",
        ),
        ({"callbacks": [TQDMProgressBar(), TQDMProgressBar()]}, "has 2 progress bars, and a Trainer shows one"),
    ],
)
def test_what_lightning_would_refuse_together_is_refused_early(lightning_args: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=text):
        make_loop(lightning_args=lightning_args)


def test_what_goes_together_is_not_refused() -> None:
    for given in (
        {"barebones": True, "logger": False, "log_every_n_steps": 0, "enable_checkpointing": False},
        {"enable_checkpointing": True, "callbacks": ModelCheckpoint()},
        {"enable_progress_bar": True, "callbacks": [TQDMProgressBar()]},
        {"enable_checkpointing": False, "callbacks": [EarlyStopping("loss")]},
        {"benchmark": True, "deterministic": True},
    ):
        assert read_flags(given)[1] == []


# --- effects --------------------------------------------------------------------------------------------------------


def test_a_logger_gets_the_history_and_hyperparameters_are_no_concern(tmp_path: Path) -> None:
    further = {"enable_autolog_hparams": False} if "enable_autolog_hparams" in OF_THE_TRAINER else {}
    loop = fitted({"logger": CSVLogger(tmp_path, name="runs", version=0), **further})
    (written,) = tmp_path.rglob("metrics.csv")
    header, *rows = written.read_text().splitlines()
    column = header.split(",").index("val_loss")
    assert [float(row.split(",")[column]) for row in rows] == loop.train_history["val_loss"]


def test_several_loggers_and_none_are_those_of_the_trainer(tmp_path: Path) -> None:
    loggers: list[Logger] = [CSVLogger(tmp_path, name=name) for name in ("a", "b")]
    assert fitted({"logger": loggers}).trainer.loggers == loggers
    assert fitted({"logger": False}).trainer.loggers == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_folder_and_the_checkpoints_of_the_trainer_are_switched_on_together(tmp_path: Path) -> None:
    fitted({"default_root_dir": tmp_path, "enable_checkpointing": True}, epochs=1)
    (written,) = tmp_path.rglob("*.ckpt")
    assert written.stat().st_size > 0


class _Loud(CheckpointIO):
    """Writes a word in place of a checkpoint."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f"epoch {checkpoint['epoch']}")

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: Any = None) -> Any:
        """Do nothing."""

    def remove_checkpoint(self, path: Any) -> None:
        """Remove."""
        Path(path).unlink()


def test_a_plugin_for_checkpoints_writes_them_and_the_precision_stays_the_loop_s(tmp_path: Path) -> None:
    args = {"plugins": _Loud(), "default_root_dir": tmp_path, "enable_checkpointing": True, "precision": "bf16-mixed"}
    loop = fitted(args, epochs=1)
    (written,) = tmp_path.rglob("*.ckpt")
    assert written.read_text() == "epoch 0"
    assert loop.trainer.precision == "bf16-mixed"


@pytest.fixture
def lightning_lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Let pytest see what Lightning logs, which it keeps from the root logger."""
    logger = logging.getLogger("lightning.pytorch")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_a_profiler_profiles_and_its_table_is_shown(lightning_lines: pytest.LogCaptureFixture) -> None:
    fitted({"profiler": "simple"})
    assert "Profiler Report" in lightning_lines.text
    assert "run_training_epoch" in lightning_lines.text
    lightning_lines.clear()
    fitted({})
    assert "Profiler Report" not in lightning_lines.text


@pytest.mark.filterwarnings("ignore:The PyTorch Profiler default schedule will be overridden")
@pytest.mark.parametrize("kind", ["advanced", "pytorch"])
def test_other_profilers_record_the_fit(kind: str, tmp_path: Path) -> None:
    from lightning.pytorch import profilers

    name = {"advanced": "AdvancedProfiler", "pytorch": "PyTorchProfiler"}[kind]
    profiler = getattr(profilers, name)(dirpath=tmp_path, filename="report")
    fitted({"profiler": profiler}, epochs=1)
    (written,) = tmp_path.glob("fit-report*.txt")
    assert {"advanced": "training_step", "pytorch": "aten::addmm"}[kind] in written.read_text()


def test_a_model_summary_is_printed_when_it_is_asked_for(capsys: pytest.CaptureFixture[str], caplog: Any) -> None:
    fitted({"enable_model_summary": True}, epochs=1)
    assert "Linear" in capsys.readouterr().out + caplog.text
    fitted({"enable_model_summary": False}, epochs=1)
    assert "Linear" not in capsys.readouterr().out


def test_no_time_at_all_ends_the_fit_after_a_batch() -> None:
    loop = fitted({"max_time": timedelta(0)}, epochs=3)
    assert loop.total_iteration_idx < 3
    assert fitted({"max_time": {"hours": 1}}, epochs=3).total_iteration_idx == 8


class _Stop(Callback):
    """Asks the Trainer to stop in the first epoch."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Ask."""
        trainer.should_stop = True


def test_a_fit_goes_on_for_the_least_epochs_and_steps_whoever_asks_the_trainer_to_stop() -> None:
    assert fitted({"callbacks": _Stop()}, epochs=4).epoch == 0
    assert fitted({"callbacks": [_Stop()], "min_epochs": 3}, epochs=4).epoch == 2
    # Three batches an epoch, and as many updates.
    assert fitted({"callbacks": [_Stop()], "min_steps": 6}, epochs=4).epoch == 1


class _Bad(Linear):
    """Has a step backward that gives no number."""

    def forward(self, inputs: torch.Tensor) -> Any:
        """Take the root of something negative."""
        return torch.sqrt(-self.layer(inputs).abs() - 1)


def test_anomalies_are_found_where_they_are_made_if_that_is_asked_for() -> None:
    make_loop(_Bad(), lightning_args={"accelerator": "cpu"}).fit(1)
    loop = make_loop(_Bad(), lightning_args={"accelerator": "cpu", "detect_anomaly": True})
    with pytest.warns(UserWarning, match="Error detected in .*Backward0"), pytest.raises(RuntimeError, match="nan"):
        loop.fit(1)
    assert not torch.is_anomaly_enabled()


def test_a_trainer_for_raw_speed_trains_the_same_numbers() -> None:
    assert fitted({"barebones": True}).train_history["loss"] == fitted({}).train_history["loss"]


def test_deterministic_algorithms_are_used_while_the_fit_runs() -> None:
    seen: list[Any] = []

    def look(loop: Any) -> None:
        seen.append((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark))

    fitted({"deterministic": True}, callbacks=[on("batch_end", look)])
    assert set(seen) == {(True, False)}
    assert not torch.are_deterministic_algorithms_enabled()
