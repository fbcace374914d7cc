"""Result packages of results that exist already: computed elsewhere, or those of several packages."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Self

from compat import quirks
from compat.exceptions import InvalidTypeError, MissingAttributeError
from compat.experiment.packages import AbstractResultPackage
from compat.history import TrainingHistory

__all__ = ["MultipleResultPackageWrapper", "PreCalculatedResultPackage"]


class PreCalculatedResultPackage(AbstractResultPackage):
    """Results that were computed elsewhere.

    Args:
        results_dict: Results by name.
        strict_content_check: Raise where content looks wrong, instead of printing a line.
        kwargs: Kept as ``package_metadata``.

    Attributes:
        training_history: An empty history.
    """

    def __init__(self, results_dict: dict[str, Any], strict_content_check: bool = False, **kwargs: Any) -> None:
        """Take the results."""
        super().__init__("PreCalculatedResult", strict_content_check, **kwargs)
        self.results_dict = results_dict
        self.hyperparameters = {}
        self.training_history = TrainingHistory()

    def prepare_result_package(
        self, y_true: Any, y_predicted: Any, hyperparameters: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Take targets and predictions, and keep the results.

        Args:
            y_true: Targets ``(N, ...)``.
            y_predicted: Predictions ``(N, ...)``.
            hyperparameters: Those of the model.
            kwargs: Kept as ``additional_results``.

        Raises:
            InvalidArgumentError: Rows of different lengths while ``np_array`` is True.
        """
        computed_elsewhere = self.results_dict
        super().prepare_result_package(y_true, y_predicted, hyperparameters, **kwargs)
        if self.results_dict is None and computed_elsewhere is not None:
            quirks.met("Q119", "a package of results that were computed elsewhere keeps them when it is prepared")
            self.results_dict = computed_elsewhere

    def prepare_results_dict(self) -> dict[str, Any]:
        """Return the results as they are; None while the package is prepared."""
        return self.results_dict  # type: ignore[return-value]  # the old library has no other way to say it


class MultipleResultPackageWrapper(AbstractResultPackage):
    """Several packages side by side, each under its name.

    Args:
        strict_content_check: Raise where content looks wrong, instead of printing a line.
        kwargs: Kept as ``package_metadata``.

    Attributes:
        result_packages: The packages; None until the wrapper is prepared.
        y_true: Targets by package name.
        y_predicted: Predictions by package name.
        additional_results: Those of the packages by name, after those of the wrapper itself, if it has any.
        results_dict: The results of the packages by name.
    """

    def __init__(self, strict_content_check: bool = False, **kwargs: Any) -> None:
        """Start without packages."""
        super().__init__("MultipleResultWrapper", strict_content_check, **kwargs)
        self.result_packages: list[AbstractResultPackage] | None = None

    def prepare_result_package(  # type: ignore[override]  # the old library has two signatures for one method
        self,
        result_packages: Iterable[AbstractResultPackage],
        hyperparameters: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Take packages that have their results.

        Args:
            result_packages: The packages.
            hyperparameters: Those of the model.
            kwargs: Further results of the wrapper itself.

        Raises:
            MissingAttributeError: One of them is no result package.
            InvalidTypeError: They cannot be iterated over.
        """
        self.result_packages = self._checked(result_packages)
        self.hyperparameters = hyperparameters
        self.additional_results = kwargs
        self.results_dict = None
        self.results_dict = self.prepare_results_dict()

    @staticmethod
    def _checked(result_packages: Iterable[AbstractResultPackage]) -> list[AbstractResultPackage]:
        if not isinstance(result_packages, Iterable):
            raise InvalidTypeError(f"result_packages={result_packages!r} is no list of result packages.")
        # The caller's list itself, as in the old library; anything else as a list, so that += works.
        packages = result_packages if isinstance(result_packages, list) else list(result_packages)
        for package in packages:
            if not isinstance(package, AbstractResultPackage):
                raise MissingAttributeError(
                    f"{package!r} among the result packages is a {type(package).__name__}. Pass objects of"
                    " AbstractResultPackage."
                )
        return packages

    def _names(self) -> list[str]:
        """Name the packages: their own names, with the position appended to one that is taken."""
        names: list[str] = []
        for position, package in enumerate(self._packages()):
            name = f"ResultPackage{position}" if package.pkg_name is None else package.pkg_name
            # Once was enough for the old library, which lost the results of `a1`, `a`, `a`.
            while name in names:
                name = f"{name}{position}"
            names.append(name)
        return names

    def _packages(self) -> list[AbstractResultPackage]:
        if self.result_packages is None:
            raise InvalidTypeError(
                "This wrapper has no result packages yet. Call prepare_result_package([package, ...]) first."
            )
        return self.result_packages

    def prepare_results_dict(self) -> dict[str, Any]:
        """Collect what the packages hold: targets, predictions, and what else they were given.

        Returns:
            The results of the packages by name.
        """
        named = dict(zip(self._names(), self._packages(), strict=True))
        self.y_true = {name: package.y_true for name, package in named.items()}
        self.y_predicted = {name: package.y_predicted for name, package in named.items()}
        own = {self.pkg_name or "": self.additional_results} if self.additional_results else {}
        self.additional_results = own | {name: package.additional_results for name, package in named.items()}
        return {name: package.get_results() for name, package in named.items()}

    def get_additional_results_dump_paths(self) -> list[list[str]] | None:
        """Join the files that belong to the results: those of the wrapper itself, then those of the packages.

        Returns:
            Pairs of a path in the results folder and a local path, or None if there is none.
        """
        own = self.list_additional_results_dump_paths() or []
        found = [package.get_additional_results_dump_paths() or [] for package in self._packages()]
        self.additional_results_dump_paths = [*own, *(pair for pairs in found for pair in pairs)] or None
        self.qa_check_additional_results_dump_paths()
        return self.additional_results_dump_paths

    def __str__(self) -> str:
        return "\n".join(f"--> {package.pkg_name}:\n{package}" for package in self._packages())

    def __len__(self) -> int:
        return len(self._packages())

    def __iadd__(self, other: Any) -> Self:
        return self._take_in(other)

    def _take_in(self, other: Any) -> Self:
        self.warn_if_results_dict_not_defined()
        added = self._create_other_object_pkg(other)
        more = added._packages() if isinstance(added, MultipleResultPackageWrapper) else [added]
        self.prepare_result_package([*self._packages(), *more], self.hyperparameters, **self.package_metadata)
        return self

    def add_merge_multi_pkg_wrap(self, other_object: Any) -> "MultipleResultPackageWrapper":
        """Combine copies of these packages and another, or those of another wrapper.

        Args:
            other_object: A package, a wrapper, or a plain dict of results.

        Returns:
            A copy of this wrapper that has more packages.

        Raises:
            InvalidArgumentError: Something else, or a package without results.
        """
        return deepcopy(self)._take_in(other_object)
