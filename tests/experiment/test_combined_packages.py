"""Packages of results that exist already."""

from typing import Any

import pytest

from compat import quirks
from compat.experiment.basic_packages import RegressionResultPackage
from compat.experiment.combined_packages import MultipleResultPackageWrapper, PreCalculatedResultPackage


def regression(name: str | None = None) -> RegressionResultPackage:
    package = RegressionResultPackage()
    package.prepare_result_package([1.0, 2.0], [1.0, 4.0])
    package.pkg_name = name
    return package


def test_results_computed_elsewhere_stay_through_a_loop() -> None:
    package = PreCalculatedResultPackage({"a": 1})
    for epoch in range(3):
        package.prepare_result_package([epoch], [epoch], {"h": epoch})
    assert package.get_results() == {"a": 1}
    assert package.y_true.tolist() == [2]
    assert package.hyperparameters == {"h": 2}
    assert quirks.counts()["Q119"] == 3


def test_results_that_were_added_stay_too() -> None:
    package = PreCalculatedResultPackage({"a": 1})
    package += {"b": 2}
    package.prepare_result_package([1], [1])
    assert package.get_results() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a1", "a2"]),
        ([None, None], ["ResultPackage0", "ResultPackage1"]),
        (["ResultPackage1", None], ["ResultPackage1", "ResultPackage11"]),
        (["a2", "a", "a"], ["a2", "a", "a22"]),
    ],
    ids=["different", "twice", "unnamed", "unnamed and taken", "position taken"],
)
def test_every_package_has_a_key(names: list[str | None], keys: list[str]) -> None:
    wrapper = MultipleResultPackageWrapper()
    wrapper.prepare_result_package([regression(name) for name in names])
    results = wrapper.get_results()
    assert results is not None
    assert list(results) == list(wrapper.y_true) == list(wrapper.y_predicted) == keys
    assert len(wrapper) == len(names)


@pytest.mark.parametrize("use", [str, len, MultipleResultPackageWrapper.get_additional_results_dump_paths])
def test_a_wrapper_without_packages_says_so(use: Any) -> None:
    with pytest.raises(TypeError, match=r"no result packages yet\. Call prepare_result_package\(\[package, \.\.\.\]\)"):
        use(MultipleResultPackageWrapper())


def test_what_is_no_package_is_named() -> None:
    with pytest.raises(AttributeError, match="5 among the result packages is a int"):
        MultipleResultPackageWrapper().prepare_result_package([5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="result_packages=None is no list of result packages"):
        MultipleResultPackageWrapper().prepare_result_package(None)  # type: ignore[arg-type]


def test_a_wrapper_of_a_tuple_can_grow() -> None:
    """It was a TypeError: a tuple cannot be added to a list."""
    wrapper = MultipleResultPackageWrapper()
    wrapper.prepare_result_package((regression("a"),))
    wrapper += regression("b")
    assert len(wrapper) == 2


def test_a_sum_leaves_its_parts_alone() -> None:
    wrapper = regression("a") + regression("b")
    more = wrapper + regression("c")
    assert (len(wrapper), len(more)) == (2, 3)
    assert more.result_packages is not None
    assert wrapper.result_packages is not None
    assert more.result_packages[0] is not wrapper.result_packages[0]
