"""Which methods each library calls of objects that a user may have made subclasses of, and how it passes arguments.

An override is called when, and the way, it was called in the old library: ``facts/calls_1_8_0.json`` holds the calls of
these programs there. ``COMPAT_REFERENCE_ENV=<environment> python -m tests.call_graph`` writes it anew, and asks the
reference by ``--here``, in its own environment.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

FACTS = Path(__file__).parent / "facts" / "calls_1_8_0.json"
ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "experiment.core_metrics.abstract_metric",
    "experiment.core_metrics.classification",
    "experiment.result_package.abstract_result_packages",
    "experiment.result_package.basic_packages",
    "experiment.training_history",
    "nlp.core.vocabulary",
    "torchtrain.callbacks.abstract",
    "torchtrain.callbacks.basic",
    "torchtrain.callbacks.gradient",
    "torchtrain.callbacks.performance_eval",
    "torchtrain.data.batch_model_feed_defs",
    "torchtrain.model",
    "torchtrain.model_predict",
    "torchtrain.multi_loss_optim",
    "torchtrain.schedulers.basic",
    "torchtrain.schedulers.warmup",
    "torchtrain.train_loop",
)
# Methods that say nothing of overrides, and the dunder methods that do.
QUIET = frozenset({"forward", "train", "eval", "to", "zero_grad", "parameters", "named_parameters", "modules"})
DUNDERS = frozenset({"__add__", "__radd__", "__iadd__", "__getitem__", "__contains__", "__setitem__"})
LOOP = frozenset(
    {
        "_train",
        "_calculate_batch_loss",
        "_backward_pass",
        "_optimizer_step",
        "_optimizer_zero_grad",
        "_print_save_loss",
    }
)

Api = Any
Program = Callable[["Api", "Log"], Any]
PROGRAMS: dict[str, Program] = {}


class Log:
    """The calls of the methods of logged objects, one line each: class, method, positional arguments, keywords."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._classes: dict[type, type] = {}

    def __call__(self, kind: type, *, names: frozenset[str] = frozenset()) -> Any:
        """A subclass that logs each call of a public method, and of the others in ``names``."""
        if kind not in self._classes:
            methods = {name: self._logged(kind, name) for name in dir(kind) if self._is_wanted(kind, name, names)}
            self._classes[kind] = type(kind.__name__, (kind,), methods)
        return self._classes[kind]

    def watch(self, thing: Any, *, names: frozenset[str] = frozenset()) -> Any:
        """Log the calls of an object that somebody else made."""
        thing.__class__ = self(type(thing), names=names)
        return thing

    def function(self, name: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A function whose calls are logged by a name."""

        def logged(value: Any) -> Any:
            self.calls.append(name)
            return function(value)

        return logged

    def _is_wanted(self, kind: type, name: str, names: frozenset[str]) -> bool:
        is_public = not name.startswith("_") or name in DUNDERS
        defined_by = next(base for base in kind.__mro__ if name in vars(base))
        is_torch = defined_by.__module__.split(".")[0] in {"torch", "builtins", "collections", "typing"}
        if not (is_public or name in names) or name in QUIET or is_torch:
            return False
        return inspect.isfunction(inspect.getattr_static(kind, name))

    def _logged(self, kind: type, name: str) -> Any:
        original = inspect.getattr_static(kind, name)

        def method(this: Any, *values: Any, **named: Any) -> Any:
            self.calls.append(f"{kind.__name__}.{name} {len(values)} {','.join(sorted(named))}".strip())
            return original(this, *values, **named)

        method.__name__ = name
        return method


def program(function: Program) -> Program:
    """Take a program into the list."""
    PROGRAMS[function.__name__.strip("_").replace("_", " ")] = function
    return function


def net(api: Api) -> Any:
    """A classifier of the library's own basic kind."""

    class Net(api.TTBasicModel):  # type: ignore[misc]  # of either library
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, inputs: Any) -> Any:
            return self.layer(inputs)

    torch.manual_seed(0)
    return Net()


