"""Programs whose classes override what metrics and packages call of themselves."""

from __future__ import annotations

from typing import Any

from tests.experiment.programs import Api, Program, attempt, program_list

WITH_OVERRIDES: dict[str, Program] = {}
program = program_list(WITH_OVERRIDES)


def seeing(api: Api, fails: bool = False) -> Any:
    """A package that keeps what it sees while it computes its results."""

    class Seeing(api.AbstractResultPackage):  # type: ignore[misc]  # of either library
        seen: list[Any]

        def prepare_results_dict(self) -> Any:
            self.seen = [*getattr(self, "seen", []), [self.results_dict, self.hyperparameters, self.additional_results]]
            if fails and len(self.seen) > 1:
                raise RuntimeError("on purpose")
            return {"number": len(self.seen)}

    return Seeing("seeing")


@program
def _results_of_before_are_not_there_while_results_are_computed(api: Api) -> Any:
    package = seeing(api)
    for number in range(3):
        package.prepare_result_package([1], [2], {"h": number}, k=number)
    return [package.seen, package.results_dict]


@program
def _results_are_lost_when_they_cannot_be_computed(api: Api) -> Any:
    package = seeing(api, fails=True)
    package.prepare_result_package([1], [2], {})
    errors = attempt(lambda: package.prepare_result_package([3], [4], {}))
    return [errors, package.results_dict, attempt(lambda: package + {"a": 1})]


@program
def _results_are_kept_when_the_rows_do_not_fit(api: Api) -> Any:
    package = seeing(api)
    package.prepare_result_package([1], [2], {})
    return [attempt(lambda: package.prepare_result_package([[1], [1, 2]], [2], {})), package.results_dict]


def wrapper_of(api: Api, kind: Any) -> Any:
    """A prepared wrapper of two packages."""
    packages = [seeing(api), seeing(api)]
    for package in packages:
        package.prepare_result_package([1], [2], {"h": 1}, k=2)
    wrapper = kind()
    wrapper.prepare_result_package(packages, {"w": 3}, extra=4)
    return wrapper


@program
def _wrapper_with_results_of_its_own(api: Api) -> Any:
    class Mean(api.MultipleResultPackageWrapper):  # type: ignore[misc]  # of either library
        def prepare_results_dict(self) -> Any:
            values = [value for package in self.result_packages for value in package.get_results().values()]
            return {"mean": sum(values) / len(values), "before": [self.results_dict, self.additional_results]}

    wrapper = wrapper_of(api, Mean)
    once = wrapper.get_results()
    wrapper += seeing_prepared(api)
    return [once, wrapper.get_results(), (wrapper + seeing_prepared(api)).get_results()]


def seeing_prepared(api: Api) -> Any:
    """One more such package."""
    package = seeing(api)
    package.prepare_result_package([5], [6], {})
    return package


@program
def _wrapper_whose_results_are_collected_again(api: Api) -> Any:
    wrapper = wrapper_of(api, api.MultipleResultPackageWrapper)
    wrapper.result_packages[0].results_dict = {"changed": 1}
    return [wrapper.prepare_results_dict(), wrapper.results_dict, wrapper.additional_results]


@program
def _wrapper_with_files_of_its_own(api: Api) -> Any:
    class Filed(api.MultipleResultPackageWrapper):  # type: ignore[misc]  # of either library
        def list_additional_results_dump_paths(self) -> Any:
            return [["a", "b"]]

    wrapper = wrapper_of(api, Filed)
    return [wrapper.get_additional_results_dump_paths(), wrapper.additional_results_dump_paths]


@program
def _wrapper_that_is_not_prepared(api: Api) -> Any:
    wrapper = api.MultipleResultPackageWrapper()
    return [
        attempt(wrapper.prepare_results_dict),
        attempt(wrapper.get_additional_results_dump_paths),
        wrapper.list_additional_results_dump_paths(),
        wrapper.get_results(),
    ]


@program
def _package_without_its_check(api: Api) -> Any:
    class Unchecked(api.AbstractResultPackage):  # type: ignore[misc]  # of either library
        checked = 0

        def prepare_results_dict(self) -> Any:
            return {}

        def warn_if_results_dict_not_defined(self) -> None:
            self.checked += 1

    package = Unchecked("unchecked")
    package.results_dict = {"a": 1}
    _ = str(package), len(package), package["a"], "a" in package, package + {"b": 1}
    package += {"c": 2}
    return [package.checked, package.results_dict]


@program
def _general_package_with_a_check_of_its_own(api: Api) -> Any:
    class Checked(api.GeneralResultPackage):  # type: ignore[misc]  # of either library
        checked = 0

        def qa_check_hyperparameters_dict(self) -> None:
            self.checked += 1

        def get_hyperparameters(self) -> Any:
            raise RuntimeError("nobody asked")

    package = Checked([api.AccuracyMetric])
    package.prepare_result_package([0, 1], [0, 1], {})
    return [package.checked, package.results_dict]


@program
def _metrics_in_a_list(api: Api) -> Any:
    one, two = api.AccuracyMetric([0, 1], [0, 1]), api.AccuracyMetric([0, 1], [0, 1])
    metrics = [one, two]
    found = [one == two, one == 1.0, metrics.index(two), metrics.count(one), len({one, two})]
    metrics.remove(two)
    return [*found, metrics[0] is one]


@program
def _accuracy_of_single_values(api: Api) -> Any:
    return [attempt(lambda: api.AccuracyMetric(1, 1)), attempt(lambda: api.AccuracyMetric([1], 1))]
