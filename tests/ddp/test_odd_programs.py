"""Programs that do what few do have the weights that they have in one process."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ddp import odd
from tests.ddp.processes import checked, run, torchrun

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("odd")
    command = torchrun(2, "-m", "tests.ddp.odd", str(folder))
    variables = {"OMP_NUM_THREADS": "1", "COMPAT_QUIET": "1", "COMPAT_DDP_TIMEOUT": "60", "PYTHONWARNINGS": "ignore"}
    checked([run(*command, folder=folder, seconds=200, variables=variables)])
    return [pickle.loads((folder / f"odd.{rank}.pickle").read_bytes()) for rank in range(2)]


@pytest.mark.filterwarnings("ignore::compat.exceptions.QuirkWarning")
@pytest.mark.parametrize("name", odd.CASES)
def test_weights_and_losses_are_those_of_one_process(together: list[dict[str, Any]], name: str) -> None:
    alone = odd.train(name, alone=True)
    for rank, each in enumerate(seen[name] for seen in together):
        assert each["weights"].keys() == alone["weights"].keys()
        for key, value in alone["weights"].items():
            torch.testing.assert_close(each["weights"][key], value)
            assert torch.equal(each["weights"][key], together[0][name]["weights"][key])
        assert each["history"] == together[0][name]["history"]
        for key, values in alone["history"].items():
            assert each["history"][key] == pytest.approx(values, rel=1e-5), key
        assert each["is_main"] == (rank == 0)


def test_training_changes_the_weights_of_each_program(together: list[dict[str, Any]]) -> None:
    """The comparison above could not tell a training that does nothing."""
    for name, case in odd.CASES.items():
        made = case.model()
        before = getattr(made, "model", made).state_dict()
        after = together[0][name]["weights"]
        assert any(not torch.equal(value, after[key]) for key, value in before.items() if key in after)


def test_programs_of_several_losses_have_all_their_losses(together: list[dict[str, Any]]) -> None:
    history = together[1]["sparse gradients of several losses"]["history"]
    assert {"loss_a", "loss_b", "val_loss_a", "accumulated_loss_b"} <= set(history)


def test_ranks_are_told_apart(together: list[dict[str, Any]], tmp_path: Path) -> None:
    assert together[0].keys() == together[1].keys() == odd.CASES.keys()
    assert [each["thawed"]["is_main"] for each in together] == [True, False]
    assert not list(tmp_path.iterdir())
