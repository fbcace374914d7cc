"""Which cluster, if any, has started this process as one of several."""

import os
from dataclasses import dataclass

from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

__all__ = ["FitEnvironment", "Place", "place"]

# In the order in which Lightning's Trainer looks for them.
_KNOWN: tuple[type[ClusterEnvironment], ...] = (
    TorchElasticEnvironment,
    SLURMEnvironment,
    LSFEnvironment,
    MPIEnvironment,
)


@dataclass(frozen=True)
class Place:
    """Where a cluster has put this process.

    Attributes:
        cluster: What it is called.
        rank: The index of the process among all.
        size: The number of processes.
        local_rank: Its index on its machine.
        node_rank: The index of its machine.
        local_size: The processes on its machine, ``None`` where the cluster does not say.
        address: Where the processes meet, ``host:port``.
    """

    cluster: str
    rank: int
    size: int
    local_rank: int
    node_rank: int
    local_size: int | None
    address: str


def place() -> Place | None:
    """Look for a cluster that Lightning knows.

    Returns:
        Where this process is in it; ``None`` outside of any, and in one that has started this process alone.
    """
    environment = next((known() for known in _KNOWN if known.detect()), None)
    if environment is None and "LOCAL_RANK" in os.environ:
        # Lightning's own launcher, or somebody who sets the variables by hand.
        environment = LightningEnvironment()
        environment.set_world_size(int(os.environ.get("WORLD_SIZE", "1")))
        environment.set_global_rank(int(os.environ.get("RANK", os.environ["LOCAL_RANK"])))
    if environment is None or (environment.world_size() == 1 and not isinstance(environment, TorchElasticEnvironment)):
        return None
    return Place(
        cluster=_NAMES.get(type(environment), "the environment"),
        rank=environment.global_rank(),
        size=environment.world_size(),
        local_rank=environment.local_rank(),
        node_rank=environment.node_rank(),
        local_size=_local_size(environment),
        address=_address(environment),
    )


_NAMES: dict[type[ClusterEnvironment], str] = {
    TorchElasticEnvironment: "torchrun",
    SLURMEnvironment: "SLURM",
    LSFEnvironment: "LSF",
    MPIEnvironment: "MPI",
}


def _address(environment: ClusterEnvironment) -> str:
    """Ask where the processes meet; some environments write the answer into the variables, which are not ours."""
    before = {name: os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")}
    try:
        return f"{environment.main_address}:{environment.main_port}"
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _local_size(environment: ClusterEnvironment) -> int | None:
    if "LOCAL_WORLD_SIZE" in os.environ:
        return int(os.environ["LOCAL_WORLD_SIZE"])
    if isinstance(environment, SLURMEnvironment):
        nodes = os.environ.get("SLURM_NNODES", os.environ.get("SLURM_JOB_NUM_NODES"))
        return environment.world_size() // int(nodes) if nodes else None
    return None


class FitEnvironment(ClusterEnvironment):
    """Tells the Trainer of one process what the fit has found out about it.

    Args:
        rank: The index of the process among all.
        size: The number of processes.
        local_rank: Its index on its machine.
        node_rank: The index of its machine.
    """

    def __init__(self, rank: int, size: int, local_rank: int, node_rank: int) -> None:
        """Keep the numbers."""
        super().__init__()
        self._rank, self._size, self._local_rank, self._node_rank = rank, size, local_rank, node_rank

    @property
    def creates_processes_externally(self) -> bool:
        """The Trainer is to start none."""
        return True

    @property
    def main_address(self) -> str:
        """The group exists by the time there is a Trainer, so nobody meets anywhere."""
        return os.environ.get("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        """As for the address."""
        return int(os.environ.get("MASTER_PORT", "0"))

    @staticmethod
    def detect() -> bool:
        """It is passed, and not looked for."""
        return False

    def world_size(self) -> int:
        """Return the number of processes."""
        return self._size

    def set_world_size(self, size: int) -> None:
        """Do nothing: it is known.

        Args:
            size: What the strategy computed.
        """

    def global_rank(self) -> int:
        """Return the index of the process among all."""
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: it is known.

        Args:
            rank: What the strategy computed.
        """

    def local_rank(self) -> int:
        """Return the index of the process on its machine."""
        return self._local_rank

    def node_rank(self) -> int:
        """Return the index of the machine."""
        return self._node_rank
