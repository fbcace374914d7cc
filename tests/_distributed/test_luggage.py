"""Luggage: what is unpacked is the value that was packed, and nothing of it is the packer's."""

import gc
import os
import pickle
import subprocess
import sys
import threading
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from compat._distributed.luggage import is_interactive, pack, pickler_class
from compat.exceptions import CompatError, UnpicklableError
from tests._distributed.launch_workers import RowsDataset, in_luggage

MEBIBYTE = 1 << 20
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def there_and_back(value: Any) -> Any:
    return pack(value).unpack()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def without_cloudpickle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)


@pytest.fixture
def trained() -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(600, 600), nn.BatchNorm1d(600))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 600)).sum().backward()
    optimizer.step()
    data = RowsDataset(torch.ones(4, MEBIBYTE))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    return {
        "model": model,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "data": data,
        "part": Subset(data, [1, 2]),
        "alias": data.rows[1:3],
        "array": np.ones(MEBIBYTE),
    }


def test_objects_that_knew_each_other_still_do(trained: dict[str, Any]) -> None:
    found = there_and_back(trained)
    parameters = list(found["model"].parameters())
    assert all(a is b for a, b in zip(found["optimizer"].param_groups[0]["params"], parameters, strict=True))
    assert set(found["optimizer"].state) == set(parameters)
    assert found["scheduler"].optimizer is found["optimizer"]
    assert found["part"].dataset is found["data"]
    found["alias"].zero_()
    assert found["data"].rows.sum(1).tolist() == [MEBIBYTE, 0, 0, MEBIBYTE]


def test_values_arrive_as_they_were(trained: dict[str, Any]) -> None:
    found = there_and_back(trained)
    for name, value in trained["model"].state_dict().items():
        assert torch.equal(found["model"].state_dict()[name], value)
    old, new = trained["optimizer"].state_dict()["state"], found["optimizer"].state_dict()["state"]
    assert all(torch.equal(old[index][name], new[index][name]) for index in old for name in old[index])
    assert torch.equal(found["data"].rows, trained["data"].rows)
    assert np.array_equal(found["array"], trained["array"])


def test_nothing_that_is_unpacked_is_shared(trained: dict[str, Any]) -> None:
    trained["model"].share_memory()
    luggage = pack(trained)
    first, second = luggage.unpack(), luggage.unpack()
    before = {name: value.clone() for name, value in trained["model"].state_dict().items()}
    with torch.no_grad():
        for tensor in [*first["model"].parameters(), *first["model"].buffers(), first["data"].rows]:
            tensor.fill_(3)
        for state in first["optimizer"].state.values():
            state["step"].fill_(20)
            state["exp_avg"].fill_(20)
    first["array"][:] = 3
    for other in (trained, second):
        assert all(torch.equal(value, before[name]) for name, value in other["model"].state_dict().items())
        assert all(
            int(state["step"]) == 1 and float(state["exp_avg"].max()) < 20
            for state in other["optimizer"].state.values()
        )
        assert float(other["data"].rows.max()) == 1
        assert other["array"].max() == 1


@on_linux
def test_big_data_is_mapped_and_weights_are_copied(trained: dict[str, Any]) -> None:
    # The optimizer comes first: its parameters must be known as such before the model is seen.
    found = there_and_back(dict(reversed(trained.items())))
    assert in_luggage(found["data"].rows)
    weight = found["model"][0].weight
    assert weight.untyped_storage().nbytes() > MEBIBYTE
    assert not in_luggage(weight)
    assert not in_luggage(found["optimizer"].state[weight]["exp_avg"])
    weight.untyped_storage().resize_(0)


def test_a_user_s_shared_tensor_stays_shared() -> None:
    counter: torch.Tensor = torch.zeros(1).share_memory_()  # type: ignore[no-untyped-call]
    there_and_back([counter])[0].add_(1)
    assert float(counter) == 1


@on_linux
def test_thousands_of_tensors_cost_two_descriptors() -> None:
    value = RowsDataset(torch.zeros(0))
    value.rows = [torch.full((10,), float(number)) for number in range(5000)]  # type: ignore[assignment]
    before = descriptors()
    luggage = pack(value)
    assert descriptors() == before + 2
    found = luggage.unpack()
    assert [float(row[0]) for row in found.rows] == list(range(5000))
    luggage.close()
    del found
    gc.collect()
    assert descriptors() == before


def test_tensors_of_every_kind_arrive() -> None:
    tensors = {
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.0),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "complex": torch.ones(3, dtype=torch.complex64),
        "flags": torch.tensor([True, False]),
        "strided": torch.arange(6).reshape(2, 3).t(),
        "sparse": torch.eye(3).to_sparse(),
    }
    for name, tensor in there_and_back(tensors).items():
        assert tensor.dtype == tensors[name].dtype
        assert torch.equal(tensor.to_dense(), tensors[name].to_dense())
    assert there_and_back(torch.empty(2, 2, device="meta")).shape == (2, 2)


def test_tied_weights_stay_tied() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    found = there_and_back(nn.ModuleList([first, second]))
    assert found[0].weight is found[1].weight


def test_a_read_only_array_stays_read_only() -> None:
    fixed, free = np.ones(100_000), np.ones(100_000)
    fixed.flags.writeable = False
    found = there_and_back([fixed, free])
    assert [array.flags.writeable for array in found] == [False, True]


def test_a_generator_goes_on_where_it_was() -> None:
    generator = torch.Generator()
    generator.manual_seed(7)
    torch.rand(3, generator=generator)
    found = there_and_back(generator)
    assert torch.equal(torch.rand(3, generator=found), torch.rand(3, generator=generator))


