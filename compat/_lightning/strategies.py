"""Where the model lives. The old loop leaves it on its device after fit, so these strategies move nothing back."""

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy

__all__ = ["StayOnDeviceStrategy"]


class StayOnDeviceStrategy(SingleDeviceStrategy):
    """One device; the model and the optimizers' state stay on it when the Trainer is torn down."""

    strategy_name = "stay_on_device"

    def setup(self, trainer: Trainer) -> None:
        """Set up with the model where the facade has put it, and the optimizers' state where it is.

        The accelerator's own set-up is left out: for CUDA it writes an environment variable, prints which devices are
        visible, and empties torch's cache.

        Args:
            trainer: The Trainer.
        """
        self.model = self.lightning_module
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def teardown(self) -> None:
        """Release what the Trainer holds, without the base class's move of everything to the CPU."""
        self.precision_plugin.teardown()
        if self.accelerator is not None:
            self.accelerator.teardown()
        self.checkpoint_io.teardown()
