"""One script, started in every way that there is, has the same weights, losses and predictions in every process."""

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.ddp.compare import differences
from tests.ddp.processes import checked, free_port, start, torchrun
from tests.ddp.watchers import make_loop, on_cpu

pytestmark = pytest.mark.timeout(150)
PROGRAM = str(Path(__file__).with_name("program.py"))
SECONDS = 100
# What one process left: something for each fit.
Results = list[dict[str, Any]]


def results(folder: Path, *commands: Sequence[str], variables: Sequence[dict[str, str]] = ()) -> list[Results]:
    """Run commands at the same time, and return what the processes left that came to the end of the script."""
    checked(start(*commands, folder=folder, seconds=SECONDS, variables=variables))
    return [pickle.loads(file.read_bytes()) for file in sorted(folder.glob("results.*.pickle"))]


def plain(folder: Path, *settings: str, fits: int = 1) -> list[str]:
    """Return the command that runs the script."""
    return [sys.executable, PROGRAM, str(folder), str(fits), *settings]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run the script as it is, in two workers, with two fits."""
    folder = tmp_path_factory.mktemp("plain")
    (left,) = results(folder, plain(folder, "num_gpus=2", fits=2), variables=[{"OMP_NUM_THREADS": "1"}])
    return left


def equal(found: list[Results], wanted: Results, processes: int) -> None:
    """See that so many processes have what is wanted, after each of their fits."""
    assert len(found) == processes
    for left in found:
        assert left
        for result, expected in zip(left, wanted, strict=False):
            assert differences(result["weights"], expected["weights"], 0) == []
            assert differences(result["history"], expected["history"], 0) == []
            assert differences({"a": result["predictions"]}, {"a": expected["predictions"]}, 0) == []


def test_torchrun(wanted: Results, tmp_path: Path) -> None:
    """Each process comes to the end of the script with everything, and can fit again."""
    found = results(tmp_path, torchrun(2, PROGRAM, str(tmp_path), "2", "num_gpus=2"))
    equal(found, wanted, 2)
    assert [len(left) for left in found] == [2, 2]


def test_torchrun_on_two_nodes(wanted: Results, tmp_path: Path) -> None:
    """It decides how many processes there are: the default of ``num_gpus``, the number of GPUs, does not contradict."""
    where = ["--nnodes=2", "--master_addr=127.0.0.1", f"--master_port={free_port()}"]
    nodes = [
        torchrun(1, PROGRAM, str(tmp_path), "1", options=[*where, f"--node_rank={node_rank}"]) for node_rank in range(2)
    ]
    equal(results(tmp_path, *nodes), wanted, 2)


@pytest.mark.parametrize("by", ["variables", "init_method"])
def test_two_nodes_without_a_launcher(by: str, wanted: Results, tmp_path: Path) -> None:
    """The script runs once on each, as old ones did; each of these parents has everything at its end."""
    port = free_port()
    where = [f'init_method="tcp://127.0.0.1:{port}"'] if by == "init_method" else []
    common = {"OMP_NUM_THREADS": "1"}
    if by == "variables":
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    # Where the machines meet in variables, they meet there twice.
    fits = 2 if by == "variables" else 1
    nodes = [plain(tmp_path, "num_nodes=2", "num_gpus=1", f"node_rank={rank}", *where, fits=fits) for rank in range(2)]
    equal(results(tmp_path, *nodes, variables=[common, common]), wanted, 2)


def test_slurm(wanted: Results, tmp_path: Path) -> None:
    """Two tasks on one node, by the variables that SLURM sets in each."""
    port = str(free_port())
    tasks = [
        {
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NAME": "train",
            "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "2",
            "SLURM_NNODES": "1",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_NODELIST": "127.0.0.1",
            "SLURM_NODEID": "0",
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        for rank in range(2)
    ]
    command = plain(tmp_path, "num_gpus=2")
    equal(results(tmp_path, command, command, variables=tasks), wanted, 2)


def test_processes_started_by_hand(wanted: Results, tmp_path: Path) -> None:
    """With the variables that torch reads, which is all that a launcher of one's own sets."""
    port = str(free_port())
    processes = [
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "OMP_NUM_THREADS": "1",
        }
        for rank in range(2)
    ]
    command = plain(tmp_path, "num_gpus=2", fits=2)
    equal(results(tmp_path, command, command, variables=processes), wanted, 2)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"num_gpus": 3}, "num_gpus=3, but torchrun has started 2 processes"),
        ({"num_gpus": 2, "num_nodes": 2}, "num_nodes=2, but torchrun has started 2 processes"),
        ({"num_gpus": 2, "num_nodes": 2, "node_rank": 1}, "(?s)num_nodes=2.*node_rank=1, but torchrun says 0"),
    ],
)
def test_another_number_than_that_of_the_cluster_is_refused(
    settings: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables are those of one of two processes; nobody waits for the other."""
    variables = {
        "TORCHELASTIC_RUN_ID": "7",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "GROUP_RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=text):
        make_loop().fit(num_epochs=1, **on_cpu() | settings)


def test_control_the_script_trains(wanted: Results) -> None:
    """One epoch, and in the second fit the same one once more, and another."""
    assert [len(result["history"]["val_loss"]) for result in wanted] == [1, 3]
    losses = wanted[1]["history"]["val_loss"]
    assert len(set(losses)) == 3
    assert wanted[1]["predictions"].shape == (7, 1)
    equal([wanted, wanted], wanted, 2)
    other = {name: value + 1e-7 for name, value in wanted[0]["weights"].items()}
    with pytest.raises(AssertionError):
        equal([[{**wanted[0], "weights": other}]], wanted, 1)
    with pytest.raises(AssertionError):
        equal([wanted], wanted, 2)
    with pytest.raises(AssertionError):
        equal([[]], wanted, 1)
