"""What a training loop remembers beside the attributes that the old API documents.

All of it is in one object, ``loop._compat``, so that a subclass of ``TrainLoop`` is free to use any other name.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compat.quirks import QuirkSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from compat._distributed.ranks import Ranks
    from compat._lightning.flags import Flags
    from compat._lightning.module import LoopModule
    from compat._lightning.trainer import Trainer

__all__ = ["FromState", "Inherited", "LoopState", "Target", "state_of"]


@dataclass(frozen=True)
class Target:
    """What a fit runs towards; frozen when it starts, whatever happens to the loop's attributes.

    Attributes:
        num_epochs: The epoch to stop before; ``None`` while a loader without a length leaves it open.
        num_iterations: The batches to stop after, 0 if epochs are counted.
        base: The index, over all fits, of the batch from which iterations are counted.
    """

    num_epochs: int | None = None
    num_iterations: int = 0
    base: int = 0

    @property
    def last_batch(self) -> int:
        """The index, over all fits, of the batch to stop after; never one if epochs are counted."""
        return self.base + self.num_iterations - 1 if self.num_iterations > 0 else -2


@dataclass(frozen=True)
class Inherited:
    """What a fit takes over from earlier ones, as it was before a callback could change it.

    Attributes:
        epoch: ``loop.epoch``.
        epoch_ran: Whether that epoch ran to its end; never for a fit inside another.
        stopped: ``loop.early_stop``.
        batches: The batches that were trained.
    """

    epoch: int = 0
    epoch_ran: bool = False
    stopped: bool = False
    batches: int = 0


class LoopState:
    """The memory of one loop.

    Args:
        quirks: ``TrainLoop(quirks=)``.

    Attributes:
        quirks: Which oddities of the old loop are kept or fixed.
        flags: What ``lightning_args`` asks for. Set by the loop's constructor.
        autocast_dtype: The type that losses and predictions are computed in, ``None`` where ``use_amp`` decides.
        mean_losses: With a ``MultiLoss``, the mean over its losses, beside the history and under the plain keys.
        last_update_skipped: Whether the gradient scaler skipped the last update.
        trainer: Lightning's Trainer of the running or last fit, ``None`` before the first.
        lightning_module: The module that this Trainer runs.
        target: What the running or last fit runs towards.
        inherited: What it took over from earlier ones.
        last_window_by_its_own_size: Whether quirk Q11 is fixed in this fit.
        backward_before_steps: Whether quirk Q45 is fixed in this fit.
        own_loss_verbs: Whether nobody overrides what makes the batch loss and what takes it.
        epoch_ran: Whether the epoch at ``loop.epoch`` ran to its end.
        updates: Updates of the weights in all fits.
        told: What a fit need say or look for only once, and has.
        sample_counts: Samples of the epoch's batches so far, if losses are weighted by them (quirk Q19).
        batch_sizes: A training loader with the sizes of its batches, looked up once a fit (quirk Q19).
        evaluation_drew: Whether the evaluation of the training set drew what the next epoch draws from (quirk Q18).
        metadata_without_loss: Stored metadata by data set that a package got with the loss in a copy (quirk Q35).
        given_back: Loaders, by the loop's attribute, that stand where the other mode of quirk Q78 has another one, with
            what is to be said when one is used.
        storing: Whether an evaluation runs to be stored, and so was not asked for by itself.
        ranks: The other processes of the running fit; ``None`` while this one trains alone.
        local_size: The number of its processes on this machine.
        ddp_model_args: What the model of a fit in several processes was wrapped with.
        foreign_parameters: What the optimizer of a fit in several processes steps on beside the model's parameters.
        of_this_fit: Callbacks that the running fit alone needs.
        native_of_fits: Lightning's callbacks that a fit has had: newer ones of their kind take their place.
        log_folders: Loggers whose folder was chosen for them.
        incomplete: Callbacks that lack something which could not come home from the processes of a fit.
        built_here: The loaders that this process has built for itself.
        has_dealt: Whether the training loader is this process's part by now.
        is_gathered: Whether the losses to be averaged are those of all processes already.
        after_fit: What is to run when the running fit is over; ``None`` while none runs.
    """

    def __init__(self, quirks: Mapping[str, str] | None = None) -> None:
        """Start with nothing trained."""
        self.quirks = QuirkSettings(quirks)
        self.flags: Flags
        self.autocast_dtype: torch.dtype | None = None
        self.mean_losses: dict[str, list[float]] = {}
        self.last_update_skipped = False
        self.trainer: Trainer | None = None
        self.lightning_module: LoopModule | None = None
        self.target = Target()
        self.inherited = Inherited()
        self.last_window_by_its_own_size = False
        self.backward_before_steps = False
        self.own_loss_verbs = False
        self.epoch_ran = False
        self.updates = 0
        self.told: set[str] = set()
        self.sample_counts: list[int] | None = None
        self.batch_sizes: tuple[Any, list[int]] | None = None
        self.evaluation_drew = False
        self.metadata_without_loss: dict[str, Any] = {}
        self._reads_with_loss = False
        self.given_back: dict[str, tuple[Any, str]] = {}
        self.storing = False
        self.ranks: Ranks | None = None
        self.local_size = 1
        self.ddp_model_args: dict[str, Any] = {}
        self.foreign_parameters: list[Any] = []
        self.of_this_fit: list[Any] = []
        self.native_of_fits: list[Any] = []
        self.log_folders: list[Any] = []
        self.incomplete: list[Any] = []
        self.built_here: list[Any] = []
        self.has_dealt = False
        self.is_gathered = False
        self.after_fit: ExitStack | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the Trainer out of copies: it belongs to a fit of this process."""
        gone: dict[str, Any] = {"trainer": None, "lightning_module": None, "after_fit": None, "ranks": None}
        return {**self.__dict__, **gone, "built_here": [], "foreign_parameters": [], "of_this_fit": []}

    @contextmanager
    def reading_with_loss(self, is_with_loss: Any) -> Iterator[None]:
        """Hold a read of predictions for a package that gets the loss beside them.

        Args:
            is_with_loss: Whether it does.
        """
        outer, self._reads_with_loss = self._reads_with_loss, bool(is_with_loss)
        try:
            yield
        finally:
            self._reads_with_loss = outer

    def predictions_read(self, data: str, predictions: Any) -> None:
        """Count a read of predictions whose metadata hold the loss in the old library (Q35).

        Args:
            data: The data set.
            predictions: What is read; an override may have made something else than the usual triple of it.
        """
        metadata = predictions[2] if isinstance(predictions, tuple) and len(predictions) == 3 else None
        if not self._reads_with_loss and metadata is not None and self.metadata_without_loss.get(data) is metadata:
            self.quirks.met("Q35", f"the metadata of the {data} set are read without the loss that a package got")

    def loader_used(self, loader: Any) -> None:
        """Count the first use of a loader that stands where the other mode of Q78 has another one.

        Args:
            loader: What is used.
        """
        for name in [name for name, (other, _) in self.given_back.items() if other is loader and loader is not None]:
            self.quirks.met("Q78", self.given_back.pop(name)[1])

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Hold an average of losses that have been gathered from all processes."""
        outer, self.is_gathered = self.is_gathered, True
        try:
            yield
        finally:
            self.is_gathered = outer

    def run_after_fit(self, action: "Callable[[], None]") -> None:
        """Run something when the running fit is over, however it ends.

        Args:
            action: Called without arguments; the last one registered runs first.
        """
        if self.after_fit is not None:
            self.after_fit.callback(action)


class FromState:
    """A public attribute of the loop that reads its memory, and gives way to one that a subclass sets.

    Args:
        name: The attribute of :class:`LoopState`.
    """

    def __init__(self, name: str) -> None:
        """Keep the name."""
        self._name = name

    def __get__(self, loop: Any, owner: type) -> Any:
        """Return the value, or this descriptor if it is asked of the class."""
        return self if loop is None else getattr(loop._compat, self._name)


def state_of(train_loop_obj: Any) -> LoopState:
    """Return the memory of a loop.

    Args:
        train_loop_obj: A training loop, or an object that somebody's tests put in its place.

    Returns:
        The loop's memory; an empty one where it has none.
    """
    state = getattr(train_loop_obj, "_compat", None)
    return state if isinstance(state, LoopState) else LoopState()
