"""Where the model lives. The old loop leaves it on its device after fit, so these strategies move nothing back."""

from collections.abc import Sequence

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from compat._lightning.cluster import FitEnvironment

__all__ = ["DataParallelStrategy", "ProcessStrategy", "StayOnDeviceStrategy"]


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


class DataParallelStrategy(StayOnDeviceStrategy):
    """One process and several devices: the facade's model is a ``torch.nn.DataParallel``, which deals out each batch.

    Lightning 2 has no such strategy any more. For the Trainer there is one device, that of the parameters.

    Args:
        device: The first device of the model.
        devices: All of them; none without CUDA, where the model runs as it is.

    Attributes:
        replica_devices: The devices.
    """

    strategy_name = "data_parallel"

    def __init__(self, device: torch.device, devices: Sequence[torch.device] = ()) -> None:
        """Keep the devices."""
        super().__init__(device=device)
        # Not `parallel_devices`: by that name Lightning would look for a process on each.
        self.replica_devices = tuple(devices)


class ProcessStrategy(DDPStrategy):
    """Several processes, of which this is one: the group exists, and the facade's own wrapper averages the gradients.

    Lightning's wrapper would leave a plain ``loss.backward()`` unreduced without a word.

    Args:
        devices: The devices of this machine's processes.
        environment: Which of the processes this is.
        backend: The backend of the process group.
    """

    strategy_name = "process_of_a_fit"

    def __init__(self, devices: Sequence[torch.device], environment: FitEnvironment, backend: str) -> None:
        """Keep what is known."""
        super().__init__(parallel_devices=list(devices), cluster_environment=environment, process_group_backend=backend)

    def _configure_launcher(self) -> None:
        """Have none: nothing is to be launched, and Lightning's own sets the number of torch's threads."""

    def setup_distributed(self) -> None:
        """Take over the ranks; the group is there, and the base class would seed anew."""
        self.set_world_ranks()

    def setup(self, trainer: Trainer) -> None:
        """Set up with model and optimizers where the facade has put them.

        Args:
            trainer: The Trainer.
        """
        self.model = self.lightning_module
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    def configure_ddp(self) -> None:
        """Wrap nothing."""

    def teardown(self) -> None:
        """Release what the Trainer holds, without the base class's move of everything to the CPU."""
        self.precision_plugin.teardown()
        if self.accelerator is not None:
            self.accelerator.teardown()
        self.checkpoint_io.teardown()
