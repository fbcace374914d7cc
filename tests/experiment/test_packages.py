"""Result packages. What the old library does in the same place is in ``test_reference.py``."""

from typing import Any

import pytest
import torch

from compat import quirks
from compat.exceptions import CompatError
from compat.experiment.packages import AbstractResultPackage


class Package(AbstractResultPackage):
    """A package with one result."""

    paths: Any = None

    def prepare_results_dict(self) -> dict[str, Any]:
        return {"m": 1.0}

    def list_additional_results_dump_paths(self) -> Any:
        return self.paths


def prepared(name: str = "a", **arguments: Any) -> Package:
    package = Package(name, **arguments)
    package.prepare_result_package([1], [2])
    return package


def test_tensors_become_arrays_without_a_warning() -> None:
    package = Package()
    package.prepare_result_package(torch.tensor([[1.0]]), torch.tensor([[2.0]], requires_grad=True))
    assert (package.y_true.tolist(), package.y_predicted.tolist()) == ([[1.0]], [[2.0]])


def test_what_is_added_later_is_no_part_of_a_sum() -> None:
    one, other = prepared("a"), prepared("b")
    total = one + other
    one += {"later": 1}
    assert total.get_results() == {"a": {"m": 1.0}, "b": {"m": 1.0}}


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (str, "results_dict of a is not set yet"),
        (len, "Call prepare_result_package"),
        (lambda package: package["m"], "is not set yet. Currently it is None"),
        (lambda package: package + {"x": 1}, "is not set yet"),
        (lambda package: prepared("b") + package, "results_dict of a is not set yet"),
    ],
)
def test_a_package_without_results_says_so(use: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        use(Package("a"))
    assert isinstance(caught.value, CompatError)


def test_missing_result_names_what_is_there() -> None:
    with pytest.raises(KeyError, match=r"Key 'z' can not be found in the results. Present: \['m'\]"):
        prepared()["z"]


def test_duplicate_results_are_named() -> None:
    package = prepared()
    with pytest.raises(ValueError, match=r"Duplicated metric results found in the results_dict: \['m'\].*use \+"):
        package += {"m": 2.0, "x": 1}
    assert package.get_results() == {"m": 1.0}


@pytest.mark.parametrize("other", [None, 3, [1]])
def test_what_cannot_be_added_is_named(other: Any) -> None:
    with pytest.raises(ValueError, match=r"AbstractResultPackage objects and dicts\. Given <class"):
        _ = prepared() + other


@pytest.mark.parametrize(
    ("rows", "error", "text"),
    [
        ([], IndexError, "there is none"),
        ([1, 2], TypeError, "compares the lengths of rows, and this list has none"),
        (torch.tensor([1.0]), TypeError, "this Tensor has none"),
    ],
)
def test_automatic_arrays_need_rows(rows: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        Package(np_array="auto").prepare_result_package(rows, rows)
    assert isinstance(caught.value, CompatError)


def test_hyperparameters_may_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert prepared().get_hyperparameters() is None
    assert capsys.readouterr().out == "Warning: Hyperparameters missing\n"
    assert quirks.counts()["Q117"] == 1


def test_missing_hyperparameters_are_an_error_when_strict() -> None:
    with pytest.raises(ValueError, match="Warning: Hyperparameters missing"):
        prepared(strict_content_check=True).get_hyperparameters()
    assert "Q117" not in quirks.counts()


def test_hyperparameters_that_are_no_dict_are_named() -> None:
    package = Package("a")
    package.prepare_result_package([1], [2], 5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="hyperparameters=5 is a int"):
        package.get_hyperparameters()


@pytest.mark.parametrize("paths", ["x", [("a", "b")], [["a"]], [["a", 1]]], ids=repr)
def test_paths_that_are_no_pairs_are_named(paths: Any) -> None:
    package = prepared()
    package.paths = paths
    with pytest.raises(ValueError, match=r"Return a list of .* lists from list_additional_results_dump_paths\."):
        package.get_additional_results_dump_paths()
