"""A TrainLoop in a Trainer of the user's own: ``as_lightning_module``.

The Trainer decides how long to train, and has its own callbacks, loggers and flags. What a batch and an epoch are is
the loop's affair, as in its own ``fit``: the same module runs, and the history gets the same numbers.
"""

import math
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from compat import _evaluation
from compat._lightning import cadence, course, limits, plan, tally
from compat._lightning.bridge import companions
from compat._lightning.flag_limits import Limits
from compat._lightning.guest_checks import data_problems, loop_problems, trainer_problems
from compat._lightning.module import LoopModule, bare
from compat._lightning.needs import OwnCallback
from compat._lightning.quiet import expected
from compat._loop_state import LoopState
from compat.callbacks._given import as_list
from compat.callbacks._native import is_native
from compat.exceptions import CompatError, InvalidArgumentError, InvalidTypeError, RefusedError, raise_problems

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["GuestModule", "LoopData", "as_lightning_module"]

# No Trainer gets there.
_NO_END = 2**31
# Which of its limits count in which of its verbs; batches to predict are the Trainer's own affair.
_LIMITED = {
    TrainerFn.FITTING: ("train", "val", "test"),
    TrainerFn.VALIDATING: ("val",),
    TrainerFn.TESTING: ("test",),
}


def as_lightning_module(
    loop: "TrainLoop", *, callbacks: Any = None, grad_accumulation: int = 1
) -> tuple[LightningModule, LightningDataModule]:
    """Make a TrainLoop ready for a Trainer of your own: ``Trainer(max_epochs=3).fit(module, datamodule=data)``.

    Epochs, iterations and everything else that ``fit`` would be asked for are the Trainer's affair. The history, the
    predictions and the state of the old callbacks are in the loop, as after its own ``fit``.

    Args:
        loop: The loop. Both results keep it alive.
        callbacks: Old callbacks, which are registered when the first fit starts. Lightning's go to the Trainer.
        grad_accumulation: The number of batches whose gradients make one update.

    Returns:
        The module, and the data of the loop's loaders.

    Raises:
        InvalidTypeError: ``loop`` is no TrainLoop, or ``callbacks`` holds something that is no old callback.
        InvalidArgumentError: ``grad_accumulation`` is not allowed, or the loop has settings that the Trainer decides.
        RefusedError: The loop is one for several devices.
    """
    if not isinstance(getattr(loop, "_compat", None), LoopState):
        raise InvalidTypeError(
            f"as_lightning_module takes a TrainLoop, and got a {type(loop).__name__}. A LightningModule goes to the"
            " Trainer as it is."
        )
    problems: list[CompatError] = []
    native = [type(each).__name__ for each in as_list(callbacks) if is_native(each)]
    if native:
        problems.append(
            InvalidTypeError(
                f"callbacks has {', '.join(native)}, and takes callbacks of the old kind. Pass Lightning's to the"
                f" Trainer: Trainer(callbacks=[{native[0]}(...)])."
            )
        )
    problems += loop_problems(loop)
    raise_problems(problems)
    plan.check_fit(loop, loop.epoch + 1, 0, callbacks, grad_accumulation, {})
    return GuestModule(loop, as_list(callbacks), grad_accumulation), LoopData(loop)


class LoopData(LightningDataModule):
    """The data of a TrainLoop for a Trainer: the loop opens its loaders itself, each at its moment.

    Args:
        loop: The facade.
    """

    def __init__(self, loop: "TrainLoop") -> None:
        """Keep the facade."""
        super().__init__()
        self._loop = loop

    def is_of(self, loop: "TrainLoop") -> bool:
        """Tell whether this is the data of a loop.

        Args:
            loop: The facade.
        """
        return self._loop is loop

    def train_dataloader(self) -> cadence.LazyLoader:
        """Return a loader that opens the loop's current one when the epoch begins."""
        return cadence.LazyLoader(self._loop)

    def val_dataloader(self) -> list[int]:
        """Return one batch of nothing: the loop evaluates in one validation step."""
        return [0]

    def test_dataloader(self) -> list[int]:
        """Return one batch of nothing: the loop evaluates in one test step."""
        return [0]

    def predict_dataloader(self) -> Any:
        """Return a loader that opens the loop's test loader; none if it has none."""
        return None if self._loop.test_loader is None else cadence.LazyLoader(self._loop, "test_loader")


