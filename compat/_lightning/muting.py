"""Hooks of native callbacks that Lightning is not to call for a while."""

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from compat._lightning.publishing import History
from compat.exceptions import InvalidArgumentError

__all__ = ["Muted"]

_NOTHING = object()


class Muted:
    """Keeps Lightning from calling hooks, until they are given back: it passes over what is not callable.

    A callback that has nothing to act on is spared in this way from acting on something stale.
    """

    def __init__(self) -> None:
        """Mute nothing yet."""
        self._before: list[tuple[Callback, str, object]] = []

    def mute(self, callback: Callback, *hooks: str) -> None:
        """Mute hooks of a callback.

        Args:
            callback: The callback.
            hooks: Their names.
        """
        for hook in hooks:
            self._before.append((callback, hook, vars(callback).get(hook, _NOTHING)))
            vars(callback)[hook] = None

    def mute_stale(self, trainer: Trainer, history: History, hook: str) -> None:
        """Mute the parts that monitor what this epoch has not brought: they would take it for a new value.

        Args:
            trainer: The Trainer.
            history: The facade's history.
            hook: Where they would act.
        """
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
        for callback in callbacks:
            monitor = callback.monitor if isinstance(callback, EarlyStopping | ModelCheckpoint) else None
            if monitor is not None and history.is_stale(monitor):
                self.mute(callback, hook)

    def check_monitors(self, trainer: Trainer) -> None:
        """Refuse a checkpoint that waits for a metric of which nobody has heard: it would never save, with a warning.

        Args:
            trainer: A Trainer at the end of an epoch that was evaluated.

        Raises:
            InvalidArgumentError: There is no such metric.
        """
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
        known = trainer.callback_metrics
        for callback in callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.monitor not in (None, "epoch", "step", *known):
                raise InvalidArgumentError(
                    f"{type(callback).__name__}(monitor={callback.monitor!r}) waits for a metric that is not there when"
                    f" epoch {trainer.current_epoch} is over. There are: {', '.join(sorted(known))}. Of a MultiLoss"
                    " each loss has a name of its own, such as val_loss_<name>."
                )

    def mute_validation(self, trainer: Trainer) -> None:
        """Mute the parts that measure the batches of a validation loop: here there are none.

        Args:
            trainer: The Trainer.
        """
        hooks = ("on_validation_start", "on_validation_batch_end", "on_validation_end")
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by one of its connectors
        for callback in callbacks:
            if any(each.__name__ == "ThroughputMonitor" for each in type(callback).__mro__):
                self.mute(callback, *hooks)

    def give_back(self) -> None:
        """Give all hooks back."""
        while self._before:
            callback, hook, before = self._before.pop()
            if before is _NOTHING:
                vars(callback).pop(hook, None)
            else:
                vars(callback)[hook] = before
