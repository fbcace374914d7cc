"""Old callbacks in a plain Trainer: the adapter.

``old_events.py`` has the order of events, and ``view.py`` is what the callbacks get for their TrainLoop.
"""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from compat._lightning.old_events import OldCallbacks
from compat.callbacks._given import advice
from compat.callbacks._native import check_native, is_native
from compat.callbacks.abstract import AbstractCallback
from compat.callbacks.ddp import InMultiProcessDataLoad
from compat.callbacks.debugging import DataSubsetTestRun
from compat.exceptions import InvalidTypeError, MissingAttributeError, RefusedError

__all__ = ["OldCallbackAdapter", "as_lightning_callback"]

_REFUSED = {
    DataSubsetTestRun: "replaces the loaders of the loop, and a Trainer keeps those that it was given. Pass"
    " Trainer(limit_train_batches=n, limit_val_batches=n, limit_test_batches=n), or fast_dev_run=n",
    InMultiProcessDataLoad: "builds loaders for the loop, and a Trainer takes them from elsewhere. Build them in"
    " train_dataloader() and val_dataloader() of the module or of a LightningDataModule, which run in each process",
}
_SET_BY_BASE = ("callback_name", "execution_order", "device_idx_execution")


def as_lightning_callback(old_callback: AbstractCallback) -> "OldCallbackAdapter":
    """Make a Lightning callback of an old one, to be passed to a plain ``Trainer(callbacks=[...])``.

    All old callbacks of a Trainer share one ``train_loop_obj``, which stands for the TrainLoop, with its history,
    messages and counters. They run where the first of them is in the Trainer's list, by their ``execution_order``.
    Their state is in Lightning's checkpoints.

    Args:
        old_callback: An old callback, not its class.

    Returns:
        The Lightning callback.

    Raises:
        InvalidTypeError: Something else than an old callback.
        MissingAttributeError: A callback without what the base constructor sets.
        RefusedError: A callback that cannot have its effect in a plain Trainer. The message names the native way.

    Note:
        What a plain Trainer does not have, such as ``project_name``, is an ``AttributeError`` that says what to do.
    """
    given: Any = old_callback
    if is_native(given):
        check_native(given)
        raise InvalidTypeError(
            f"{type(given).__name__} is a callback of Lightning's already. Pass it to Trainer(callbacks=[...]) as it"
            " is."
        )
    if isinstance(given, list | tuple):
        raise InvalidTypeError(
            f"as_lightning_callback takes one callback, and got a {type(given).__name__} of {len(given)}. Pass them one"
            " by one: [as_lightning_callback(callback) for callback in callbacks]."
        )
    if not isinstance(given, AbstractCallback):
        raise InvalidTypeError(f"{given!r} is no old callback. {advice(given)}")
    missing = [name for name in _SET_BY_BASE if not hasattr(given, name)]
    if missing:
        kind = type(given).__name__
        raise MissingAttributeError(
            f"{kind!r} object has no attribute {missing[0]!r}: its constructor does not run that of AbstractCallback."
            f" Call super().__init__(callback_name) in {kind}.__init__."
        )
    for refused, why in _REFUSED.items():
        if isinstance(given, refused):
            raise RefusedError(f"{type(given).__name__} {why}.")
    return OldCallbackAdapter(given)


class OldCallbackAdapter(Callback):
    """A Lightning callback that stands for an old one; the first of a Trainer drives all of them.

    Args:
        old_callback: The old callback.

    Attributes:
        old_callback: The argument.
    """

    def __init__(self, old_callback: AbstractCallback) -> None:
        """Wait for a Trainer."""
        self.old_callback = old_callback
        self._company: OldCallbacks | None = None
        self._leads = False
        kind = type(old_callback)
        self._name = f"{kind.__module__}.{kind.__qualname__}"
        # Until a Trainer has it, it only has to differ from all others.
        self._key = f"{self._name}[{id(self)}]"

    def __repr__(self) -> str:
        """Show which old callback it is."""
        return f"as_lightning_callback({type(self.old_callback).__name__})"

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint: the class, and which one of that class in the Trainer's list it is."""
        return self._key

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Join the other old callbacks of the Trainer."""
        adapters = _adapters_of(trainer)
        if adapters[0] is not self:
            return
        known = (each._company for each in adapters if each._company is not None)
        company = next((each for each in known if each.view.trainer is trainer), None) or OldCallbacks(trainer)
        counts: dict[str, int] = {}
        for each in adapters:
            each._company, each._leads = company, each is self
            index = counts[each._name] = counts.get(each._name, -1) + 1
            each._key = f"{each._name}[{index}]"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register the old callbacks, now that there are optimizers."""
        if self._drives is not None:
            self._drives.register([each.old_callback for each in _adapters_of(trainer)])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the training."""
        if self._drives is not None:
            self._drives.begin_training()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        if self._drives is not None:
            self._drives.begin_epoch()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin a batch."""
        if self._drives is not None:
            self._drives.begin_batch(batch_idx)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell of gradients."""
        if self._drives is not None:
            self._drives.after_backward()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Tell of gradients that a step follows."""
        if self._drives is not None:
            self._drives.before_step(optimizer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End a batch."""
        if self._drives is not None:
            self._drives.end_batch(outputs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End an epoch."""
        if self._drives is not None:
            self._drives.end_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the training."""
        if self._drives is not None:
            self._drives.end_training()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the optimizers alone."""
        if self._drives is not None:
            self._drives.let_go()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the old callback; the first one's has that of the training beside it."""
        if self._company is None:
            return {}
        state: dict[str, Any] = {"callback": self._company.state_of(self.old_callback)}
        if self._leads:
            state["training"] = self._company.state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the old callback, when it is registered.

        Args:
            state_dict: What :meth:`state_dict` returned.
        """
        if self._company is None:
            return
        self._company.restore_callback(self.old_callback, state_dict["callback"])
        if "training" in state_dict:
            self._company.restore(state_dict["training"])

    @property
    def _drives(self) -> OldCallbacks | None:
        return self._company if self._leads else None


def _adapters_of(trainer: Trainer) -> list[OldCallbackAdapter]:
    everyone: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
    return [each for each in everyone if isinstance(each, OldCallbackAdapter)]
