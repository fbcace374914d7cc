"""Every error and warning that this package raises on purpose.

The tree::

    CompatError
    |-- InvalidArgumentError (ValueError)       a value that is not allowed
    |   |-- ZeroArgumentError (ZeroDivisionError)   a zero where the loop divides by it
    |   |-- EmptyLoaderError (IndexError)           a loader without a single batch
    |   |-- EmptyTargetsError (IndexError)          targets or predictions without a single row
    |   `-- SingleValueError (TypeError)            a single value where there is one for each sample
    |-- InvalidTypeError (TypeError)            an object of the wrong kind
    |-- MissingAttributeError (AttributeError)  an object that lacks a method the loop calls
    |-- MissingMetricError (KeyError)           a metric name that the history does not hold
    |-- EmptyMetricError (IndexError)           a metric whose list in the history is still empty
    |-- LossError (RuntimeError)                a loss that cannot be back-propagated as asked
    |   `-- MissingLossError (KeyError)             no loss for the optimizer whose turn it is
    |-- DriftError (RuntimeError)               the weights of several processes are no longer the same
    |-- OutOfStepError (RuntimeError)           the processes of a fit do not make the same calls
    |-- WorkerError (RuntimeError)              a worker process of a fit failed, was killed, or never started
    |-- UnpicklableError (PicklingError)        an object that cannot be sent to the worker processes
    |-- DifferenceError (RuntimeError)          a result other than the old library's, in a strict run
    |-- RefusedError (RuntimeError)             a feature that is refused here, with the reason
    |   |-- RefusedImportError (ImportError)        a module that is refused
    |   `-- RefusedAttributeError (AttributeError)  an attribute of something refused
    |-- UnknownNameError (ModuleNotFoundError)  a name that no AIToolbox had, with the nearest that one had
    `-- ConflictError (RuntimeError)            the real library is imported already

    CompatWarning (UserWarning)
    |-- UndefinedMetricWarning                  a metric that these targets leave undefined
    `-- QuirkWarning                            an oddity of the old loop that changed this run

Each class also is the builtin error that code written for the old library catches, so ``except ValueError`` goes on
working. Catch ``CompatError`` to catch whatever comes from this package and nothing else.
"""

from collections.abc import Iterable
from pickle import PicklingError

__all__ = [
    "CompatError",
    "CompatWarning",
    "ConflictError",
    "DifferenceError",
    "DriftError",
    "EmptyLoaderError",
    "EmptyMetricError",
    "EmptyTargetsError",
    "InvalidArgumentError",
    "InvalidTypeError",
    "LossError",
    "MissingAttributeError",
    "MissingLossError",
    "MissingMetricError",
    "OutOfStepError",
    "QuirkWarning",
    "RefusedAttributeError",
    "RefusedError",
    "RefusedImportError",
    "SingleValueError",
    "UndefinedMetricWarning",
    "UnknownNameError",
    "UnpicklableError",
    "WorkerError",
    "ZeroArgumentError",
    "raise_problems",
]


class CompatError(Exception):
    """Base of all errors of this package. Catch it to catch nothing but them."""


class InvalidArgumentError(CompatError, ValueError):
    """A value that is not allowed. The message names the value, what is allowed, and what to do."""


class ZeroArgumentError(InvalidArgumentError, ZeroDivisionError):
    """A zero where the loop divides by the value."""


class EmptyLoaderError(InvalidArgumentError, IndexError):
    """A loader that holds no batch, where at least one is needed."""


class EmptyTargetsError(InvalidArgumentError, IndexError):
    """Targets or predictions without a single row, where the first one has to be looked at."""


class InvalidTypeError(CompatError, TypeError):
    """An object of the wrong kind."""


class SingleValueError(InvalidArgumentError, InvalidTypeError):
    """A single value, where targets or predictions hold one for each sample."""


class MissingAttributeError(CompatError, AttributeError):
    """An object lacks an attribute or a method that the loop uses."""


class _KeyedError(CompatError, KeyError):
    def __str__(self) -> str:
        """Return the message as it is: ``KeyError`` alone would print it quoted."""
        return str(self.args[0]) if self.args else ""


class MissingMetricError(_KeyedError):
    """A metric name that the training history, a metric or a result package does not hold."""


class EmptyMetricError(CompatError, IndexError):
    """A metric whose list in the training history is still empty."""


class LossError(CompatError, RuntimeError):
    """A loss that cannot be back-propagated the way the loop was set up."""


class MissingLossError(_KeyedError, LossError):
    """No loss belongs to the optimizer whose turn it is."""


class OutOfStepError(CompatError, RuntimeError):
    """The processes of a fit do not make the same calls, or one waits for another that cannot come.

    Args:
        message: Which rank did what.
        culprit: The rank that has failed or hangs, if it is one rank's fault.
    """

    def __init__(self, message: str = "", culprit: int | None = None) -> None:
        """Keep who is to blame beside the message."""
        super().__init__(message)
        self.culprit = culprit


class DifferenceError(CompatError, RuntimeError):
    """The outcome is corrected, and so not the old library's, in a run that was asked to be strict."""


class DriftError(CompatError, RuntimeError):
    """The processes of a fit hold different weights. The message names the first parameter and what to do."""


class WorkerError(CompatError, RuntimeError):
    """A worker process of a fit failed, was killed, or never started. Its own error is ``__cause__``, if it had one.

    Args:
        message: What happened, with the worker's traceback.
        rank: The rank that was the cause; ``None`` where it is none of them.
        exitcode: The exit code of that worker, negative for a signal.
        signal: The number of the signal that ended it.
    """

    def __init__(
        self, message: str = "", *, rank: int | None = None, exitcode: int | None = None, signal: int | None = None
    ) -> None:
        """Keep what is known beside the message."""
        super().__init__(message)
        self.rank, self.exitcode, self.signal = rank, exitcode, signal


class UnpicklableError(CompatError, PicklingError, AttributeError):
    """An object cannot be sent to the worker processes. The message says where it is, what it is, and what to do."""


class RefusedError(CompatError, RuntimeError):
    """A feature that this package does not serve. The message says why and what to use."""


class RefusedImportError(RefusedError, ImportError):
    """A module of the old library that is refused was to be imported."""


class RefusedAttributeError(RefusedError, AttributeError):
    """An attribute of something refused was asked for."""


class UnknownNameError(CompatError, ModuleNotFoundError):
    """No AIToolbox had a name or module like this. The message has the nearest ones that exist."""


class ConflictError(CompatError, RuntimeError):
    """The real AIToolbox is in this process already, so its name cannot be served."""


class CompatWarning(UserWarning):
    """Base of all warnings of this package."""


class UndefinedMetricWarning(CompatWarning):
    """A metric has no value for these targets and predictions. The message says which value stands in for it."""


class QuirkWarning(CompatWarning):
    """An oddity of the old loop is at work in this run. The message names the switch that corrects it."""


def raise_problems(problems: Iterable[CompatError]) -> None:
    """Raise all problems of one call as one error.

    Args:
        problems: The errors found, in the order in which the old library would have met them.

    Raises:
        CompatError: An error of the first problem's type. With several problems its message lists them all.
    """
    found = list(problems)
    if not found:
        return
    if len(found) == 1:
        raise found[0]
    lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(found, 1))
    raise type(found[0])(f"{len(found)} problems:\n{lines}")
