"""Programs with result packages, as users wrote them."""

from __future__ import annotations

import operator
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.experiment.programs import Api, Program, attempt, each, plain, program_list, state, table

WITH_PACKAGES: dict[str, Program] = {}
program = program_list(WITH_PACKAGES)


def made(api: Api, name: Any = "a", results: Any = None, hyperparameters: Any = None, **arguments: Any) -> Any:
    """A package with results."""
    package = unmade(api, name, results, **arguments)
    package.prepare_result_package([1], [2], hyperparameters)
    return package


def unmade(api: Api, name: Any = "a", results: Any = None, **arguments: Any) -> Any:
    """A package without results."""

    class Package(api.AbstractResultPackage):  # type: ignore[misc]
        dump_paths: Any = None

        def prepare_results_dict(self) -> Any:
            return {"m": 1.0} if results is None else results

        def list_additional_results_dump_paths(self) -> Any:
            return self.dump_paths

    return Package(name, **arguments)


@program
def _abstract_classes_are_abstract(api: Api) -> Any:
    classes = [api.AbstractBaseMetric, api.AbstractResultPackage]
    return [attempt(classes[0].__call__), attempt(lambda: classes[0]([1], [1], "x")), attempt(classes[1])]


@program
def _new_packages(api: Api) -> Any:
    return [
        state(unmade(api, None)),
        state(unmade(api, "n", strict_content_check=True, np_array="auto", more=1)),
        state(api.GeneralResultPackage([api.AccuracyMetric], True, more=1)),
        state(api.BinaryClassificationResultPackage(0.3, True, np_array=False, more=1)),
        state(api.ClassificationResultPackage()),
        state(api.RegressionResultPackage()),
        state(api.PreCalculatedResultPackage({"a": 1}, True, more=2)),
        state(api.PreCalculatedResultPackage(None)),
        state(api.MultipleResultPackageWrapper(True, more=1)),
    ]


@program
def _prepare_a_package(api: Api) -> Any:
    package = unmade(api)
    returned = package.prepare_result_package([1], [2], {"h": 1}, additional_results={"x": 1}, z=2)
    return [returned, state(package)]


@program
def _prepare_with_every_np_array(api: Api) -> Any:
    rows = [([1], [2]), ([[1, 2], [3, 4]], [[1], [2, 3]]), ([[1], [2]], np.array([[3], [4]])), ([], [])]

    def prepared(flag: Any, pair: tuple[Any, Any]) -> Any:
        package = unmade(api, np_array=flag)
        package.prepare_result_package(*pair)
        return [package.y_true, package.y_predicted]

    return table([True, False, "auto", None, 1, "x"], rows, prepared)


@program
def _auto_conversion(api: Api) -> Any:
    values = [
        [1, 2],
        [[1], [2]],
        [[1], [2, 3]],
        [],
        ["ab", "cd"],
        ["ab", "c"],
        np.array([1, 2]),
        np.array([[1], [2]]),
        ((1,), (2,)),
        [[]],
        None,
        5,
        "ab",
        {"a": 1},
    ]
    return each(values, api.AbstractResultPackage.auto_y_input_array_convert)


def _members(package: Any) -> list[Callable[[], Any]]:
    return [
        lambda: str(package),
        lambda: len(package),
        lambda: bool(package),
        lambda: "m" in package,
        lambda: package["m"],
        lambda: package["z"],
        package.get_results,
        package.warn_if_results_dict_not_defined,
        package.get_additional_results_dump_paths,
        package.list_additional_results_dump_paths,
        package.qa_check_additional_results_dump_paths,
        lambda: package.set_experiment_dir_path_for_additional_results("p", "e", "t", "f"),
        lambda: package + {"a": 1},
        lambda: {"a": 1} + package,
        lambda: package.add_merge_dicts({"a": 1}),
        lambda: package.warn_about_result_data_problem("look here"),
    ]


@program
def _members_of_a_package_without_results(api: Api) -> Any:
    return [each(_members(unmade(api, strict_content_check=strict)), lambda call: call()) for strict in (False, True)]


@program
def _members_of_a_package_with_results(api: Api) -> Any:
    return [each(_members(made(api, strict_content_check=strict)), lambda call: call()) for strict in (False, True)]


@program
def _members_of_a_wrapper_without_results(api: Api) -> Any:
    return each(_members(api.MultipleResultPackageWrapper()), lambda call: call())


@program
def _members_of_a_wrapper_with_results(api: Api) -> Any:
    return each(_members(made(api) + made(api, "b")), lambda call: call())


