"""What those programs of tests/quirk_programs.py are made of that compute results: packages, and who asks for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from compat import AbstractResultPackage, ModelPerformanceEvaluation, PyTorchModelPredictor
from tests.toys import Linear, batches, make_loop

SAME = nn.MSELoss()


class Package(AbstractResultPackage):
    """A package of one number."""

    def __init__(self, requires_loss: bool = True) -> None:
        """Ask for the loss or not."""
        super().__init__("package")
        self.requires_loss = requires_loss

    def prepare_results_dict(self) -> dict[str, Any]:
        """Return the number."""
        return {"number": 1.0}


class WritingPackage(Package):
    """A package that goes by the folder of the experiment."""

    def set_experiment_dir_path_for_additional_results(self, *names: Any) -> None:
        """Take the folder."""
        self.folder = names


def evaluated(
    package: Callable[[], Any], *, on_train_data: bool = False, tracked: bool = False, read: str = ""
) -> Callable[[], Any]:
    """Make a program that computes a package after the epoch and after the training, and reads predictions then."""

    def program() -> None:
        loop: Any = make_loop(validation=batches(2))
        if tracked:
            loop.project_name, loop.experiment_name, loop.local_model_result_folder_path = "project", "experiment", "."
        loop.fit(1, callbacks=[ModelPerformanceEvaluation(package(), {}, on_train_data=on_train_data)])
        if read:
            getattr(loop, f"predict_on_{read}_set")()

    return program


def two_losses(*criteria: nn.Module, edited: bool = False) -> Callable[[], Any]:
    """Make a program that asks a predictor for the loss by each criterion; the weights may change in between."""

    def program() -> None:
        model = Linear()
        predictor = PyTorchModelPredictor(model, batches())
        for criterion in criteria:
            predictor.model_get_loss(criterion)
            if edited:
                with torch.no_grad():
                    model.layer.weight.add_(1.0)

    return program


def predicted_package(package: Callable[[], Any]) -> Callable[[], Any]:
    """Make a program that has a predictor compute a package."""

    def program() -> None:
        predictor = PyTorchModelPredictor(Linear(), batches())
        predictor.model_get_loss(nn.MSELoss())
        predictor.evaluate_result_package(package())

    return program