def test_a_loader_travels_without_its_running_workers() -> None:
    loader = DataLoader(RowsDataset(torch.ones(4, 1)), num_workers=1, persistent_workers=True)
    assert len(list(loader)) == 4
    running = loader._iterator
    found = there_and_back({"loader": loader})["loader"]
    assert found._iterator is None
    assert loader._iterator is running is not None
    assert len(found) == 4
    running._shutdown_workers()  # type: ignore[attr-defined]
    # The thread that feeds a queue ends a moment after it.
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join(10)


def test_lambdas_and_closures_travel_with_cloudpickle() -> None:
    factor = 3
    data = RowsDataset(torch.ones(2, 2), lambda row: row * factor)
    model = nn.Linear(1, 1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD(model.parameters(), lr=1), lambda epoch: 0.5**epoch)
    found = there_and_back({"model": model, "scheduler": scheduler, "data": data})
    assert found["data"][0].tolist() == [3, 3]
    assert found["scheduler"].lr_lambdas[0](2) == 0.25
    assert found["scheduler"].optimizer.param_groups[0]["params"][0] is found["model"].weight


@pytest.mark.usefixtures("without_cloudpickle")
def test_a_lambda_without_cloudpickle_is_named_with_the_extra() -> None:
    callbacks = [object(), types.SimpleNamespace(fn=lambda: None)]
    with pytest.raises(UnpicklableError) as caught:
        pack({"callbacks": callbacks, "model": nn.Linear(1, 1)})
    text = str(caught.value)
    assert text.startswith("callbacks[1].fn (a lambda defined at test_luggage.py:")
    assert 'pip install "trainloop-compat[cloudpickle]"' in text
    assert "at the top of a module" in text
    assert isinstance(caught.value, CompatError | pickle.PicklingError)
    assert isinstance(caught.value, AttributeError)
    assert caught.value.__cause__ is not None


@pytest.mark.usefixtures("without_cloudpickle")
def test_what_plain_pickle_can_send_needs_no_cloudpickle(trained: dict[str, Any]) -> None:
    assert there_and_back(trained)["part"][0].sum() == MEBIBYTE
    assert pickler_class() is pickle.Pickler


def test_a_part_of_a_model_that_cannot_be_sent_is_named() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    object.__setattr__(model[1], "lock", threading.Lock())
    with pytest.raises(UnpicklableError, match=r"^model\.1\.lock \(an object of the class _thread\.lock\).*Even cloud"):
        pack({"model": model})


def test_what_a_closure_holds_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(UnpicklableError, match=r"^fn\.<variable lock> \(an object"):
        pack({"fn": lambda: lock})


def test_an_open_file_and_a_generator_are_called_so(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file, pytest.raises(UnpicklableError, match=r"^\[1\] \(an open file, .*log"):
        pack([0, file])
    with pytest.raises(UnpicklableError, match=r"^rows \(a running generator"):
        pack({"rows": (row for row in [1])})


class _Stubborn:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def test_whatever_a_reduce_raises_is_reported() -> None:
    with pytest.raises(UnpicklableError, match=r"^it \(an object of the class .*_Stubborn\).*RuntimeError: not me"):
        pack({"it": _Stubborn()})


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Stand a program with a file in the place of ``__main__``."""
    main = types.ModuleType("__main__")
    main.__file__ = __file__
    code = "class Known: pass\ndef make():\n    class Inner: pass\n    return Inner\n"
    exec(compile(code, __file__, "exec"), main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


def test_classes_of_the_program_go_by_name_beside_lambdas(program: types.ModuleType) -> None:
    assert not is_interactive()
    found = there_and_back([program.Known(), lambda: 3])
    assert type(found[0]) is program.Known
    assert found[1]() == 3
    assert type(there_and_back(program.make()())).__name__ == "Inner"


def test_a_class_that_the_workers_do_not_find_is_named(program: types.ModuleType) -> None:
    luggage = pack(program.Known())
    del program.Known
    with pytest.raises(UnpicklableError, match=r"found no 'Known' in it.*not under `if __name__"):
        luggage.unpack()


@pytest.mark.usefixtures("without_cloudpickle")
def test_a_session_without_a_file_needs_cloudpickle(program: types.ModuleType) -> None:
    program.__file__ = "<stdin>"
    assert is_interactive()
    with pytest.raises(
        UnpicklableError, match=r"^net \(an object of the class Known\).*interactive session.*pip install"
    ):
        pack({"net": program.Known()})


NOTEBOOK = """
import sys
from datetime import timedelta
import torch
from compat._distributed.launch import launch
from compat._distributed.luggage import pack
from tests._distributed.launch_notebook import call

FACTOR = 3
class Net(torch.nn.Module):
    def forward(self, x):
        return helper(x)
def helper(x):
    return x * FACTOR
print(launch(call, (pack(Net()), 2.0), processes=1, timeout=timedelta(seconds=60)))
print(hasattr(sys.modules["__main__"], "__file__"))
"""


@pytest.mark.parametrize("by_option", [True, False], ids=["python -c", "python -"])
def test_classes_of_a_notebook_reach_the_workers(by_option: bool) -> None:
    given = ["-c", NOTEBOOK] if by_option else ["-"]
    done = subprocess.run(
        [sys.executable, *given],
        input="" if by_option else NOTEBOOK,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["{0: ('Net', 6.0)}", str(not by_option)]