@program
def _hyperparameters_of_a_package(api: Api) -> Any:
    given: list[Any] = [
        {},
        {"bash_script_path": None, "experiment_file_path": "x"},
        {"bash_script_path": "x"},
        {"bash_script_path": "x", "experiment_file_path": "y"},
        5,
    ]

    def checked(strict: bool, value: Any) -> Any:
        return made(api, "a", None, value, strict_content_check=strict).get_hyperparameters()

    return table([False, True], given, checked)


@program
def _packages_without_hyperparameters(api: Api) -> Any:
    return [
        attempt(lambda: made(api).get_hyperparameters()),
        attempt(lambda: made(api, strict_content_check=True).get_hyperparameters()),
    ]


@program
def _results_of_other_types(api: Api) -> Any:
    return each(
        [[1, 2], {}, 5, "s"],
        lambda value: [attempt(lambda: len(made(api, "a", value))), made(api, "a", value) + made(api)],
    )


@program
def _text_of_packages(api: Api) -> Any:
    a, b, c = made(api, "a", {"x": 1, "y": {"z": 2}}), made(api, "b"), made(api, None)
    return [str(a), str(made(api, "a", {})), str(a + b), str(a + a), str(a + (b + c))]


@program
def _add_packages(api: Api) -> Any:
    a, b = made(api, "a", {"x": 1}, {"h": 1}), made(api, "b", {"x": 2}, {"k": 1}, more=1)
    return [
        a + b,
        b + a,
        a + a,
        a + a + a,
        made(api, None) + made(api, None),
        a + {"q": 1},
        {"q": 1} + a,
        a.__radd__(b),
        a.add_merge_multi_pkg_wrap(b),
        (a + b).result_packages[0] is a,
        (a + b).hyperparameters is a.hyperparameters,
    ]


@program
def _add_packages_and_wrappers(api: Api) -> Any:
    a, b, c, d = (made(api, name) for name in "abcd")
    wrapper = a + b
    return [wrapper + c, a + (b + c), wrapper + (c + d), wrapper + {"q": 1}, {"q": 1} + wrapper, len(wrapper)]


@program
def _names_that_come_twice(api: Api) -> Any:
    a, a1 = made(api, "a"), made(api, "a1")
    return [list((a + a + a1 + a).results_dict), list((a1 + a + a).results_dict)]


@program
def _names_that_the_old_library_lost(api: Api) -> Any:
    unnamed = made(api, "ResultPackage1") + made(api, None)
    return [list(unnamed.results_dict), list((made(api, "a2") + made(api, "a") + made(api, "a")).results_dict)]


@program
def _add_what_is_no_package(api: Api) -> Any:
    others = [None, 5, [made(api)], OrderedDict(a=1), unmade(api), api.MultipleResultPackageWrapper()]
    receivers = [made(api), made(api) + made(api, "b"), unmade(api)]
    return [
        table(receivers, others, operator.add),
        table(receivers, others, operator.iadd),
        each(others, api.AbstractResultPackage._create_other_object_pkg),
        attempt(lambda: sum([made(api), made(api, "b")])),
    ]


@program
def _add_in_place(api: Api) -> Any:
    results = {"x": 1}
    a = same = made(api, "a", results, {"h": 1})
    a += made(api, "b", {"y": 2}, {"k": 1})
    a += {"z": 3}
    a += made(api, "c") + made(api, "d")
    return [
        a is same,
        state(a),
        results,
        attempt(lambda: a.__iadd__({"x": 2})),
        attempt(lambda: a._merge_dicts({"y": 2})),
    ]


@program
def _add_to_a_wrapper_in_place(api: Api) -> Any:
    wrapper = same = made(api, "a") + made(api, "b")
    added = made(api, "c")
    wrapper += added
    wrapper += {"z": 3}
    wrapper += made(api, "d") + made(api, "e")
    return [wrapper is same, wrapper.result_packages[2] is added, state(wrapper)]


@program
def _prepare_a_wrapper(api: Api) -> Any:
    wrapper, packages = api.MultipleResultPackageWrapper(True, more=1), [made(api, hyperparameters={"z": 1})]
    wrapper.prepare_result_package(packages, {"h": 1}, extra=2)
    before = plain(wrapper)
    more = wrapper + made(api, "b")
    return [before, more, wrapper, wrapper.result_packages is packages]


@program
def _prepare_a_wrapper_with_other_things(api: Api) -> Any:
    def prepared(packages: Any) -> Any:
        wrapper = api.MultipleResultPackageWrapper()
        wrapper.prepare_result_package(packages)
        return [wrapper.results_dict, wrapper.y_true, wrapper.hyperparameters]

    return each([[], None, [5], [unmade(api)], (made(api),), iter([made(api)])], prepared)


