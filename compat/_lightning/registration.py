"""Lightning's callbacks of a fit: which they are, whether they will do, and what becomes of them if the fit fails.

Nothing here imports Lightning for a program that has not: only one that has can have callbacks of its kind.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compat.callbacks._native import is_native, superseded
from compat.exceptions import CompatError, raise_problems

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["native_callbacks", "native_problems", "on_trial", "register"]


def native_callbacks(loop: "TrainLoop") -> tuple[Any, ...]:
    """List Lightning's callbacks of a fit: those of ``lightning_args``, then those that were registered.

    Args:
        loop: The facade.
    """
    return _each_once([*loop._compat.flags.callbacks, *loop.callbacks_handler.native_callbacks])


def _each_once(callbacks: Sequence[Any]) -> tuple[Any, ...]:
    return tuple({id(each): each for each in callbacks}.values())


def native_problems(loop: "TrainLoop", given: Sequence[Any]) -> list[CompatError]:
    """List which of Lightning's callbacks will not do, among those of a fit.

    Args:
        loop: The facade.
        given: ``fit(callbacks=)``.
    """
    flags, handler = loop._compat.flags, loop.callbacks_handler
    coming = list(filter(is_native, [*handler.callbacks_cache, *given]))
    gone = {id(each) for each in superseded(loop._compat.native_of_fits, coming)}
    registered = [each for each in handler.native_callbacks if id(each) not in gone]
    callbacks = _each_once([*flags.callbacks, *registered, *coming])
    if not callbacks and not flags.trainer:
        return []
    # Here and not above: it imports Lightning.
    from compat._lightning.screening import problems_of

    # A trial run has a logger that writes nothing.
    has_logger = bool(flags.trainer.get("logger") or flags.limits.fast_dev_run)
    return problems_of(callbacks, loop, has_logger)


def register(loop: "TrainLoop", callbacks: Any) -> None:
    """Register the callbacks of a fit. If one of them brings one of Lightning's that will not do, none is registered.

    Args:
        loop: The facade.
        callbacks: What ``fit`` was given, which has been checked; what a registration hook brings has not.

    Raises:
        CompatError: A hook has brought one that will not do.
    """
    handler = loop.callbacks_handler
    with handler._all_or_none():
        handler.register_callbacks(callbacks, print_callbacks=loop.print_callbacks)
        raise_problems(native_problems(loop, ()))
    loop._compat.native_of_fits = list(handler.native_callbacks)


@contextmanager
def on_trial(loop: "TrainLoop") -> Iterator[None]:
    """Take back what a fit has brought of Lightning's callbacks if it fails before its first epoch is over.

    One that monitors what is not there fails then, and would do so in every later fit. An interrupt is no failure: who
    goes on after it wants to keep them.

    Args:
        loop: The facade, in a fit that has registered nothing yet.
    """
    state, handler = loop._compat, loop.callbacks_handler
    trainer, before = state.trainer, list(handler.native_callbacks)
    try:
        yield
    except Exception as error:
        brought = [each for each in handler.native_callbacks if all(each is not one for one in before)]
        if brought and (state.trainer is trainer or not _has_ended_an_epoch(state.trainer)):
            handler.native_callbacks[:] = state.native_of_fits = before
            names = ", ".join(type(each).__name__ for each in brought)
            error.add_note(
                "The fit failed before its first epoch was over, and what it brought of Lightning's callbacks is not"
                f" registered any more: {names}. Pass it again to the next fit."
            )
        raise


def _has_ended_an_epoch(trainer: Any) -> bool:
    # Of all that a Trainer counts this alone does not go on from earlier fits.
    return bool(trainer.fit_loop.epoch_progress.total.completed)
