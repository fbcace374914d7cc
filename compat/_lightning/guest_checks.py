"""What is refused where a TrainLoop meets a Trainer that it has not built for itself, or one that has had its fit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn

from compat._lightning.screening import problems_of
from compat.exceptions import CompatError, InvalidArgumentError, RefusedError

if TYPE_CHECKING:
    from compat.train_loop import TrainLoop

__all__ = ["OneFitModule", "OneFitTrainer", "data_problems", "loop_problems", "trainer_problems"]

_INSTEAD = (
    "Train on with loop.fit(...), and evaluate with loop.evaluate_loss_on_validation_set(). For a Trainer of your own"
    " make what it takes: module, data = compat.as_lightning_module(loop); Trainer(...).fit(module, datamodule=data)."
)
# What the loop decides itself: the Trainer's default, and what does it here.
_DECIDED_BY_THE_LOOP: dict[str, tuple[Any, str]] = {
    "accumulate_grad_batches": (1, "Use as_lightning_module(loop, grad_accumulation=n)."),
    "check_val_every_n_epoch": (1, "Use TrainLoop(..., end_auto_eval=n)."),
    "gradient_clip_val": (None, "Use the callback GradNormClip or GradValueClip."),
    "overfit_batches": (0.0, "Give the loop a list of so many batches as its train_loader."),
    "reload_dataloaders_every_n_epochs": (0, "Set loop.train_loader in an old callback's on_epoch_begin."),
    "val_check_interval": (1.0, "The loop evaluates at the ends of epochs; use an old callback's on_batch_end."),
}


class OneFitTrainer(Trainer):
    """A Trainer that runs the one fit that it was built for: what else it was asked for it would do silently wrong."""

    def fit(self, model: Any, *args: Any, **kwargs: Any) -> None:
        """Run the fit.

        Args:
            model: The module that was attached to this Trainer.
            args: As in the base class.
            kwargs: As in the base class.

        Raises:
            RefusedError: It has run that fit, or the module is another one.
        """
        if getattr(model, "runs_in", None) is not self:
            _refuse("fit")
        super().fit(model, *args, **kwargs)

    def validate(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to validate.

        Args:
            args: As in the base class.
            kwargs: As in the base class.

        Raises:
            RefusedError: Always.
        """
        _refuse("validate")

    def test(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to test.

        Args:
            args: As in the base class.
            kwargs: As in the base class.

        Raises:
            RefusedError: Always.
        """
        _refuse("test")

    def predict(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to predict.

        Args:
            args: As in the base class.
            kwargs: As in the base class.

        Raises:
            RefusedError: Always.
        """
        _refuse("predict")


class OneFitModule(LightningModule):
    """A module that runs in the Trainer of its fit, and while that lasts.

    Attributes:
        runs_in: That Trainer; ``None`` while no fit runs.
    """

    runs_in: Trainer | None = None

    def configure_callbacks(self) -> list[Callback]:
        """Refuse any other Trainer: this is the first hook that it calls.

        Returns:
            No callbacks.

        Raises:
            RefusedError: It is another one, or the fit is over.
        """
        if self.trainer is not self.runs_in:
            raise RefusedError(
                "loop.lightning_module belongs to one fit of the loop and to its Trainer: another one would leave out"
                f" half of what the loop does. {_INSTEAD}"
            )
        return []


def _refuse(verb: str) -> NoReturn:
    raise RefusedError(
        f"loop.trainer.{verb}(...) is not served: that Trainer was built for one fit of the loop, and runs nothing"
        f" else. {_INSTEAD}"
    )


def loop_problems(loop: "TrainLoop") -> list[CompatError]:
    """List what of a loop does not go with a Trainer of the user's own.

    Args:
        loop: The facade.
    """
    flags = loop._compat.flags
    problems: list[CompatError] = []
    if loop.gpu_mode != "single":
        problems.append(
            RefusedError(
                f"gpu_mode={loop.gpu_mode!r} is not served in a Trainer of your own. Train with loop.fit(...), which"
                " lays out the processes, or make the loop with gpu_mode='single'."
            )
        )
    given = [*flags.trainer, *(["callbacks"] if flags.callbacks else []), *(["limits"] if flags.limits else [])]
    if given:
        problems.append(
            InvalidArgumentError(
                f"The loop was made with lightning_args for its own Trainer: {', '.join(given)}. Pass them to your"
                " Trainer instead, and leave them out of TrainLoop(...)."
            )
        )
    return problems


def data_problems(foreign: Mapping[str, Any]) -> list[CompatError]:
    """List what a Trainer was given to train on or to evaluate that is not the loop's: nobody would look at it.

    Args:
        foreign: What it was given, by the argument.
    """
    given: dict[str, Any] = {
        "datamodule" if isinstance(data, LightningDataModule) else name: data for name, data in foreign.items()
    }
    if not given:
        return []
    shown = ", ".join(f"{name}={type(data).__name__}" for name, data in given.items())
    return [
        RefusedError(
            f"The Trainer was given {shown}, and the module of a TrainLoop uses the loaders of its loop alone. Pass"
            " datamodule=data as as_lightning_module(loop) returned it. For other batches set loop.train_loader,"
            " loop.validation_loader or loop.test_loader before, or call loop.evaluate_model_loss(loader)."
        )
    ]


def trainer_problems(trainer: Trainer, loop: "TrainLoop") -> list[CompatError]:
    """List what of a Trainer contradicts the loop, or would run silently wrong.

    Args:
        trainer: A Trainer that knows what it is asked for.
        loop: The facade.
    """
    asked: Any = trainer
    problems: list[CompatError] = []
    if trainer.world_size > 1 or not isinstance(trainer.strategy, SingleDeviceStrategy):
        problems.append(
            RefusedError(
                f"The Trainer has {trainer.world_size} processes and the strategy {type(trainer.strategy).__name__}."
                " The module of a TrainLoop runs on one device: use Trainer(devices=1), or let a loop made with"
                " TrainLoop(gpu_mode='ddp') train by its own fit."
            )
        )
    if trainer.precision != "32-true":
        problems.append(
            RefusedError(
                f"Trainer(precision={trainer.precision!r}) is not served for the module of a TrainLoop, which opens"
                " autocast and scales gradients itself, batch by batch. Leave it out, and use"
                f" TrainLoop(..., lightning_args={{'precision': {trainer.precision!r}}})."
            )
        )
    if trainer.state.fn != TrainerFn.FITTING:
        return problems
    for name, (default, instead) in _DECIDED_BY_THE_LOOP.items():
        value = getattr(asked, name)
        if value != default:
            problems.append(
                RefusedError(f"Trainer({name}={value!r}) contradicts the loop, which would not look at it. {instead}")
            )
    return [*problems, *problems_of(asked.callbacks, loop, has_logger=bool(trainer.loggers))]