def several_losses(api: Api, log: Log) -> Any:
    """A model with two losses."""

    class Two(api.TTModel):  # type: ignore[misc]  # of either library
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 3)

        def get_loss(self, batch_data: Any, criterion: Any, device: Any) -> Any:
            inputs, targets = batch_data
            return log(api.MultiLoss)({"a": criterion(self.one(inputs), targets), "b": self.two(inputs).mean()})

        def get_predictions(self, batch_data: Any, device: Any) -> Any:
            return self.one(batch_data[0]), batch_data[1], {}

    torch.manual_seed(0)
    return Two()


def loader(seed: int = 1) -> Any:
    """Two batches of six."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randn(12, 4, generator=generator), torch.randint(0, 3, (12,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, targets), batch_size=6)


def loop_of(api: Api, kind: Any = None, model: Any = None, optimizer: Any = None) -> Any:
    """A training loop with all three loaders."""
    model = model or net(api)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.5)
    return (kind or api.TrainLoop)(model, loader(1), loader(2), loader(3), optimizer, nn.CrossEntropyLoss())


def fitted(make: Callable[[Api, Log], Any], *fits: dict[str, Any]) -> Program:
    """Make a program that trains with one callback."""

    def run(api: Api, log: Log) -> None:
        loop, callback = loop_of(api), make(api, log)
        for number, arguments in enumerate(fits or ({"num_epochs": 2},)):
            loop.fit(**arguments, callbacks=[callback] if number == 0 else None)

    return run


CALLBACKS: dict[str, Callable[[Api, Log], Any]] = {
    "evaluation": lambda api, log: log(api.ModelPerformanceEvaluation)(log(api.ClassificationResultPackage)(), {}),
    "evaluation of both": lambda api, log: log(api.ModelPerformanceEvaluation)(
        log(api.BinaryMetrics)(), {}, on_train_data=True
    ),
    "evaluation of the training data": lambda api, log: log(api.ModelPerformanceEvaluation)(
        log(api.BinaryMetrics)(), {}, on_train_data=True, on_val_data=False
    ),
    "report": lambda api, log: log(api.ModelPerformancePrintReport)(["loss"], strict_metric_reporting=False),
    "rename": lambda api, log: log(api.MetricHistoryRename)("loss", "renamed"),
    "formatter": lambda api, log: log(api.TrainHistoryFormatter)(
        log.function("getter", lambda history: history["loss"]), lambda losses: ("latest", losses[-1])
    ),
    "formatter at the end": lambda api, log: log(api.TrainHistoryFormatter)(
        log.function("getter", lambda history: history["loss"][-1:]),
        lambda losses: ("latest", losses[-1]),
        epoch_end=False,
        train_end=True,
    ),
    "function": lambda api, log: log(api.FunctionOnTrainLoop)(
        lambda loop: None, epoch_end=True, train_begin=True, tl_registration=True, after_gradient_update=True
    ),
    "subset": lambda api, log: log(api.DataSubsetTestRun)(1, 1, 1),
    "early stopping": lambda api, log: log(api.EarlyStopping)(),
    "threshold": lambda api, log: log(api.ThresholdEarlyStopping)("loss", 0.1),
    "nan": lambda api, log: log(api.TerminateOnNaN)(),
    "listing": lambda api, log: log(api.ListRegisteredCallbacks)(),
    "gradient report": lambda api, log: log(api.GradientStatsPrint)(lambda model: [model.layer]),
    "gradient clipping": lambda api, log: log(api.GradNormClip)(1.0),
    "value clipping": lambda api, log: log(api.GradValueClip)(1.0),
    "step schedule": lambda api, log: log(api.StepLRScheduler)(1),
    "lambda schedule": lambda api, log: log(api.LambdaLRScheduler)(lambda epoch: 0.5),
    "plateau schedule": lambda api, log: log(api.ReduceLROnPlateauScheduler)(),
    "plateau of a metric": lambda api, log: log(api.ReduceLROnPlateauMetricScheduler)("val_loss"),
    "warm-up": lambda api, log: log(api.LinearWithWarmupScheduler)(1, 10),
    "own callback": lambda api, log: log(api.AbstractCallback)("own"),
}
PROGRAMS.update({name: fitted(make) for name, make in CALLBACKS.items()})


@program
def _training(api: Api, log: Log) -> None:
    loop = loop_of(api, log(api.TrainLoop, names=LOOP))
    loop.fit(2, callbacks=[api.ModelPerformanceEvaluation(api.ClassificationResultPackage(), {})])
    loop.evaluate_loss_on_train_set()
    loop.predict_on_test_set(execute_callbacks=True)
    loop(0, 3, grad_accumulation=2)


@program
def _training_of_two_losses(api: Api, log: Log) -> None:
    model = several_losses(api, log)
    parts = [torch.optim.SGD(model.one.parameters(), 0.1), torch.optim.SGD(model.two.parameters(), 0.1)]
    loop_of(api, log(api.TrainLoop, names=LOOP), model, log(api.MultiOptimizer)(parts)).fit(1)


@program
def _parts_of_the_loop(api: Api, log: Log) -> None:
    loop = loop_of(api)
    for part in ("prediction_store", "message_service", "train_history"):
        log.watch(getattr(loop, part))
    loop.fit(1, callbacks=[api.AbstractCallback("own")])
    loop.predict_on_validation_set()
    loop.predict_on_validation_set()
    loop.evaluate_loss_on_validation_set(float_dict_format=True)


@program
def _feed(api: Api, log: Log) -> None:
    class Feed(api.AbstractModelFeedDefinition):  # type: ignore[misc]  # of either library
        def get_loss(self, model: Any, batch_data: Any, criterion: Any, device: Any) -> Any:
            return criterion(model(batch_data[0]), batch_data[1])

        def get_predictions(self, model: Any, batch_data: Any, device: Any) -> Any:
            return model(batch_data[0]), batch_data[1], {}

    torch.manual_seed(0)
    model = api.ModelWrap(nn.Linear(4, 3), log(Feed)())
    loop = loop_of(api, model=model, optimizer=torch.optim.SGD(model.model.parameters(), 0.1))
    loop.fit(1)
    loop.predict_on_test_set()


@program
def _model(api: Api, log: Log) -> None:
    model = log.watch(net(api))
    loop = loop_of(api, model=model)
    loop.fit(1)
    loop.predict_on_test_set()


@program
def _history(api: Api, log: Log) -> None:
    history = log(api.TrainingHistory)()
    history["loss"] = 1
    _ = history + {"a": 1}
    history += {"b": 2}
    _ = {"c": 1} + history
    history.get_train_history_dict()
    history.get_train_history_dict(True)
    _ = "a" in history, len(history), history["loss"], str(history)


@program
def _packages(api: Api, log: Log) -> None:
    first, second, third, wrapper = prepared(api, log)
    _ = str(first), len(first), first["Accuracy"], "x" in first
    log.calls.append("sums")
    _ = first + second, first + {"q": 1}, {"q": 1} + first, third + wrapper, wrapper + third
    log.calls.append("in place")
    first += {"w": 1}
    first += log(api.PreCalculatedResultPackage)({"z": 1})
    wrapper += third
    wrapper += {"l": 1}
    log.calls.append("the rest")
    _ = str(wrapper), len(wrapper), wrapper.get_results()
    for package in (first, wrapper):
        package.get_hyperparameters()
        package.get_additional_results_dump_paths()


@program
def _packages_without_results(api: Api, log: Log) -> None:
    first, _, _, wrapper = prepared(api, log)
    empty = log(api.RegressionResultPackage)()
    empty.get_results()
    for act in (lambda: str(empty), lambda: empty + first, lambda: first + empty, lambda: wrapper + empty):
        with contextlib.suppress(ValueError):
            act()


def prepared(api: Api, log: Log) -> tuple[Any, Any, Any, Any]:
    """Three packages with results, and a wrapper of the first two."""
    first, second = log(api.ClassificationResultPackage)(), log(api.BinaryClassificationResultPackage)()
    third = log(api.GeneralResultPackage)([api.AccuracyMetric])
    for package in (first, second, third):
        package.prepare_result_package([0, 1], [0.2, 0.9] if package is second else [0, 1], {})
    wrapper = log(api.MultipleResultPackageWrapper)()
    wrapper.prepare_result_package([first, second], {})
    return first, second, third, wrapper


@program
def _metrics(api: Api, log: Log) -> None:
    one, two = log(api.AccuracyMetric)([0, 1], [0, 1]), log(api.F1ScoreMetric)([0, 1], [1, 1])
    _ = one + two, one + {"q": 1}, {"q": 1} + one, one < two, one >= 0.5
    _ = str(one), len(one), "Accuracy" in one, one["Accuracy"], one.get_metric_dict()


@program
def _vocabulary(api: Api, log: Log) -> None:
    vocabulary = log(api.Vocabulary)("words")
    vocabulary.add_sentence(["a", "b"])
    vocabulary.convert_sent2idx_sent(["a"])
    vocabulary.convert_idx_sent2sent([2, 4])
    vocabulary.trim(1)


@program
def _predictor(api: Api, log: Log) -> None:
    predictor = log(api.PyTorchModelPredictor)(net(api), loader(), [log(api.AbstractCallback)("own")])
    log.watch(predictor.train_loop, names=LOOP)
    criterion = nn.CrossEntropyLoss()
    predictor.model_predict()
    predictor.model_get_loss(criterion)
    predictor.model_get_loss(criterion)
    predictor.evaluate_metric(api.AccuracyMetric)
    predictor.evaluate_metric(api.AccuracyMetric, False)
    predictor.evaluate_metric_list([api.AccuracyMetric], False)
    predictor.evaluate_result_package(log(api.ClassificationResultPackage)())
    predictor.evaluate_result_package(log(api.ClassificationResultPackage)(), False)
    predictor.execute_batch_end_callbacks()


def with_own(api: Api) -> Api:
    """Add a package of two metrics."""

    class BinaryMetrics(api.AbstractResultPackage):  # type: ignore[misc]  # of either library
        def prepare_results_dict(self) -> dict[str, Any]:
            return {"a": 1.0, "b": 2.0}

    api.BinaryMetrics = BinaryMetrics
    return api


def calls(api: Api) -> dict[str, list[str]]:
    """The calls of each program."""
    api, found = with_own(api), {}
    for name, run in PROGRAMS.items():
        log = Log()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            run(api, log)
        found[name] = log.calls
    return found


def old_api() -> Api:
    """The names of the reference."""
    modules = [vars(import_module(f"aitoolbox.{module}")) for module in MODULES]
    return SimpleNamespace(**{name: value for names in modules for name, value in names.items() if name[0] != "_"})


def recorded() -> dict[str, list[str]]:
    """The calls of each program in the reference, as they were recorded."""
    read: dict[str, list[str]] = json.loads(FACTS.read_text(encoding="utf-8"))
    return read


def asked(python: Path) -> dict[str, list[str]]:
    """The calls of each program in the reference, now."""
    command = [str(python), "-W", "ignore", "-m", __spec__.name, "--here"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=300)
    read: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return read


def main() -> None:
    """Answer as the reference, or record what it answers."""
    if "--here" in sys.argv:
        sys.stdout.write("\n" + json.dumps(calls(old_api())) + "\n")
        return
    from tests.parity.reference import prepare

    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in asked(prepare()).items()]
    FACTS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
