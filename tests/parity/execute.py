"""Build a program on one of the libraries, run it, and return everything that can be observed."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tempfile
import warnings
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from tests.parity.backend import COMPAT, Backend
from tests.parity.callbacks import Workshop, build_callback, recorders
from tests.parity.data import build_loader
from tests.parity.models import build_model, module_of
from tests.parity.observe import encode, encode_error, full_state, light_state, printed_lines
from tests.parity.parts_actions import ACTIONS, Desk
from tests.parity.parts_callbacks import seed_everything
from tests.parity.parts_loops import LOOPS
from tests.parity.parts_optim import CRITERIA, build_optimizer
from tests.parity.spec import Action, Call, Do, Fit, Program
from tests.parity.trace import Trace

Observation = dict[str, Any]

# Options whose value is the name of a public function of the library.
_FUNCTION_OPTIONS = ("collate_batch_pred_fn", "pred_transform_fn")
_SPLITS = {"train": "train_set", "val": "validation_set", "test": "test_set"}


class Running:
    """A program under way: its loop, its loaders, and the callback objects that later calls may mention again."""

    def __init__(self, api: Backend, program: Program, quirks: dict[str, str] | None) -> None:
        self.api = api
        self.program = program
        self.quirks = quirks
        self.trace = Trace()
        self.shop = Workshop(api, self.trace, program.data)
        self.kept: dict[str, Any] = {}
        self.pending_recorders = recorders(self.shop, program.recorders)
        self.loop = self._build_loop()
        loaders = (self.loop.train_loader, self.loop.validation_loader, self.loop.test_loader)
        self.desk = Desk(self.loop, program.data, loaders, self.shop)

    def _build_loop(self) -> Any:
        program = self.program
        seed_everything(program.seed)
        model = build_model(self.api, program.model, program.data, dict(program.model_options))
        criterion = CRITERIA[program.criterion]()
        optimizer = build_optimizer(
            self.api, program.optimizer, module_of(model), criterion, dict(program.optimizer_options)
        )
        loaders = [
            build_loader(program.data, split) if split == "train" or split in program.data.sets else None
            for split in _SPLITS
        ]
        more: dict[str, Any] = dict(program.loop_options)
        for name in _FUNCTION_OPTIONS:
            if name in more:
                more[name] = getattr(self.api, more[name])
        if self.quirks is not None:
            more["quirks"] = self.quirks
        cls = self.api.TrainLoop
        if program.loop:
            cls = self.api.mixed(LOOPS[program.loop], "TrainLoop")
            cls.trace = self.trace
        return cls(model, *loaders, optimizer, criterion, end_auto_eval=program.auto_eval, **more)

    def fit(self, action: Fit) -> Any:
        """One call of ``fit``; the observing callbacks go in with the first."""
        callbacks = self.pending_recorders
        self.pending_recorders = []
        for mention in action.callbacks:
            if mention.key not in self.kept:
                made = build_callback(self.shop, mention.name, dict(mention.options))
                if not mention.key:
                    callbacks.append(made)
                    continue
                self.kept[mention.key] = made
            callbacks.append(self.kept[mention.key])
        arguments: dict[str, Any] = {}
        if action.epochs != 0:
            arguments["num_epochs"] = action.epochs
        if action.iterations != 0:
            arguments["num_iterations"] = action.iterations
        if action.accumulation != 1:
            arguments["grad_accumulation"] = action.accumulation
        if callbacks:
            arguments["callbacks"] = tuple(callbacks) if action.container == "tuple" else callbacks
        run = self.loop if action.via == "call" else getattr(self.loop, action.via)
        return run(**arguments) is self.loop.model

    def call(self, action: Call) -> Any:
        """One call of another method."""
        arguments = dict(action.options)
        loader = [build_loader(self.program.data, action.loader)] if action.loader else []
        return encode(getattr(self.loop, action.method)(*loader, **arguments))

    def perform(self, action: Action) -> Any:
        """Any action; returns what it gives, encoded."""
        if isinstance(action, Fit):
            return self.fit(action)
        if isinstance(action, Call):
            return self.call(action)
        return encode(ACTIONS[action.name](self.desk, dict(action.options)))


def _epilogue(program: Program) -> tuple[Call, ...]:
    """Ask for all evaluations and predictions; whatever the training left in the store is served from there."""
    if not program.epilogue:
        return ()
    asked = [_SPLITS[split] for split in _SPLITS if split == "train" or split in program.data.sets]
    return (
        *(Call(f"predict_on_{which}") for which in asked),
        *(Call(f"evaluate_loss_on_{which}", (("float_dict_format", True),)) for which in asked),
    )


def _attempt(act: Callable[[], Any]) -> dict[str, Any]:
    """The result of ``act``, or the error it ends in: errors are results here, and are compared like them."""
    try:
        return {"result": act(), "error": None}
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - every failure is an observation
        return {"result": None, "error": encode_error(error)}


def _observe(api: Backend, program: Program, quirks: dict[str, str] | None) -> Observation:
    made: list[Running] = []
    built = _attempt(lambda: made.append(Running(api, program, quirks)))
    observation: Observation = {"built": built["error"], "actions": [], "events": [], "final": None}
    if not made:
        return observation
    running = made[0]
    actions = (*program.actions, *_epilogue(program))
    for action, follower in zip_longest(actions, actions[1:]):
        if isinstance(action, Do) and action.joined:
            continue
        outcome = _attempt(functools.partial(running.perform, action))
        if isinstance(action, Do) and action.hidden:
            continue
        if isinstance(follower, Do) and follower.joined:
            running.perform(follower)
        label = action.method if isinstance(action, Call) else action.name if isinstance(action, Do) else "fit"
        state = full_state(running.loop) if isinstance(action, Fit) else light_state(running.loop)
        observation["actions"].append({"action": label, **outcome, "state": state})
    observation["events"] = running.trace.entries
    observation["final"] = full_state(running.loop)
    return observation


def run_program(api: Backend, program: Program, quirks: dict[str, str] | None = None) -> Observation:
    """Run ``program`` in an empty folder and return its observation.

    Args:
        api: the library to run it on.
        program: what to run.
        quirks: the argument of that name for ``TrainLoop``; only this package's loop knows it.

    Returns:
        Plain JSON values: ``built`` (error of the constructor or ``None``), ``actions`` (result, error and state after
        each), ``events``, ``final`` (state), ``stdout`` (lines), ``files`` (made in the working folder) and
        ``warned`` (number of this package's own warnings; never compared).
    """
    if quirks is not None and api.side != COMPAT:
        raise ValueError("only this package's TrainLoop has switches for quirks")
    printed = io.StringIO()
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        os.chdir(folder)
        try:
            with contextlib.redirect_stdout(printed):
                observation = _observe(api, program, quirks)
        finally:
            os.chdir(here)
        observation["files"] = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))
    observation["stdout"] = printed_lines(printed.getvalue())
    observation["warned"] = sum(warning.category.__module__.startswith("compat") for warning in caught)
    torch.set_grad_enabled(True)
    return observation
