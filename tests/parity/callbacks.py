"""The table of callbacks: a name and options from a program become an object of either library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim.lr_scheduler import ExponentialLR

from tests.parity import parts_callbacks as parts
from tests.parity.backend import Backend
from tests.parity.data import build_loader
from tests.parity.parts_packages import build_package
from tests.parity.spec import Data
from tests.parity.trace import EpochHooks, EveryHook, Trace


@dataclass(frozen=True)
class Workshop:
    """What a builder may use: the library, the event log, and the data of the program."""

    api: Backend
    trace: Trace
    data: Data


Builder = Callable[..., Any]


def part(shop: Workshop, cls: type, name: str, order: int = 0) -> Any:
    """A user-written callback: ``cls`` on top of the library's ``AbstractCallback``."""
    callback = shop.api.mixed(cls, "AbstractCallback")(name, execution_order=order)
    callback.trace = shop.trace
    return callback


def _on_hook(cls: type) -> Builder:
    def build(
        shop: Workshop,
        at: str = "epoch_end",
        when: int | None = None,
        counted_by: str = "epoch",
        order: int = 0,
        **settings: Any,
    ) -> Any:
        callback = part(shop, cls, cls.__name__, order)
        callback.at, callback.when, callback.counted_by, callback.settings = at, when, counted_by, settings
        return callback

    return build


def _swap(shop: Workshop, attribute: str = "train_loader", split: str = "other", **settings: Any) -> Any:
    form = settings.pop("form", shop.data.form)
    data = Data(kind=shop.data.kind, rows=settings.pop("rows", 17), batch=shop.data.batch, form=form)
    loader = build_loader(data, split)
    return _on_hook(parts.SwapLoader)(shop, attribute=attribute, loader=loader, **settings)


def _ask(shop: Workshop, methods: tuple[str, ...], arguments: tuple[Any, ...] = (), **settings: Any) -> Any:
    return _on_hook(parts.Ask)(shop, methods=methods, arguments=dict(arguments), **settings)


def _messenger(shop: Workshop, how: tuple[str, ...] = (), topic: str = "news", **settings: Any) -> Any:
    return _on_hook(parts.Messenger)(shop, how=how, topic=topic, handling=shop.api.MessageHandling, **settings)


def _function(shop: Workshop, order: int = 0, **flags: Any) -> Any:
    def note(loop: Any) -> None:
        shop.trace.note("function", loop.epoch, loop.total_iteration_idx, loop.model.training)

    return shop.api.FunctionOnTrainLoop(note, execution_order=order, **flags)


def _stats(shop: Workshop, every: bool = False) -> Any:
    def layers(model: Any) -> list[Any]:
        return [layer for layer in model.modules() if getattr(layer, "weight", None) is not None]

    return shop.api.GradientStatsPrint(layers, on_every_grad_update=every)


def _lambda_rate(shop: Workshop, batch: bool = False, epoch: bool = True, **more: Any) -> Any:
    return shop.api.LambdaLRScheduler(lambda step: 0.9**step, execute_epoch_end=epoch, execute_batch_end=batch, **more)


def _formatter(shop: Workshop, source: str = "accumulated_loss", strict: bool = True, **phase: bool) -> Any:
    return shop.api.TrainHistoryFormatter(
        lambda history: history[source],
        lambda values: ("doubled", 2.0 * values[-1]),
        strict_metric_extract=strict,
        **phase,
    )


def _formatter_by_hand(shop: Workshop, **settings: Any) -> Any:
    """Does what the formatter has to do; stand-ins let it pass for one."""
    callback = _on_hook(parts.FormatterByHand)(shop, **settings)
    type(callback).__name__ = "TrainHistoryFormatter"
    callback.callback_name = "Train history general formatter engine"
    return callback


def _evaluation(shop: Workshop, package: str = "told", wants_loss: bool = False, **arguments: Any) -> Any:
    made = build_package(shop.api, shop.trace, package, wants_loss=wants_loss)
    return shop.api.ModelPerformanceEvaluation(made, {"rate": 0.5}, **arguments)


def _of(name: str) -> Builder:
    """A callback of the library itself, its constructor arguments taken as they come."""

    def build(shop: Workshop, **arguments: Any) -> Any:
        lists = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items()}
        return getattr(shop.api, name)(**lists)

    return build


def _order(shop: Workshop, name: str, order: int = 0) -> Any:
    return part(shop, EveryHook, name, order)


CALLBACKS: dict[str, Builder] = {
    "early": _of("EarlyStopping"),
    "threshold": _of("ThresholdEarlyStopping"),
    "nan": _of("TerminateOnNaN"),
    "same": _of("AllPredictionsSame"),
    "subset": _of("DataSubsetTestRun"),
    "list_registered": _of("ListRegisteredCallbacks"),
    "function": _function,
    "clip_value": _of("GradValueClip"),
    "clip_norm": _of("GradNormClip"),
    "stats": _stats,
    "report": _of("ModelPerformancePrintReport"),
    "rename": _of("MetricHistoryRename"),
    "rename_by_function": lambda shop: shop.api.MetricHistoryRename(lambda history: history["loss"], "renamed"),
    "formatter": _formatter,
    "formatter_by_hand": _formatter_by_hand,
    "evaluation": _evaluation,
    "step": _of("StepLRScheduler"),
    "multistep": _of("MultiStepLRScheduler"),
    "general": lambda shop, **more: shop.api.GeneralLRSchedulerCallback(ExponentialLR, **more),
    "lambda": _lambda_rate,
    "plateau": _of("ReduceLROnPlateauScheduler"),
    "plateau_metric": _of("ReduceLROnPlateauMetricScheduler"),
    "warm_constant": _of("ConstantWithWarmupScheduler"),
    "warm_linear": _of("LinearWithWarmupScheduler"),
    "warm_cosine": _of("CosineWithWarmupScheduler"),
    "warm_restarts": _of("HardRestartsCosineWithWarmupScheduler"),
    "order": _order,
    "seeding": _on_hook(parts.Seeding),
    "drawing": _on_hook(parts.Drawing),
    "eval_mode": _on_hook(parts.EvalMode),
    "swap": _swap,
    "set": _on_hook(parts.SetLoop),
    "ask": _ask,
    "raise": _on_hook(parts.Raise),
    "write": _on_hook(parts.HistoryWriter),
    "edit_rate": _on_hook(parts.RateEditor),
    "edit_weights": _on_hook(parts.WeightEditor),
    "stop": _on_hook(parts.StopTraining),
    "message": _messenger,
    "read": _on_hook(parts.MessageReader),
    "registry": _on_hook(parts.RegistryReader),
    "scale_gradient": lambda shop: part(shop, parts.GradientScaler, "GradientScaler"),
    "silent_gradient": lambda shop: part(shop, parts.SilentGradient, "SilentGradient"),
    "partial_hook": lambda shop: parts.with_partial_hook(part(shop, parts.Plain, "Plain")),
    "function_hook": lambda shop: parts.with_function_hook(part(shop, parts.Plain, "Plain")),
    "not_a_callback": lambda shop: object(),
}


def build_callback(shop: Workshop, name: str, settings: dict[str, Any]) -> Any:
    """The callback called ``name`` in the table, with the given options."""
    return CALLBACKS[name](shop, **settings)


def recorders(shop: Workshop, which: str) -> list[Any]:
    """The observing callbacks of a program; see ``Program.recorders``."""
    if which == "both":
        return [part(shop, EveryHook, "first", -1000), part(shop, EveryHook, "last", 2000)]
    return [part(shop, EpochHooks, "watcher", 2000)] if which == "epoch" else []
