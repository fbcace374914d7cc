"""Every error and warning that this package raises on purpose.

The tree::

    CompatError
    |-- InvalidArgumentError (ValueError)       a value that is not allowed
    |   |-- ZeroArgumentError (ZeroDivisionError)   a zero where the loop divides by it
    |   `-- EmptyLoaderError (IndexError)           a loader without a single batch
    |-- InvalidTypeError (TypeError)            an object of the wrong kind
    |-- MissingAttributeError (AttributeError)  an object that lacks a method the loop calls
    |-- MissingMetricError (KeyError)           a metric name that the history does not hold
    |-- EmptyMetricError (IndexError)           a metric whose list in the history is still empty
    |-- LossError (RuntimeError)                a loss that cannot be back-propagated as asked
    |   `-- MissingLossError (KeyError)             no loss for the optimizer whose turn it is
    `-- RefusedError (RuntimeError)             a feature that is refused here, with the reason

    CompatWarning (UserWarning)
    `-- QuirkWarning                            an oddity of the old loop that changed this run

Each class also is the builtin error that code written for the old library catches, so ``except ValueError`` goes on
working. Catch ``CompatError`` to catch whatever comes from this package and nothing else.
"""

from collections.abc import Iterable

__all__ = [
    "CompatError",
    "CompatWarning",
    "EmptyLoaderError",
    "EmptyMetricError",
    "InvalidArgumentError",
    "InvalidTypeError",
    "LossError",
    "MissingAttributeError",
    "MissingLossError",
    "MissingMetricError",
    "QuirkWarning",
    "RefusedError",
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


class InvalidTypeError(CompatError, TypeError):
    """An object of the wrong kind."""


class MissingAttributeError(CompatError, AttributeError):
    """An object lacks an attribute or a method that the loop uses."""


class _KeyedError(CompatError, KeyError):
    def __str__(self) -> str:
        """Return the message as it is: ``KeyError`` alone would print it quoted."""
        return str(self.args[0]) if self.args else ""


class MissingMetricError(_KeyedError):
    """A metric name that the training history does not hold."""


class EmptyMetricError(CompatError, IndexError):
    """A metric whose list in the training history is still empty."""


class LossError(CompatError, RuntimeError):
    """A loss that cannot be back-propagated the way the loop was set up."""


class MissingLossError(_KeyedError, LossError):
    """No loss belongs to the optimizer whose turn it is."""


class RefusedError(CompatError, RuntimeError):
    """A feature that this package does not serve. The message says why and what to use."""


class CompatWarning(UserWarning):
    """Base of all warnings of this package."""


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
