"""Callbacks for looking into a training loop and for trial runs."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from compat._loop_state import state_of
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidArgumentError, raise_problems

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["DataSubsetTestRun", "FunctionOnTrainLoop", "ListRegisteredCallbacks"]


class ListRegisteredCallbacks(AbstractCallback):
    """Print which callbacks run at which position, when the training begins."""

    def __init__(self) -> None:
        """Name the callback."""
        super().__init__("Print the list of registered callbacks")

    def on_train_begin(self) -> None:
        """Print the listing."""
        self.train_loop_obj.callbacks_handler.print_registered_callback_names()


# What the prediction store calls the data of a loader.
_STORED = {"train_loader": "train", "validation_loader": "val", "test_loader": "test"}


class DataSubsetTestRun(AbstractCallback):
    """Train and evaluate on the first few batches only, to see whether a program runs through.

    The batches are loaded once, when the training begins, and used in every epoch. When the fit is over the loop gets
    its loaders back.

    Args:
        num_train_batches: How many batches to train on. 0 leaves the training loader alone.
        num_val_batches: How many batches to validate on. 0 leaves the validation loader alone.
        num_test_batches: How many batches to test on. 0 leaves the test loader alone.

    Raises:
        InvalidArgumentError: A negative number.

    Note:
        Under ``Q78="kept"`` the loaders stay replaced, and the training set becomes a list for 0 as well, of all its
        batches.
    """

    def __init__(self, num_train_batches: int = 1, num_val_batches: int = 0, num_test_batches: int = 0) -> None:
        """Check the numbers."""
        super().__init__("Run model on a small subset of the training dataset")
        counts = {
            "num_train_batches": num_train_batches,
            "num_val_batches": num_val_batches,
            "num_test_batches": num_test_batches,
        }
        raise_problems(
            InvalidArgumentError(f"DataSubsetTestRun({name}={count}) is negative. Pass the number of batches, or 0.")
            for name, count in counts.items()
            if count < 0
        )
        self.num_train_batches = num_train_batches
        self.num_val_batches = num_val_batches
        self.num_test_batches = num_test_batches

    def on_train_begin(self) -> None:
        """Replace the loaders by lists of their first batches."""
        loop = self.train_loop_obj
        fixed = state_of(loop).quirks.fixed("Q78")
        if self.num_train_batches == 0 and fixed:
            state_of(loop).quirks.met("Q78", "the training loader is left alone")
        if self.num_train_batches > 0 or not fixed:
            self._replace("train_loader", self.num_train_batches, give_back=fixed)
        if self.num_val_batches > 0:
            self._replace("validation_loader", self.num_val_batches, give_back=fixed)
        if self.num_test_batches > 0:
            self._replace("test_loader", self.num_test_batches, give_back=fixed)

    def _replace(self, name: str, num_batches: int, *, give_back: bool) -> None:
        loop: TrainLoop = self.train_loop_obj
        whole = getattr(loop, name)
        subset = self.subset_data_loader(whole, num_batches)
        setattr(loop, name, subset)
        # A later fit takes its batches from what the earlier one left behind.
        state_of(loop).loader_used(whole)

        def settle() -> None:
            # Somebody else may have put in another loader meanwhile: that one stays.
            if getattr(loop, name) is not subset:
                return
            if give_back:
                setattr(loop, name, whole)
                # What was computed on the subset is not what the whole loader gives.
                loop.prediction_store._forget(_STORED[name])
            left = (whole, "is given back") if give_back else (subset, "stays replaced")
            state_of(loop).given_back[name] = (left[0], f"{name} {left[1]}, and is used after the fit")

        state_of(loop).run_after_fit(settle)

    @staticmethod
    def subset_data_loader(data_loader: Iterable[Any], num_batches: int) -> list[Any]:
        """Load the first batches.

        Args:
            data_loader: The loader. No batch more than needed is asked of it.
            num_batches: How many; all of them if it is 0 or less.

        Returns:
            The batches.
        """
        return list(islice(data_loader, num_batches if num_batches > 0 else None))

    def on_train_loop_registration(self) -> None:
        """Check that there are the loaders that batches are asked of.

        Raises:
            InvalidArgumentError: There is no such loader.
        """
        loop = self.train_loop_obj
        wanted = [
            ("Validation", "validation_loader", self.num_val_batches, loop.validation_loader),
            ("Test", "test_loader", self.num_test_batches, loop.test_loader),
        ]
        raise_problems(
            InvalidArgumentError(
                f"{title} loader was not provided to the TrainLoop, can't subset it to {count} batches. "
                f"Pass {argument}= to the TrainLoop, or ask DataSubsetTestRun for 0 batches of it."
            )
            for title, argument, count, loader in wanted
            if count > 0 and loader is None
        )


class FunctionOnTrainLoop(AbstractCallback):
    """Call a function with the training loop, at the points you choose.

    Args:
        fn_to_execute: The function; its one argument is the training loop.
        tl_registration: Call it at registration.
        epoch_begin: Call it before each epoch.
        epoch_end: Call it after each epoch.
        train_begin: Call it before the training.
        train_end: Call it after the training.
        batch_begin: Call it before each batch.
        batch_end: Call it after each batch.
        after_gradient_update: Call it after each backward pass.
        after_optimizer_step: Call it after each optimizer step.
        execution_order: As for every callback.
        device_idx_execution: As for every callback.
    """

    def __init__(
        self,
        fn_to_execute: Callable[[Any], Any],
        tl_registration: bool = False,
        epoch_begin: bool = False,
        epoch_end: bool = False,
        train_begin: bool = False,
        train_end: bool = False,
        batch_begin: bool = False,
        batch_end: bool = False,
        after_gradient_update: bool = False,
        after_optimizer_step: bool = False,
        execution_order: int = 0,
        device_idx_execution: int | None = None,
    ) -> None:
        """Keep the function and the points."""
        super().__init__("Execute given function as a callback", execution_order, device_idx_execution)
        self.fn_to_execute = fn_to_execute
        self.tl_registration = tl_registration
        self.epoch_begin = epoch_begin
        self.epoch_end = epoch_end
        self.train_begin = train_begin
        self.train_end = train_end
        self.batch_begin = batch_begin
        self.batch_end = batch_end
        self.after_gradient_update = after_gradient_update
        self.after_optimizer_step = after_optimizer_step

    def execute_callback(self) -> None:
        """Call the function."""
        self.fn_to_execute(self.train_loop_obj)

    def on_train_loop_registration(self) -> None:
        """Switch the gradient hooks on if they are wanted, and call the function if this point was chosen."""
        if self.after_gradient_update or self.after_optimizer_step:
            self.train_loop_obj.grad_cb_used = True
        if self.tl_registration:
            self.execute_callback()

    def on_epoch_begin(self) -> None:
        """Call the function if this point was chosen."""
        if self.epoch_begin:
            self.execute_callback()

    def on_epoch_end(self) -> None:
        """Call the function if this point was chosen."""
        if self.epoch_end:
            self.execute_callback()

    def on_train_begin(self) -> None:
        """Call the function if this point was chosen."""
        if self.train_begin:
            self.execute_callback()

    def on_train_end(self) -> None:
        """Call the function if this point was chosen."""
        if self.train_end:
            self.execute_callback()

    def on_batch_begin(self) -> None:
        """Call the function if this point was chosen."""
        if self.batch_begin:
            self.execute_callback()

    def on_batch_end(self) -> None:
        """Call the function if this point was chosen."""
        if self.batch_end:
            self.execute_callback()

    def on_after_gradient_update(self, optimizer_idx: int) -> None:
        """Call the function if this point was chosen."""
        if self.after_gradient_update:
            self.execute_callback()

    def on_after_optimizer_step(self) -> None:
        """Call the function if this point was chosen."""
        if self.after_optimizer_step:
            self.execute_callback()