@program
def _paths_of_additional_results(api: Api) -> Any:
    def checked(paths: Any) -> Any:
        package = made(api)
        package.dump_paths = paths
        return [package.additional_results_dump_paths, package.get_additional_results_dump_paths(), package]

    pair = ["a", "b"]
    wrong = [[tuple(pair)], (pair,), [["a"]], [["a", 1]], "x", ["ab"], [["a", "b", "c"]], [[]], {}]
    return each([[pair], [], None, *wrong], checked)


@program
def _paths_of_a_wrapper(api: Api) -> Any:
    one, two, none = made(api, "a"), made(api, "b"), made(api, "c")
    one.dump_paths, two.dump_paths = [["a", "b"]], [["c", "d"], ["e", "f"]]
    return [(one + none + two).get_additional_results_dump_paths(), (none + none).get_additional_results_dump_paths()]


@program
def _zip_a_folder(api: Api) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source")
        (source / "sub").mkdir(parents=True)
        (source / "sub" / "x").write_text("1")
        pack = api.AbstractResultPackage.zip_additional_results_dump
        targets = ["a", "b.zip", "c.d", "e.zip.zip", "f/g/h"]
        paths = [pack(str(source), f"{folder}/{target}").replace(folder, "") for target in targets]
        with zipfile.ZipFile(f"{folder}/a.zip") as archive:
            names = sorted(archive.namelist())
        return [paths, names, attempt(lambda: pack(f"{folder}/nothing", f"{folder}/z"))]


@program
def _prepare_the_usual_packages(api: Api) -> Any:
    y_true, scores = [0, 1, 1, 0], [0.2, 0.45, 0.8, 0.3]
    packages = [
        api.BinaryClassificationResultPackage(),
        api.BinaryClassificationResultPackage(0.4, np_array=False),
        api.RegressionResultPackage(),
        api.ClassificationResultPackage(),
    ]

    def prepared(package: Any) -> Any:
        package.prepare_result_package(y_true, scores, {"positive_class_thresh": 0.9})
        return [state(package), list(package.results_dict), str(package), len(package)]

    return each(packages, prepared)


@program
def _classify_with_scores_of_classes(api: Api) -> Any:
    package = api.ClassificationResultPackage()
    package.prepare_result_package([0, 2, 1], [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    return package


def _general(api: Api, metrics: Any, hyperparameters: Any = None, **arguments: Any) -> Any:
    package = api.GeneralResultPackage(metrics, **arguments)
    package.prepare_result_package([0, 1], [0.2, 0.8], hyperparameters)
    return [state(package), list(package.results_dict)]


@program
def _general_package(api: Api) -> Any:
    metrics = [api.AccuracyMetric, api.F1ScoreMetric, api.PrecisionMetric]
    lists = [metrics, metrics[:1], [], tuple(metrics)]
    return each(lists, lambda some: _general(api, some, {"positive_class_thresh": 0.9}))


def _returns_a_dict(y_true: Any, y_predicted: Any) -> Any:
    return {"x": 1}


def _returns_a_number(y_true: Any, y_predicted: Any) -> Any:
    return 5


@program
def _general_package_of_other_things(api: Api) -> Any:
    accuracy = api.AccuracyMetric
    lists = [None, accuracy, [accuracy([0], [1])], ["a"], [5], [_returns_a_dict], [accuracy, _returns_a_number]]
    return each(lists, lambda some: _general(api, some, {}))


@program
def _strict_general_package(api: Api) -> Any:
    complete = {"bash_script_path": "a", "experiment_file_path": "b"}
    return each(
        [None, {}, complete], lambda given: _general(api, [api.AccuracyMetric], given, strict_content_check=True)
    )


@program
def _general_package_without_hyperparameters(api: Api) -> Any:
    return _general(api, [api.AccuracyMetric])


@program
def _check_of_the_metrics_list(api: Api) -> Any:
    lists = [[api.AccuracyMetric([0], [1])], [], None, [5]]
    checked = api.GeneralResultPackage
    return table([False, True], lists, lambda strict, some: checked(some, strict).qa_check_metrics_list())


@program
def _check_of_metric_classes(api: Api) -> Any:
    api.GeneralResultPackage([api.AccuracyMetric]).qa_check_metrics_list()


@program
def _precalculated_package_in_a_loop(api: Api) -> Any:
    package = api.PreCalculatedResultPackage({"a": 1})
    package.prepare_result_package([1], [2], {"h": 1})
    return package
