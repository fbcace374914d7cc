"""Lightning's loggers, which get the history and, when asked, the loss of single batches."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from tests.both_worlds.cells import BATCHES, EPOCHS, Attached, Fit, Setting
from tests.both_worlds.part import NativePart, refused
from tests.both_worlds.parts_monitors import LOG_EVERY, LOGGED, column, csv_logger

ENDS = range(BATCHES - 1, EPOCHS * BATCHES, BATCHES)


def logger(*made: Callable[[Setting], Any], **args: Any) -> Callable[[Setting], Attached]:
    """Attach loggers: one as it is, several as a list."""

    def make(setting: Setting) -> Attached:
        loggers = [each(setting) for each in made]
        return Attached(args={"logger": loggers[0] if len(loggers) == 1 else loggers, **args})

    return make


def expected(fit: Fit) -> dict[str, dict[int, float]]:
    """Return what a logger must have got: each entry of the history at its epoch's last batch, and the epoch."""
    found = {key: dict(zip(ENDS, values, strict=True)) for key, values in fit.history.items() if len(values) == EPOCHS}
    ended = {key: {ENDS[-1]: values[0]} for key, values in fit.history.items() if key.startswith("train_end_")}
    return {**found, **ended, "epoch": dict(zip(ENDS, map(float, range(EPOCHS)), strict=True))}


def got_the_history(read: Callable[[Fit, str], Mapping[int, float]], kind: Any = float) -> Callable[[Fit], None]:
    """Make a check that a logger has what it must have, and no loss of single batches.

    Args:
        read: Reads the values under a name, by step.
        kind: What the logger keeps numbers as.
    """

    def check(fit: Fit) -> None:
        fit.finished()
        for name, values in expected(fit).items():
            assert read(fit, name) == {step: float(kind(value)) for step, value in values.items()}, name
        for name in step_losses(fit):
            assert read(fit, name) == {}

    return check


def step_losses(fit: Fit) -> dict[str, dict[int, float]]:
    """Return the losses of the single batches at which Lightning logs, by name and step."""
    count = fit.setting.optimizers
    names = (
        ("accumulated_loss_step",) if count == 1 else ("accumulated_loss_first_step", "accumulated_loss_second_step")
    )
    return {name: {step: fit.losses[count * step + index] for step in LOGGED} for index, name in enumerate(names)}


def got_steps_too(fit: Fit) -> None:
    """With an explicit interval the losses of single batches are there, beside the history."""
    fit.finished()
    for name, values in step_losses(fit).items():
        assert column(fit, name) == values
    for name, values in expected(fit).items():
        if name != "epoch":
            assert column(fit, name) == values


class OwnLogger(Logger):
    """A logger of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []
        self.status: list[str] = []

    @property
    def name(self) -> str:
        return "own"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Keep none."""

    def finalize(self, status: str) -> None:
        self.status.append(status)


def own_rows(fit: Fit, name: str) -> dict[int, float]:
    """Read what a logger of the user's own got under a name."""
    own = next(each for each in fit.trainer.loggers if isinstance(each, OwnLogger))
    assert own.status == ["success"]
    return {step: row[name] for step, row in own.rows if step is not None and name in row}


def both_got_it(fit: Fit) -> None:
    """Of several loggers each gets all."""
    got_the_history(column)(fit)
    got_the_history(own_rows)(fit)


def events(fit: Fit, name: str) -> dict[int, float]:
    """Read TensorBoard's files."""
    accumulator = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(fit.folder / "board"))
    found.Reload()
    if name not in found.Tags()["scalars"]:
        return {}
    return {event.step: event.value for event in found.Scalars(name)}


def own_choice(fit: Fit) -> None:
    """With ``True`` Lightning takes what is installed, and writes below ``default_root_dir``."""
    fit.finished()
    (logs,) = fit.folder.glob("lightning_logs/version_0")
    assert any(logs.iterdir())
    assert len(fit.trainer.loggers) == 1


def other_package(_: Setting) -> Attached:
    """Attach a logger of the other package."""
    other: Any = importlib.import_module("pytorch_lightning.loggers")
    return Attached(args={"logger": other.CSVLogger("logs")})


