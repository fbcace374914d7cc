"""Registration, order and execution of callbacks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from compat._console import say
from compat._ledger import happened, used
from compat._loop_state import state_of
from compat.callbacks._given import advice, as_list, shown_class
from compat.callbacks._hooks import code_of, has_hook, one_by_one, waiting_hooks
from compat.callbacks._native import AnyCallback, check_native, is_native, split, superseded
from compat.callbacks.abstract import AbstractCallback
from compat.exceptions import InvalidArgumentError, InvalidTypeError, MissingAttributeError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["CallbacksHandler"]

_POSITIONS = (
    "on_epoch_begin",
    "on_epoch_end",
    "on_train_begin",
    "on_train_end",
    "on_batch_begin",
    "on_batch_end",
    "on_after_gradient_update",
    "on_after_optimizer_step",
    "on_multiprocess_start",
    "on_after_batch_prediction",
)
_SET_BY_BASE = ("execution_order", "device_idx_execution")

Callbacks = Iterable[AnyCallback] | AnyCallback | None


class CallbacksHandler:
    """The callbacks of one training loop, sorted, and by the position at which they run.

    A callback is in the list of a position if it has a hook for it that does something. The loop's own ``callbacks`` is
    the list of all.

    Args:
        train_loop_obj: The training loop.

    Attributes:
        callbacks_cache: Callbacks that are registered with the next batch, before its own. Owned by the handler, as are
            the ``cbs_...`` lists.
        registered_cbs: The lists of all positions.
        native_callbacks: Lightning's callbacks, in the order in which they were registered. They are no part of the
            loop's own list: the Trainer runs them. They stay for later fits, but for two: one that gives way to a newer
            one of its kind (a second progress bar, or what has the same ``state_key``), and those that a fit brought
            which failed before its first epoch was over. Take one out of this list to drop it.
    """

    def __init__(self, train_loop_obj: "TrainLoop") -> None:
        """Start with no callbacks."""
        self.train_loop_obj = train_loop_obj
        self.callbacks_cache: list[AbstractCallback] = []
        self.cbs_on_epoch_begin: list[AbstractCallback] = []
        self.cbs_on_epoch_end: list[AbstractCallback] = []
        self.cbs_on_train_begin: list[AbstractCallback] = []
        self.cbs_on_train_end: list[AbstractCallback] = []
        self.cbs_on_batch_begin: list[AbstractCallback] = []
        self.cbs_on_batch_end: list[AbstractCallback] = []
        self.cbs_on_after_gradient_update: list[AbstractCallback] = []
        self.cbs_on_after_optimizer_step: list[AbstractCallback] = []
        self.cbs_on_multiprocess_start: list[AbstractCallback] = []
        self.cbs_on_after_batch_prediction: list[AbstractCallback] = []
        self.registered_cbs: list[list[AbstractCallback]] = [getattr(self, f"cbs_{name}") for name in _POSITIONS]
        self.native_callbacks: list[Any] = []
        self._idle_hooks: list[tuple[AbstractCallback, int]] = []
        self._switched_on = False

    def register_callbacks(
        self, callbacks: Callbacks, cache_callbacks: bool = False, print_callbacks: bool = False
    ) -> None:
        """Register callbacks, the cached ones first. If one of them will not do, none is registered.

        Args:
            callbacks: A sequence of callbacks, old ones and Lightning's in any order, a single one, or ``None``.
            cache_callbacks: Only put them aside, to be registered with the next batch.
            print_callbacks: Print all registered callbacks afterwards.

        Raises:
            InvalidTypeError: Something that is not a callback.
            InvalidArgumentError: A callback for a GPU that does not exist.
            MissingAttributeError: A callback without what the base constructor sets.
        """
        given = as_list(callbacks)
        # What is only put aside may be any sequence in the old library too.
        if isinstance(callbacks, AbstractCallback) or not (cache_callbacks or isinstance(callbacks, list | None)):
            state_of(self.train_loop_obj).quirks.met("Q09", f"callbacks is a {type(callbacks).__name__}")
        if cache_callbacks:
            self.callbacks_cache.extend(given)
            return
        given, native = split([*self.callbacks_cache, *given])
        self.enforce_callbacks_quality([*given, *native])
        batch = [callback for callback in self._without_repeats(given) if self.should_enable_callback(callback)]
        with self._all_or_none():
            # All are given the loop before the first is listed, as in the old library: a registration hook sees the
            # callbacks of earlier batches only.
            registered = [self._registered(callback) for callback in batch]
        self.train_loop_obj.callbacks.extend(registered)
        self._register_native(native)
        self.callbacks_cache = []
        _sort(self.train_loop_obj.callbacks)
        self.split_on_execution_position(registered)
        if waiting_hooks(registered) and state_of(self.train_loop_obj).quirks.fixed("Q88"):
            self._switched_on = self._switched_on or not self.train_loop_obj.grad_cb_used
            self.train_loop_obj.grad_cb_used = True
        if print_callbacks:
            self.print_registered_callback_names()

    def _register_native(self, callbacks: Sequence[Any]) -> None:
        gone = {id(each) for each in superseded(state_of(self.train_loop_obj).native_of_fits, callbacks)}
        everyone = [each for each in [*self.native_callbacks, *callbacks] if id(each) not in gone]
        # One that an earlier fit was given goes on; Lightning would refuse to run it twice.
        self.native_callbacks[:] = {id(each): each for each in everyone}.values()

    @contextmanager
    def _all_or_none(self) -> Iterator[None]:
        """Take back what was registered meanwhile if something fails."""
        loop, grad_cb_used = self.train_loop_obj, self.train_loop_obj.grad_cb_used
        lists = [loop.callbacks, *self.registered_cbs, self.native_callbacks]
        before, cached, idle = [list(each) for each in lists], self.callbacks_cache, self._idle_hooks[:]
        try:
            yield
        except BaseException:
            for each, content in zip(lists, before, strict=True):
                each[:] = content
            loop.grad_cb_used, self.callbacks_cache, self._idle_hooks = grad_cb_used, cached, idle
            raise

    def _without_repeats(self, callbacks: list[AbstractCallback]) -> list[AbstractCallback]:
        quirks = state_of(self.train_loop_obj).quirks
        seen = {id(callback) for callback in self.train_loop_obj.callbacks}
        kept = []
        for callback in callbacks:
            if id(callback) in seen:
                again = "left out" if quirks.fixed("Q07") else "registered again: each of its hooks runs twice"
                quirks.met(
                    "Q07",
                    f"the {type(callback).__name__} object passed to this loop is registered already, and is {again}",
                )
                if quirks.fixed("Q07"):
                    continue
            seen.add(id(callback))
            kept.append(callback)
        return kept

    def _registered(self, callback: AbstractCallback) -> AbstractCallback:
        used(callback)
        registered: Any = None
        for each in self._in_turn([callback]):
            registered = each.register_train_loop_object(self.train_loop_obj)
        if not isinstance(registered, AbstractCallback):
            raise MissingAttributeError(
                f"{type(callback).__name__}.register_train_loop_object returned {registered!r}. "
                "It has to return the callback: end the override with `return self`."
            )
        return registered

    def check_gradient_hooks(self) -> None:
        """Count gradient hooks that nobody has switched on (Q88); called once ``on_train_begin`` is over."""
        quirks, is_on = state_of(self.train_loop_obj).quirks, self.train_loop_obj.grad_cb_used
        if is_on and not self._switched_on:
            return
        waiting = waiting_hooks(self.train_loop_obj.callbacks)
        if waiting:
            run = "run all the same" if is_on else "will not run"
            quirks.met(
                "Q88",
                f"{', '.join(waiting)} {run}, since no callback has set grad_cb_used "
                "(self.train_loop_obj.grad_cb_used = True in on_train_loop_registration does)",
            )

    def should_enable_callback(self, callback: AbstractCallback) -> bool:
        """Tell whether a callback runs in this process.

        Args:
            callback: The callback, which may have asked for one GPU or, among several processes, for one rank.

        Returns:
            True if it asked for none or for this one, or if this process is alone and its GPU has no number.
        """
        here = self._here()
        return here is None or callback.device_idx_execution is None or callback.device_idx_execution == here

    def _here(self) -> int | None:
        """Return what a callback asks for by ``device_idx_execution``: the rank, or in one process the GPU (Q59)."""
        loop = self.train_loop_obj
        # An override that forms the group of processes itself sets the rank before.
        in_group = state_of(loop).ranks is not None or (loop.gpu_mode == "ddp" and loop.ddp_rank is not None)
        here: int | None = loop.ddp_rank if in_group else loop.device.index
        return here

    def _in_turn(self, callbacks: Iterable[AbstractCallback]) -> Iterable[AbstractCallback]:
        """Go through callbacks whose hook is about to run; one of a single process stands alone meanwhile."""
        ranks = state_of(self.train_loop_obj).ranks
        return callbacks if ranks is None else one_by_one(callbacks, ranks)

    def execute_epoch_begin(self) -> None:
        """Run the hooks before an epoch."""
        self._take_up_patched_hooks()
        for callback in self._in_turn(self.cbs_on_epoch_begin):
            callback.on_epoch_begin()

    def execute_epoch_end(self) -> None:
        """Run the hooks after an epoch."""
        for callback in self._in_turn(self.cbs_on_epoch_end):
            callback.on_epoch_end()

    def execute_train_begin(self) -> None:
        """Run the hooks before the training."""
        self._take_up_patched_hooks()
        for callback in self._in_turn(self.cbs_on_train_begin):
            callback.on_train_begin()

    def execute_train_end(self) -> None:
        """Run the hooks after the training."""
        for callback in self._in_turn(self.cbs_on_train_end):
            callback.on_train_end()

    def execute_batch_begin(self) -> None:
        """Run the hooks before a batch."""
        for callback in self._in_turn(self.cbs_on_batch_begin):
            callback.on_batch_begin()

    def execute_batch_end(self) -> None:
        """Run the hooks after a batch."""
        for callback in self._in_turn(self.cbs_on_batch_end):
            callback.on_batch_end()

    def execute_gradient_update(self, optimizer_idx: int = 0) -> None:
        """Run the hooks after a backward pass.

        Args:
            optimizer_idx: The index of the optimizer whose loss was back-propagated.
        """
        for callback in self._in_turn(self.cbs_on_after_gradient_update):
            callback.on_after_gradient_update(optimizer_idx)

    def execute_optimizer_step(self) -> None:
        """Run the hooks after an optimizer step."""
        for callback in self._in_turn(self.cbs_on_after_optimizer_step):
            callback.on_after_optimizer_step()

    def execute_multiprocess_start(self) -> None:
        """Run the hooks at the start of a training process."""
        for callback in self._in_turn(self.cbs_on_multiprocess_start):
            callback.on_multiprocess_start()

    def execute_after_batch_prediction(
        self, y_pred_batch: Any, y_test_batch: Any, metadata_batch: Any, dataset_info: Any
    ) -> None:
        """Run the hooks after the predictions of a batch.

        Args:
            y_pred_batch: Predictions, as the model gave them.
            y_test_batch: Targets, as the model gave them.
            metadata_batch: What else the model gave.
            dataset_info: What the caller said of the data set.
        """
        for callback in self._in_turn(self.cbs_on_after_batch_prediction):
            callback.on_after_batch_prediction(y_pred_batch, y_test_batch, metadata_batch, dataset_info)

    def split_on_execution_position(
        self, callbacks: Iterable[AbstractCallback], register_train_loop: bool = False
    ) -> None:
        """Put callbacks into the lists of the positions they have a hook for.

        Args:
            callbacks: The callbacks.
            register_train_loop: Give them the training loop first.
        """
        for callback in callbacks:
            placed = self._registered(callback) if register_train_loop else callback
            if any(code_of(getattr(placed, name)) is None for name in _POSITIONS):
                # It was an error, so there is nothing to switch back to.
                happened("Q87", "fixed", f"a hook of {type(placed).__name__} is no Python function")
            for position, name in enumerate(_POSITIONS):
                if has_hook(placed, name):
                    self.registered_cbs[position].append(placed)
                else:
                    self._idle_hooks.append((placed, position))
        for position_callbacks in self.registered_cbs:
            _sort(position_callbacks)

    def _take_up_patched_hooks(self) -> None:
        """Put callbacks into the lists of hooks that were empty at registration and are not any more (Q87)."""
        quirks, idle = state_of(self.train_loop_obj).quirks, []
        fixed = quirks.fixed("Q87")
        for callback, position in self._idle_hooks:
            if has_hook(callback, _POSITIONS[position]):
                hook = f"{type(callback).__name__}.{_POSITIONS[position]}"
                quirks.met("Q87", f"{hook} was put in after the registration and {'runs' if fixed else 'never runs'}")
                if fixed:
                    self.registered_cbs[position].append(callback)
                    _sort(self.registered_cbs[position])
            else:
                idle.append((callback, position))
        self._idle_hooks = idle

    def mp_filter_callbacks(self) -> None:
        """Drop the callbacks that do not run in this process."""
        self.keep_callbacks(self.should_enable_callback)

    def keep_callbacks(self, is_kept: Callable[[AbstractCallback], bool]) -> None:
        """Drop registered callbacks.

        Args:
            is_kept: Tells whether a callback stays.
        """
        for callbacks in (self.train_loop_obj.callbacks, *self.registered_cbs):
            callbacks[:] = filter(is_kept, callbacks)
        self._idle_hooks = [entry for entry in self._idle_hooks if is_kept(entry[0])]

    def adopt(self, callbacks: Sequence[AbstractCallback]) -> None:
        """List the callbacks that are registered in the processes of a fit, without registering them here once more.

        Args:
            callbacks: All of them; others are not listed any more.
        """
        loop = self.train_loop_obj
        loop.callbacks[:], self.native_callbacks = split(callbacks)
        state_of(loop).native_of_fits = self.native_callbacks[:]
        self.callbacks_cache, self._idle_hooks = [], []
        for position_callbacks in self.registered_cbs:
            position_callbacks.clear()
        _sort(loop.callbacks)
        self.split_on_execution_position(loop.callbacks)

    def _mp_filter_cb_list(self, callbacks_list: Iterable[AbstractCallback]) -> list[AbstractCallback]:
        return [callback for callback in callbacks_list if self.should_enable_callback(callback)]

    def enforce_callbacks_quality(self, callbacks: Iterable[AbstractCallback]) -> None:
        """Check callbacks before they are registered.

        Args:
            callbacks: The callbacks.

        Raises:
            InvalidTypeError: Something that is not a callback.
            MissingAttributeError: A callback without what the base constructor sets.
            InvalidArgumentError: A callback for a GPU that does not exist.
        """
        given: Iterable[Any] = callbacks
        for callback in given:
            if is_native(callback):
                self._check_native(callback)
                continue
            if not isinstance(callback, AbstractCallback):
                raise InvalidTypeError(
                    f"Callback {callback} is not inherited from the AbstractCallback. {advice(callback)}"
                )
            missing = [name for name in _SET_BY_BASE if not hasattr(callback, name)]
            if missing:
                kind = type(callback).__name__
                raise MissingAttributeError(
                    f"{kind!r} object has no attribute {missing[-1]!r}: its constructor does not run that of "
                    f"AbstractCallback. Call super().__init__(callback_name) in {kind}.__init__."
                )
            self._check_device(callback)

    def _check_native(self, callback: Any) -> None:
        check_native(callback)
        trainer = state_of(self.train_loop_obj).trainer
        is_new = all(callback is not known for known in self.native_callbacks)
        if is_new and trainer is not None and trainer.training:
            raise InvalidArgumentError(
                f"{type(callback).__name__} is a callback of Lightning's, and comes while the Trainer runs, which takes"
                " its callbacks when it starts. Pass it to fit, or register it before."
            )

    def _check_device(self, callback: AbstractCallback) -> None:
        ranks, wanted = state_of(self.train_loop_obj).ranks, callback.device_idx_execution
        if ranks is not None or self.train_loop_obj.gpu_mode == "ddp" or self._here() is None or wanted is None:
            return
        available = torch.cuda.device_count()
        if wanted >= available:
            raise InvalidArgumentError(
                f"Selected device_idx_execution of {wanted} is too high for {type(callback).__name__}. There are only "
                f"{available} available GPU devices. Select an index from 0 to {available - 1}, or None for all."
            )

    def __str__(self) -> str:
        titles = [*_POSITIONS[:-1], f"cbs_{_POSITIONS[-1]}"]
        parts = [
            f"At {title}:\n{self.print_callback_info(callbacks)}\n"
            for title, callbacks in zip(titles, self.registered_cbs, strict=True)
        ]
        if self.native_callbacks:
            names = "\n".join(f"\t{type(callback).__name__}" for callback in self.native_callbacks)
            parts.append(f"Of Lightning:\n{names}\n")
        return "CALLBACKS\n" + "".join(parts)

    @staticmethod
    def print_callback_info(callback_list: Iterable[AbstractCallback]) -> str:
        """Describe callbacks, each in one line of a listing.

        Args:
            callback_list: The callbacks.

        Returns:
            The lines, joined.
        """
        return "\n".join(
            f"\t{callback.callback_name}: {shown_class(callback)}, execution_order: {callback.execution_order}"
            for callback in callback_list
        )

    def print_registered_callback_names(self) -> None:
        """Print which callbacks run at which position."""
        if self.train_loop_obj.ddp_training_mode:
            device = self.train_loop_obj.device
            say(f"*** On device {device.index} ({device}) ***")
        say(self)

    def __len__(self) -> int:
        return len(self.train_loop_obj.callbacks)

    def __add__(self, other: Callbacks) -> "CallbacksHandler":
        self.register_callbacks(other)
        return self

    def __iadd__(self, other: Callbacks) -> "CallbacksHandler":
        self.register_callbacks(other)
        return self

    def __contains__(self, item: object) -> bool:
        if isinstance(item, str):
            return any(callback.callback_name == item for callback in self.train_loop_obj.callbacks)
        # The exact type, as in the old library: a base class is not found through its subclasses (Q89).
        found = any(type(callback) is item for callback in self.train_loop_obj.callbacks)
        if not found and isinstance(item, type) and any(isinstance(one, item) for one in self.train_loop_obj.callbacks):
            state_of(self.train_loop_obj).quirks.met("Q89", f"{item.__name__} is registered as a subclass only")
        return found


def _sort(callbacks: list[AbstractCallback]) -> None:
    callbacks.sort(key=lambda callback: callback.execution_order)
