"""Callbacks of training in several processes: data that each of them loads itself, and the epoch for their samplers."""

from collections.abc import Callable
from typing import Any

from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidTypeError, MissingAttributeError, raise_problems

__all__ = ["DistributedSamplerSetEpoch", "InMultiProcessDataLoad"]

_FUNCTIONS = {
    "train_loader_build_fn": "build_train_dataloader",
    "val_loader_build_fn": "build_val_dataloader",
    "test_loader_build_fn": "build_test_dataloader",
}


class DistributedSamplerSetEpoch(AbstractCallback):
    """Tell samplers at the start of each epoch which one it is, so that each is shuffled in another order.

    ``fit`` with ``gpu_mode='ddp'`` registers one for the samplers that it makes.

    Args:
        train_sampler: A sampler with a ``set_epoch``, or one that takes its samples from such a one; or ``None``.
        validation_sampler: Likewise.
        test_sampler: Likewise.

    Raises:
        MissingAttributeError: A sampler without ``set_epoch``.
    """

    def __init__(self, train_sampler: Any, validation_sampler: Any, test_sampler: Any) -> None:
        """Check the samplers."""
        super().__init__("set_epoch for DistributedSamplers at the start of each epoch", execution_order=-100)
        self.train_sampler = train_sampler
        self.validation_sampler = validation_sampler
        self.test_sampler = test_sampler
        raise_problems(
            MissingAttributeError(
                f"DistributedSamplerSetEpoch({name}=) got a {type(sampler).__name__} object, which has no attribute"
                " 'set_epoch'. Pass a sampler that has it, such as torch's DistributedSampler, or None."
            )
            for name, sampler in zip(("train_sampler", "validation_sampler", "test_sampler"), self._all(), strict=True)
            if sampler is not None and _epoch_taker(sampler) is None
        )

    def on_epoch_begin(self) -> None:
        """Tell the samplers."""
        for sampler in self._all():
            taker = _epoch_taker(sampler)
            if taker is not None:
                taker.set_epoch(self.train_loop_obj.epoch)

    def _all(self) -> tuple[Any, Any, Any]:
        return self.train_sampler, self.validation_sampler, self.test_sampler


def _epoch_taker(sampler: Any) -> Any:
    """Return what a sampler's epoch is told to: itself, or the sampler that it takes its samples from.

    Args:
        sampler: A sampler, a loader, or ``None``.

    Returns:
        The first that has a ``set_epoch``, ``None`` if none has.
    """
    while sampler is not None and not callable(getattr(sampler, "set_epoch", None)):
        batches = getattr(sampler, "batch_sampler", None)
        sampler = batches if batches is not None else getattr(sampler, "sampler", None)
    return sampler


class InMultiProcessDataLoad(AbstractCallback):
    """Build loaders in each training process, in place of those that ``TrainLoop`` got.

    Given to ``fit`` as ``in_process_data_load``, with ``gpu_mode='ddp'``. Data that is large or cannot be pickled need
    not travel then, and ``TrainLoop`` may have ``None`` for its loaders. The training loader is the whole one: the loop
    deals it out to the processes. One without a length, such as of an ``IterableDataset``, is taken for the process's
    own part instead; ``torch.distributed.get_rank()`` tells which that is. Each part has to have as many batches.

    Args:
        train_loader_build_fn: Called without arguments, returns the training loader. ``None`` or ``False`` to leave the
            loop's own.
        val_loader_build_fn: Likewise, for validation.
        test_loader_build_fn: Likewise, for the test set.

    Raises:
        InvalidTypeError: Something that is no function. A subclass that overrides the method may pass ``True``.
    """

    def __init__(
        self,
        train_loader_build_fn: Callable[[], Any] | bool | None = None,
        val_loader_build_fn: Callable[[], Any] | bool | None = None,
        test_loader_build_fn: Callable[[], Any] | bool | None = None,
    ) -> None:
        """Check the functions."""
        super().__init__("Multiprocess in-process data loading logic infuser")
        self.train_loader_build_fn: Any = train_loader_build_fn
        self.val_loader_build_fn: Any = val_loader_build_fn
        self.test_loader_build_fn: Any = test_loader_build_fn
        raise_problems(
            InvalidTypeError(
                f"InMultiProcessDataLoad({name}={getattr(self, name)!r}) is a {type(getattr(self, name)).__name__}"
                " object, which is not callable. Pass a function that builds the loader, not the loader, or None."
            )
            for name, method in _FUNCTIONS.items()
            if self._wants(name)
            and not callable(getattr(self, name))
            and getattr(type(self), method) is getattr(InMultiProcessDataLoad, method)
        )

    def on_multiprocess_start(self) -> None:
        """Replace the loaders of the loop for which there is a function.

        Raises:
            InvalidTypeError: There is no training loader afterwards.
        """
        loop = self.train_loop_obj
        if self._wants("train_loader_build_fn"):
            loop.train_loader = self.build_train_dataloader()
        if self._wants("val_loader_build_fn"):
            loop.validation_loader = self.build_val_dataloader()
        if self._wants("test_loader_build_fn"):
            loop.test_loader = self.build_test_dataloader()
        if loop.train_loader is None and self._wants("train_loader_build_fn"):
            raise InvalidTypeError(
                f"{type(self).__name__}.build_train_dataloader returned None, and there is nothing to train on. The"
                " function has to return the loader."
            )

    def build_train_dataloader(self) -> Any:
        """Build the training loader.

        Returns:
            The loader.
        """
        return self.train_loader_build_fn()

    def build_val_dataloader(self) -> Any:
        """Build the validation loader.

        Returns:
            The loader; ``None`` to train without validation.
        """
        return self.val_loader_build_fn()

    def build_test_dataloader(self) -> Any:
        """Build the test loader.

        Returns:
            The loader; ``None`` to train without a test.
        """
        return self.test_loader_build_fn()

    def _wants(self, name: str) -> bool:
        value = getattr(self, name)
        return value is not None and value is not False