class GuestModule(LoopModule):
    """Runs the epochs of a TrainLoop in a Trainer that is not its own.

    Args:
        loop: The facade; this module keeps it alive, and a copy of it does not.
        callbacks: Old callbacks to register with the first fit.
        grad_accumulation: The batches of one update.
    """

    def __init__(self, loop: "TrainLoop", callbacks: list[Any], grad_accumulation: int) -> None:
        """Keep what a fit needs."""
        super().__init__(loop, None)
        object.__setattr__(self, "_loop_reference", lambda: loop)
        self._to_register = callbacks
        self._grad_accumulation = grad_accumulation
        self._visit: ExitStack | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process and this fit."""
        return {**super().__getstate__(), "_to_register": [], "_visit": None}

    def carried(self) -> AbstractContextManager[None]:
        """Return the context for what must not reach Lightning as it is; interrupts are the Trainer's affair here."""
        return _NoEnd()

    def configure_callbacks(self) -> list[Callback]:
        """Begin a visit: the first hook that the Trainer calls, before its callbacks are set up.

        Returns:
            Nothing to append: the bridge has to come first.

        Raises:
            CompatError: The Trainer contradicts the loop, or was given data of its own.
        """
        trainer, loop = self.trainer, self.loop
        raise_problems([*trainer_problems(trainer, loop), *data_problems(self._foreign_data(trainer))])
        with ExitStack() as visit:
            visit.enter_context(expected())
            loop.device = trainer.strategy.root_device
            self.model = bare(loop.model)
            _limit(loop, trainer, visit)
            # Outermost, as in a fit of the loop's own: some callbacks give loaders back when the fit is over.
            visit.enter_context(limits.applied(loop))
            own: list[Callback] = [_Departure()]
            if trainer.state.fn == TrainerFn.FITTING:
                own += companions(trainer.callbacks, None)  # type: ignore[attr-defined]
                self._begin(trainer, visit)
            trainer.callbacks[:0] = own  # type: ignore[attr-defined]
            visit.callback(_without, trainer, own)
            if trainer.state.fn == TrainerFn.FITTING:
                self.attach(trainer)
            self._visit = visit.pop_all()
        return []

    def _foreign_data(self, trainer: Trainer) -> dict[str, Any]:
        """Return what the Trainer is to use that is not the loop's, by the argument that it came in."""
        return {
            name: data
            for name, data in cadence.data_given(trainer).items()
            if data is not self and not (isinstance(data, LoopData) and data.is_of(self.loop))
        }

    def _begin(self, trainer: Trainer, visit: ExitStack) -> None:
        loop = self.loop
        nested = loop._compat.after_fit is not None
        visit.enter_context(course.running(loop))
        # The Trainer counts its own epochs, whatever the loop has run before.
        loop._compat.epoch_ran = False
        course.begin(loop, _epochs(trainer, loop, self._grad_accumulation), 0, self._grad_accumulation, nested)
        loop.epoch = trainer.current_epoch
        native = len(loop.callbacks_handler.native_callbacks)
        loop.callbacks_handler.register_callbacks(self._to_register, print_callbacks=loop.print_callbacks)
        for late in loop.callbacks_handler.native_callbacks[native:]:
            raise InvalidArgumentError(
                f"{type(late).__name__} is a callback of Lightning's, and was registered with the loop. In a Trainer of"
                " your own it has to be one of the Trainer's: Trainer(callbacks=[...])."
            )
        self._to_register = []
        _evaluation.to_device(loop)
        tally.started(loop)
        loop.model.train()
        self.model = bare(loop.model)
        settings = trainer.limit_val_batches, trainer.check_val_every_n_epoch
        visit.callback(_give_back, trainer, settings)
        loop._compat.trainer, loop._compat.lightning_module = trainer, self

    def depart(self) -> None:
        """End a visit, however it went."""
        visit, self._visit = self._visit, None
        self.let_go()
        if visit is not None:
            visit.close()

    def epochs_to_run(self) -> tuple[int, int]:
        """Return the first epoch of this fit, and the one that the Trainer stops before."""
        loop, stop = self.loop, self.trainer.max_epochs
        course.epochs_to_run(loop)
        return loop.epoch, cadence.ENDLESS if stop is None else stop

    def continue_counts(self) -> None:
        """Leave the counters alone: they are the Trainer's own."""

    def publish(self) -> None:
        """Publish the history at the Trainer's own step, where ``self.log`` of other parts has its rows too."""
        if self.history is not None:
            self.history.publish(self.trainer, cadence.last_step(self.trainer))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Evaluate the losses of the epoch, or the loss on the validation set for ``trainer.validate``.

        Args:
            batch: Nothing.
            batch_idx: Zero.
        """
        if self.trainer.state.fn == TrainerFn.FITTING:
            super().validation_step(batch, batch_idx)
        else:
            self._log_loss("val", self.loop.evaluate_loss_on_validation_set)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Evaluate the loss on the test set.

        Args:
            batch: Nothing.
            batch_idx: Zero.
        """
        self._log_loss("test", self.loop.evaluate_loss_on_test_set)

    def _log_loss(self, data: str, evaluate: Any) -> None:
        # What is stored is known by its iteration alone, and may be that of other weights.
        self.loop.prediction_store._forget(data)
        name = f"{data}_loss"
        with torch.inference_mode(False):
            loss = evaluate().item()
        losses = {name: loss} if isinstance(loss, float) else {f"{name}_{key}": each for key, each in loss.items()}
        self.log_dict(losses, batch_size=1)

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Predict a batch.

        Args:
            batch: The batch as the loader yielded it.
            batch_idx: Its index.
            dataloader_idx: The index of its loader.

        Returns:
            What ``get_predictions`` returns: predictions, targets and metadata.
        """
        feed, device = self.loop.batch_model_feed_def, self.loop.device
        if feed is None:
            return self.model.get_predictions(batch, device)
        return feed.get_predictions(self.model, batch, device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Forget what was predicted, for the weights become others.

        To go on training from a checkpoint is refused: it does not hold what the loop and the old callbacks have to
        know.

        Args:
            checkpoint: What was read.

        Raises:
            RefusedError: The Trainer is to train from it.
        """
        if self.trainer.state.fn == TrainerFn.FITTING:
            raise RefusedError(
                "fit(ckpt_path=...) is not served for the module of a TrainLoop: the file holds neither its history nor"
                " its callbacks. To start from the weights, load them first:"
                " module.load_state_dict(torch.load(path)['state_dict'])."
            )
        for data in ("train", "val", "test"):
            self.loop.prediction_store._forget(data)


