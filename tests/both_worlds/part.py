"""What is said of a native part, and checked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.both_worlds.cells import EPOCHS, Attached, Fit, Setting, assert_same_training

Kind = Literal["callback", "logger", "flag"]
Verdict = Literal["works", "repaired", "refused"]

WHOLE = "whole epochs"


@dataclass(frozen=True)
class NativePart:
    """A native part in one way of using it.

    Attributes:
        name: As a user writes it. A logger or a flag is written as in ``lightning_args``.
        kind: What it is.
        since: The first Lightning that has it, of those that are supported (2.4 and newer).
        make: Makes it for a setting.
        check: Checks its effect; of a refused part nothing is left to check.
        verdict: ``"works"`` as it is, ``"repaired"`` by this package, or ``"refused"``.
        reason: A pattern of the reason that a refusal gives.
        error: The class of a refusal, in ``compat.exceptions`` or of Python's own.
        own_trainer: The verdict in the user's own Trainer, where it is another one.
        own_cadence: The cadence there, likewise.
        cadence: What the step has to be, as the page says it.
        note: For users.
        same: Whether it leaves the training as it was, to the last bit.
        worlds: Where there is something to try: some flags are none of the loop's affairs in the user's own Trainer.
        needs: Packages that it needs.
    """

    name: str
    kind: Kind
    since: str
    make: Callable[[Setting], Attached]
    check: Callable[[Fit], None]
    note: str
    verdict: Verdict = "works"
    reason: str = ""
    error: str = "RefusedError"
    own_trainer: Verdict | None = None
    own_cadence: str | None = None
    cadence: str = WHOLE
    same: bool = True
    worlds: tuple[str, ...] = ("TrainLoop", "Trainer")
    needs: tuple[str, ...] = ()

    def verdict_in(self, world: str) -> Verdict:
        """Return the verdict in a world.

        Args:
            world: ``"TrainLoop"`` or ``"Trainer"``.
        """
        return (self.own_trainer if world == "Trainer" else None) or self.verdict

    def examine(self, fit: Fit) -> None:
        """Check all that is said of the part in one cell.

        Args:
            fit: The cell, after its run.
        """
        if self.same:
            assert_same_training(fit)
        self.check(fit)


def callback(*made: Callable[[Setting], Any], **args: Any) -> Callable[[Setting], Attached]:
    """Attach callbacks.

    Args:
        made: Each makes one for a setting.
        args: Arguments of the Trainer.
    """
    return lambda setting: Attached([make(setting) for make in made], args)


def nothing_more(fit: Fit) -> None:
    """Ask for no more than that the training is the same and went to its end."""
    fit.finished()
    assert fit.trainer.current_epoch == EPOCHS


def refused(name: str, make: Callable[[Setting], Attached], reason: str, note: str, **others: Any) -> NativePart:
    """Describe a part that is refused.

    Args:
        name: As in :class:`NativePart`.
        make: As in :class:`NativePart`.
        reason: As in :class:`NativePart`.
        note: As in :class:`NativePart`.
        others: Further fields.
    """
    fields: dict[str, Any] = {"kind": "callback", "since": "2.4", "cadence": "", **others}
    return NativePart(name, make=make, check=nothing_more, verdict="refused", reason=reason, note=note, **fields)