def wandb_offline(setting: Setting) -> WandbLogger:
    """Make a W&B logger that needs no network."""
    return WandbLogger(name="cell", save_dir=setting.folder, offline=True)


def wandb_rows(fit: Fit, name: str) -> dict[int, float]:
    """Read W&B's own file of the run."""
    wandb = importlib.import_module("wandb")
    if wandb.run is not None:
        # The file is written by a process of W&B's own, and is whole when that has ended.
        wandb.finish()
        wandb.teardown()
    store: Any = importlib.import_module("wandb.sdk.internal.datastore").DataStore()
    records: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    (path,) = (fit.folder / "wandb").glob("offline-run-*/run-*.wandb")
    store.open_for_scan(str(path))
    found = {}
    while (data := store.scan_data()) is not None:
        record = records.Record()
        record.ParseFromString(data)
        row = {
            item.key or "/".join(item.nested_key): float(item.value_json)
            for item in record.history.item
            if _number(item)
        }
        if name in row:
            found[int(row["trainer/global_step"])] = row[name]
    store.close()
    return found


def _number(item: Any) -> bool:
    return not item.value_json.startswith(("{", "[", '"'))


def mlflow_local(setting: Setting) -> MLFlowLogger:
    """Make an MLflow logger on a database in a file."""
    store = f"sqlite:///{setting.folder.parent / 'mlflow.db'}"
    artifacts = setting.folder.as_uri()
    return MLFlowLogger(setting.folder.name, tracking_uri=store, artifact_location=artifacts)


def mlflow_rows(fit: Fit, name: str) -> dict[int, float]:
    """Read the run from the database."""
    own = fit.trainer.loggers[0]
    return {metric.step: metric.value for metric in own.experiment.get_metric_history(own.run_id, name)}


PARTS = [
    NativePart(
        'CSVLogger("logs")', "logger", "2.4", logger(csv_logger), got_the_history(column),
        "Once an epoch: the history's entries under their names, to the last bit, and `epoch`. The step is"
        " `loop.total_iteration_idx`.",
    ),
    NativePart(
        f'CSVLogger("logs") with log_every_n_steps={LOG_EVERY}', "logger", "2.4",
        logger(csv_logger, log_every_n_steps=LOG_EVERY), got_steps_too,
        "Also `accumulated_loss_step`, the loss of every second batch.", cadence="cut", worlds=("TrainLoop",),
    ),
    NativePart(
        'TensorBoardLogger("logs")', "logger", "2.4",
        logger(lambda setting: TensorBoardLogger(setting.folder, "board", "")),
        got_the_history(events, np.float32), "TensorBoard keeps float32.",
        needs=("tensorboard",),
    ),
    NativePart(
        "WandbLogger(offline=True)", "logger", "2.4", logger(wandb_offline), got_the_history(wandb_rows),
        "Our step is W&B's `trainer/global_step`. Call `wandb.finish()` after the last `fit`.",
        needs=("wandb",),
    ),
    NativePart(
        'MLFlowLogger(tracking_uri="sqlite:///runs.db")', "logger", "2.4", logger(mlflow_local),
        got_the_history(mlflow_rows), "Or a server. Its store of plain files is one that MLflow gives up.",
        needs=("mlflow", "sqlalchemy", "alembic"),
    ),
    NativePart(
        "a Logger of your own", "logger", "2.4", logger(lambda _: OwnLogger()), got_the_history(own_rows),
        "CometLogger, LitLogger (2.6.1 or newer) and NeptuneLogger (up to 2.6.1) are Loggers like it; they need an"
        " account, and no test runs them.",
    ),
    NativePart(
        "[CSVLogger(...), another]", "logger", "2.4", logger(csv_logger, lambda _: OwnLogger()), both_got_it, "",
    ),
    NativePart(
        "True", "logger", "2.4", lambda setting: Attached(args={"logger": True, "default_root_dir": setting.folder}),
        own_choice, "TensorBoard if it is installed, CSV otherwise, in `lightning_logs`.",
    ),
    refused(
        "any logger of `pytorch_lightning`", other_package, "lightning.pytorch",
        "Import it from `lightning.pytorch.loggers`.", kind="logger", error="InvalidTypeError",
        worlds=("TrainLoop",), needs=("pytorch_lightning",),
    ),
]  # fmt: skip