class _NoEnd(AbstractContextManager[None]):
    """Keeps Lightning from taking a user's StopIteration for the end of the epoch."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Say what it is."""
        if isinstance(error, StopIteration):
            raise RuntimeError("StopIteration came out of the training step, and would end the epoch.") from error


class _Departure(OwnCallback):
    """Ends the visit where Lightning calls no hook of the module: after an exception."""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """End the visit.

        Args:
            trainer: The Trainer.
            pl_module: The module.
            stage: What the Trainer was asked for.
        """
        cast("GuestModule", pl_module).depart()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the visit.

        Args:
            trainer: The Trainer.
            pl_module: The module.
            exception: What was raised.
        """
        cast("GuestModule", pl_module).depart()


def _epochs(trainer: Trainer, loop: "TrainLoop", window: int) -> int:
    """Return the epoch that a Trainer will stop before, as far as can be said: schedules are laid out over them."""
    most = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else None
    length = _evaluation.length_of(loop.train_loader)
    if trainer.max_steps < 0 or not length:
        return _NO_END if most is None else most
    by_steps = math.ceil(trainer.max_steps / math.ceil(length / window))
    return by_steps if most is None else min(most, by_steps)


def _without(trainer: Trainer, own: list[Callback]) -> None:
    everyone: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    # A new list: the Trainer may be going through the old one.
    trainer.callbacks = [each for each in everyone if all(each is not one for one in own)]  # type: ignore[attr-defined]


def _give_back(trainer: Trainer, settings: tuple[Any, Any]) -> None:
    trainer.limit_val_batches, trainer.check_val_every_n_epoch = settings


def _limit(loop: "TrainLoop", trainer: Trainer, visit: ExitStack) -> None:
    """Take the Trainer's limits for those of the loop's loaders while the visit lasts."""
    state, asked = loop._compat, cast("Any", trainer)
    outer, trial, verb = state.flags, int(asked.fast_dev_run), cast("TrainerFn", trainer.state.fn)
    given = {data: getattr(asked, f"limit_{data}_batches") for data in _LIMITED.get(verb, ())}
    # A float 1.0 is Lightning's word for all of them.
    wanted = {data: limit for data, limit in given.items() if not (limit == 1.0 and isinstance(limit, float))}
    is_trial = trial and verb == TrainerFn.FITTING
    state.flags = replace(outer, limits=Limits(fast_dev_run=trial) if is_trial else Limits(**wanted))

    def undo() -> None:
        state.flags = outer

    visit.callback(undo)
    for data, limit in wanted.items():
        if isinstance(limit, float) and limit:
            # Lightning would take its share of the shorter loader once more, or of the one batch of nothing.
            visit.callback(setattr, trainer, f"limit_{data}_batches", limit)
            setattr(trainer, f"limit_{data}_batches", 1.0)
