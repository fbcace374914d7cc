"""Interventions between two calls: what a user does to the loop by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from tests.parity.callbacks import Workshop, build_callback
from tests.parity.data import build_loader
from tests.parity.parts_callbacks import seed_everything
from tests.parity.parts_optim import CRITERIA
from tests.parity.parts_packages import build_metric, build_package
from tests.parity.spec import Data


@dataclass(frozen=True)
class Desk:
    """What an intervention can reach: the loop, the data it was made for, the loaders it was given, and the library.

    Attributes:
        kept: what one intervention leaves for another.
    """

    loop: Any
    data: Data
    loaders: tuple[Any, ...]
    shop: Workshop
    kept: dict[str, Any] = field(default_factory=dict)


def _seed(desk: Desk, settings: dict[str, Any]) -> None:
    del desk
    seed_everything(settings["seed"])


def _set(desk: Desk, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        setattr(desk.loop, name, value)


def _loader(desk: Desk, settings: dict[str, Any]) -> None:
    setattr(desk.loop, settings["attribute"], build_loader(desk.data, settings["split"]))


def _criterion(desk: Desk, settings: dict[str, Any]) -> None:
    desk.loop.criterion = CRITERIA[settings["name"]]()


def _eval_mode(desk: Desk, settings: dict[str, Any]) -> None:
    del settings
    desk.loop.model.eval()


def _train_mode(desk: Desk, settings: dict[str, Any]) -> None:
    del settings
    desk.loop.model.train()


def _fail_in(desk: Desk, settings: dict[str, Any]) -> None:
    desk.loop.model.fail_in = settings["where"]


def _shift_weights(desk: Desk, settings: dict[str, Any]) -> None:
    with torch.no_grad():
        for weight in desk.loop.model.parameters():
            weight.add_(settings["by"])


def _lower_counter(desk: Desk, settings: dict[str, Any]) -> None:
    desk.loop.total_iteration_idx -= settings["by"]


def _clear_losses(desk: Desk, settings: dict[str, Any]) -> None:
    del settings
    desk.loop.loss_batch_accum = []


def _loader_kind(desk: Desk, settings: dict[str, Any]) -> list[Any]:
    loader = getattr(desk.loop, settings["attribute"])
    return [isinstance(loader, list), len(loader)]


def _write_history(desk: Desk, settings: dict[str, Any]) -> None:
    desk.loop.insert_metric_result_into_history(settings["metric"], settings["value"])


def _restore_loaders(desk: Desk, settings: dict[str, Any]) -> None:
    """Give the loaders back, and forget what was computed on those that stood in their place."""
    del settings
    names = {"train_loader": "train", "validation_loader": "val", "test_loader": "test"}
    for (name, stored), whole in zip(names.items(), desk.loaders, strict=True):
        if getattr(desk.loop, name) is not whole:
            setattr(desk.loop, name, whole)
            for key in (f"{stored}_pred", f"{stored}_loss"):
                desk.loop.prediction_store.prediction_store.pop(key, None)


def _make_predictor(desk: Desk, settings: dict[str, Any]) -> None:
    """A predictor of the loop's model; ``hooks`` are those of a callback that goes in with it."""
    hooks = dict.fromkeys(settings.get("hooks", ()), True)
    callbacks = [build_callback(desk.shop, "function", hooks)] if hooks else None
    loader = None if settings.get("no_loader") else build_loader(desk.data, "other")
    desk.kept["predictor"] = desk.shop.api.PyTorchModelPredictor(desk.loop.model, loader, callbacks)


def _ask_predictor(desk: Desk, settings: dict[str, Any]) -> list[Any]:
    """What a method of the predictor returns, what its loop stores then, and the model's mode."""
    given: list[Any] = []
    if "criterion" in settings:
        given.append(CRITERIA[settings["criterion"]]())
    if "package" in settings:
        wants_loss = settings.get("wants_loss", False)
        given.append(build_package(desk.shop.api, desk.shop.trace, settings["package"], wants_loss=wants_loss))
    if "metric" in settings:
        given.append(build_metric(desk.shop.api, settings["metric"]))
    if "metrics" in settings:
        given.append([build_metric(desk.shop.api, name) for name in settings["metrics"]])
    predictor = desk.kept["predictor"]
    result = getattr(predictor, settings["method"])(*given, *settings.get("more", ()))
    stored = sorted(map(str, predictor.train_loop.prediction_store.prediction_store))
    return [_told(result), stored, predictor.train_loop.model.training]


def _told(result: Any) -> Any:
    """Metrics and packages by what they hold; anything else as it is."""
    if isinstance(result, list):
        return [_told(entry) for entry in result]
    if hasattr(result, "metric_result"):
        return [type(result).__name__, result.metric_name, result.metric_result]
    return [result.pkg_name, result.results_dict] if hasattr(result, "results_dict") else result


ACTIONS: dict[str, Callable[[Desk, dict[str, Any]], Any]] = {
    "seed": _seed,
    "set": _set,
    "loader": _loader,
    "criterion": _criterion,
    "eval_mode": _eval_mode,
    "train_mode": _train_mode,
    "fail_in": _fail_in,
    "shift_weights": _shift_weights,
    "lower_counter": _lower_counter,
    "clear_losses": _clear_losses,
    "loader_kind": _loader_kind,
    "restore_loaders": _restore_loaders,
    "write_history": _write_history,
    "make_predictor": _make_predictor,
    "ask_predictor": _ask_predictor,
}
