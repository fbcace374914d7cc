"""Result packages: targets, predictions and hyperparameters with the results that were computed from them."""

import shutil
from abc import ABC, abstractmethod
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Self

from compat import quirks
from compat._ledger import used
from compat.exceptions import (
    EmptyTargetsError,
    InvalidArgumentError,
    InvalidTypeError,
    MissingMetricError,
)
from compat.experiment._targets import as_array
from compat.history import _ContentCheck

if TYPE_CHECKING:
    from compat.experiment.combined_packages import MultipleResultPackageWrapper

__all__ = ["AbstractResultPackage"]

_WANTED_HYPERPARAMETERS = ("bash_script_path", "experiment_file_path")
_ZIP = ".zip"


class AbstractResultPackage(_ContentCheck, ABC):
    """What a model predicted and how good it was. Subclasses say how good in ``prepare_results_dict``.

    Args:
        pkg_name: The name of the package, under which combined packages list its results.
        strict_content_check: Raise where content looks wrong, instead of printing a line.
        np_array: True copies targets and predictions into arrays, ``'auto'`` does so where all rows have one length,
            and anything else keeps them as they are.
        kwargs: Kept as ``package_metadata``.

    Attributes:
        pkg_name: The argument.
        strict_content_check: The argument.
        np_array: The argument.
        y_true: Targets ``(N, ...)``; None until the package is prepared.
        y_predicted: Predictions ``(N, ...)``; None until then.
        additional_results: The keyword arguments of ``prepare_result_package``.
        additional_results_dump_paths: Files that belong to the results, as ``get_additional_results_dump_paths`` found
            them.
        results_dict: The results by name; None until the package is prepared.
        requires_loss: Whether a callback that evaluates the package puts the loss into ``additional_results``.
        hyperparameters: Those of the model; None until the package is prepared.
        package_metadata: The further keyword arguments.
    """

    def __init__(
        self,
        pkg_name: str | None = None,
        strict_content_check: bool = False,
        np_array: bool | str = True,
        **kwargs: Any,
    ) -> None:
        """Start without results."""
        used(self)
        self.pkg_name = pkg_name
        self.strict_content_check = strict_content_check
        self.np_array = np_array
        self.y_true: Any = None
        self.y_predicted: Any = None
        self.additional_results: dict[str, Any] | None = None
        self.additional_results_dump_paths: list[list[str]] | None = None
        self.results_dict: dict[str, Any] | None = None
        self.requires_loss = False
        self.hyperparameters: Any = None
        self.package_metadata = kwargs

    @abstractmethod
    def prepare_results_dict(self) -> dict[str, Any]:
        """Compute the results from ``y_true``, ``y_predicted``, ``hyperparameters`` and ``additional_results``.

        Returns:
            Results by name.
        """

    def prepare_result_package(
        self, y_true: Any, y_predicted: Any, hyperparameters: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Take targets and predictions, and compute the results.

        Args:
            y_true: Targets ``(N, ...)``.
            y_predicted: Predictions ``(N, ...)``.
            hyperparameters: Those of the model.
            kwargs: Anything else that ``prepare_results_dict`` needs; the training loop passes ``additional_results``.

        Raises:
            InvalidArgumentError: Rows of different lengths while ``np_array`` is True.
        """
        if self.np_array is True:
            y_true, y_predicted = as_array(y_true), as_array(y_predicted)
        elif self.np_array == "auto":
            y_true = self.auto_y_input_array_convert(y_true)
            y_predicted = self.auto_y_input_array_convert(y_predicted)
        self.y_true, self.y_predicted = y_true, y_predicted
        self.hyperparameters = hyperparameters
        self.additional_results = kwargs
        # Results of an earlier time do not stand for those that cannot be computed now.
        self.results_dict = None
        self.results_dict = self.prepare_results_dict()

    @staticmethod
    def auto_y_input_array_convert(y_array: Any) -> Any:
        """Copy rows into an array if they all have one length.

        Args:
            y_array: Rows ``(N, ...)``.

        Returns:
            An array, or what was passed if the lengths differ.

        Raises:
            EmptyTargetsError: There is no row.
            InvalidTypeError: The rows have no length, such as those of ``(N,)``.
        """
        try:
            first = len(y_array[0])
            return as_array(y_array) if all(len(row) == first for row in y_array) else y_array
        except IndexError as error:
            raise EmptyTargetsError("np_array='auto' looks at the first row, and there is none.") from error
        except TypeError as error:
            raise InvalidTypeError(
                f"np_array='auto' compares the lengths of rows, and this {type(y_array).__name__} has none: {error}."
                " Pass rows of values, or np_array=True for one value a sample."
            ) from error

    def get_results(self) -> dict[str, Any] | None:
        """Return the results by name.

        Returns:
            The live dict, or None if nothing was computed yet, in which case a line is printed.

        Raises:
            InvalidArgumentError: Nothing was computed yet, and the content check is strict.
        """
        if self.results_dict is None:
            self.warn_about_result_data_problem("Warning: Results dict missing")
        return self.results_dict

    def get_hyperparameters(self) -> Any:
        """Check the hyperparameters and return them.

        Returns:
            The live dict, or None if the package was prepared without.

        Raises:
            InvalidArgumentError: Something is missing, and the content check is strict. Otherwise a line is printed.
            InvalidTypeError: They are no dict.
        """
        self.qa_check_hyperparameters_dict()
        return self.hyperparameters

    def get_additional_results_dump_paths(self) -> list[list[str]] | None:
        """Ask for the files that belong to the results, check the answer and keep it.

        Returns:
            Pairs of a path in the results folder and a local path, or None.

        Raises:
            InvalidArgumentError: ``list_additional_results_dump_paths`` returned something else.
        """
        self.additional_results_dump_paths = self.list_additional_results_dump_paths()
        self.qa_check_additional_results_dump_paths()
        return self.additional_results_dump_paths

    def list_additional_results_dump_paths(self) -> list[list[str]] | None:
        """Name files that belong to the results. There are none unless a subclass says so.

        Returns:
            Pairs of a path in the results folder and a local path, or None.
        """
        return None

    # A hook for subclasses, which few need: abstract it must not be.
    def set_experiment_dir_path_for_additional_results(
        self,
        project_name: str,
        experiment_name: str,
        experiment_timestamp: str,
        local_model_result_folder_path: str,
    ) -> None:
        """Learn where the experiment keeps its files, before results are prepared. Does nothing unless overridden.

        Args:
            project_name: The name of the project.
            experiment_name: The name of the experiment.
            experiment_timestamp: When the experiment started.
            local_model_result_folder_path: The folder that holds all projects.
        """

    def qa_check_hyperparameters_dict(self) -> None:
        """Check that the hyperparameters are there, and say from which files the experiment ran.

        Raises:
            InvalidArgumentError: Something is missing, and the content check is strict. Otherwise a line is printed.
            InvalidTypeError: They are no dict.
        """
        if self.hyperparameters is None:
            self.warn_about_result_data_problem("Warning: Hyperparameters missing")
            quirks.met("Q117", "a result package goes on without hyperparameters")
            return
        for wanted in _WANTED_HYPERPARAMETERS:
            try:
                missing = wanted not in self.hyperparameters or self.hyperparameters[wanted] is None
            except TypeError as error:
                raise InvalidTypeError(
                    f"hyperparameters={self.hyperparameters!r} is a {type(self.hyperparameters).__name__}. Pass a dict."
                ) from error
            if missing:
                self.warn_about_result_data_problem(
                    f"{wanted} missing from hyperparameters dict. "
                    "Potential solution: add it to the model config file and parse with argparser."
                )

    def qa_check_additional_results_dump_paths(self) -> None:
        """Check ``additional_results_dump_paths``.

        Raises:
            InvalidArgumentError: It is neither None nor a list of lists of two strings.
        """
        # Whatever a subclass returned, and not only what it should have.
        paths: Any = self.additional_results_dump_paths
        if paths is None:
            return
        wanted = (
            "Return a list of [path in the results folder, local path] lists from list_additional_results_dump_paths."
        )
        if not isinstance(paths, list):
            raise InvalidArgumentError(f"Additional results dump paths are {paths!r}, which is no list. {wanted}")
        for pair in paths:
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(path, str) for path in pair)):
                raise InvalidArgumentError(f"{pair!r} in the additional results dump paths is no pair. {wanted}")

    @staticmethod
    def zip_additional_results_dump(source_dir_path: str, zip_path: str) -> str:
        """Pack a folder.

        Args:
            source_dir_path: The folder.
            zip_path: Where the archive goes, with or without ``.zip``. Folders on the way are created.

        Returns:
            The path of the archive.
        """
        return shutil.make_archive(str(zip_path).removesuffix(_ZIP), "zip", source_dir_path)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {result}" for name, result in self._computed().items())

    def __len__(self) -> int:
        return len(self._computed())

    def __contains__(self, item: object) -> bool:
        return item in self._computed()

    def __getitem__(self, item: str) -> Any:
        results = self._computed()
        if item not in results:
            raise MissingMetricError(f"Key {item!r} can not be found in the results. Present: {list(results)}.")
        return results[item]

    def __add__(self, other: Any) -> "MultipleResultPackageWrapper":
        return self.add_merge_multi_pkg_wrap(other)

    def __radd__(self, other: Any) -> "MultipleResultPackageWrapper":
        # The own package first here too, as in the old library.
        return self.add_merge_multi_pkg_wrap(other)

    def __iadd__(self, other: Any) -> Self:
        return self.add_merge_dicts(other)

    def add_merge_multi_pkg_wrap(self, other_object: Any) -> "MultipleResultPackageWrapper":
        """Combine copies of this package and another.

        Args:
            other_object: A package, or a plain dict of results.

        Returns:
            A wrapper of both, the own package first, with its hyperparameters.

        Raises:
            InvalidArgumentError: Something else, or a package without results.
        """
        # Here and not above: the wrapper is a result package itself.
        from compat.experiment.combined_packages import MultipleResultPackageWrapper

        self.warn_if_results_dict_not_defined()
        other = self._create_other_object_pkg(other_object)
        wrapper = MultipleResultPackageWrapper()
        own = deepcopy(self)
        wrapper.prepare_result_package([own, other], own.hyperparameters)
        return wrapper

    @staticmethod
    def _create_other_object_pkg(other_object: Any) -> "AbstractResultPackage":
        """Copy a package with results, or make one of a plain dict of results.

        Args:
            other_object: A package, or a plain dict.

        Raises:
            InvalidArgumentError: Something else, or a package without results.
        """
        from compat.experiment.combined_packages import PreCalculatedResultPackage

        if isinstance(other_object, AbstractResultPackage):
            other_object.warn_if_results_dict_not_defined()
            return deepcopy(other_object)
        if type(other_object) is dict:
            return PreCalculatedResultPackage(deepcopy(other_object))
        raise InvalidArgumentError(
            f"Addition supported on the AbstractResultPackage objects and dicts. Given {type(other_object)}."
            " Add another package, or a plain dict of results by name."
        )

    def add_merge_dicts(self, other: Any) -> Self:
        """Add the results of another package to this one.

        Args:
            other: A package, or a plain dict of results.

        Returns:
            This package.

        Raises:
            InvalidArgumentError: Something else, a package without results, or a name that both have.
        """
        self.warn_if_results_dict_not_defined()
        copied: Any = self._create_other_object_pkg(other).results_dict
        return self._merge_dicts(copied)

    def _merge_dicts(self, other_results_dict: dict[str, Any]) -> Self:
        """Add results by name.

        Args:
            other_results_dict: The results.

        Returns:
            This package.

        Raises:
            InvalidArgumentError: A name is there already.
        """
        own: Any = self.results_dict
        both = [name for name in other_results_dict if name in own]
        if both:
            raise InvalidArgumentError(
                f"Duplicated metric results found in the results_dict: {both}. Rename one of each, or use + to keep the"
                " packages side by side."
            )
        self.results_dict = own | other_results_dict
        return self

    def warn_if_results_dict_not_defined(self) -> None:
        """Refuse to go on without results.

        Raises:
            InvalidArgumentError: ``prepare_result_package`` was not called yet.
        """
        if self.results_dict is None:
            raise InvalidArgumentError(
                f"results_dict of {self.pkg_name or type(self).__name__} is not set yet. Currently it is None. Call"
                " prepare_result_package(y_true, y_predicted) first."
            )

    def _computed(self) -> Any:
        # The public check, which may be overridden.
        self.warn_if_results_dict_not_defined()
        return self.results_dict
