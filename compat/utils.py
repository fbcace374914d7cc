"""Small helpers that programs written for the old library import from ``aitoolbox.utils``.

Functions and lists (``aitoolbox.utils.util``), dicts (``dict_util``), and folders and archives (``file_system``).
"""

import contextlib
import dis
import functools
import os
import posixpath
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from types import FunctionType
from typing import Any

from compat import quirks
from compat._ledger import called
from compat.exceptions import InvalidArgumentError, InvalidTypeError, MissingAttributeError

__all__ = [
    "combine_dict_elements",
    "combine_prediction_metadata_batches",
    "copy_function",
    "create_folder_hierarchy",
    "flatten_combine_dict",
    "flatten_dict",
    "flatten_list_of_lists",
    "function_exists",
    "is_empty_function",
    "unzip_file",
    "zip_folder",
]

# Not NOP: the second of two lines of `pass` is one, and the old library takes such a body for one with an effect.
_NO_EFFECT = {"RESUME", "COPY_FREE_VARS", "CACHE", "MAKE_CELL"}
_TAR_ENDINGS = (".tar.gz", ".tgz", ".tar")


def function_exists(object_to_check: Any, fn_name: str) -> bool:
    """Tell whether an object has an attribute of this name that can be called.

    Args:
        object_to_check: Any object.
        fn_name: The name.
    """
    called("compat.utils.function_exists")
    return callable(getattr(object_to_check, fn_name, None))


def copy_function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Make a new function that shares the code, the globals and the closure of another.

    Args:
        fn: A function, or a bound method, whose copy is not bound.

    Returns:
        A function with the same name, defaults, docstring and attributes, and ``fn`` as its ``__wrapped__``.

    Raises:
        MissingAttributeError: The callable is not written in Python, so there is no code to share.
    """
    called("compat.utils.copy_function")
    if not hasattr(fn, "__code__"):
        raise MissingAttributeError(
            f"copy_function got {fn!r}, a {type(fn).__name__} without `__code__`. Pass a function or a method that is"
            " written in Python; other callables can be wrapped in a lambda."
        )
    source: Any = fn
    twin = FunctionType(
        source.__code__,
        source.__globals__,
        name=source.__name__,
        argdefs=source.__defaults__,
        closure=source.__closure__,
    )
    functools.update_wrapper(twin, fn)
    twin.__kwdefaults__ = source.__kwdefaults__
    return twin


def is_empty_function(fn: Callable[..., Any]) -> bool:
    """Tell whether a function does nothing but return ``None``.

    Bodies of ``pass``, ``...``, a docstring, a bare ``return`` or ``return None`` are empty. Those of several such
    lines are not, but for a docstring and one more. A callable that is not written in Python, such as a
    ``functools.partial`` or a mock, is not: nobody can look inside.

    Args:
        fn: A function, a bound method or another callable.

    Returns:
        True if calling it has no effect.
    """
    called("compat.utils.is_empty_function")
    code = getattr(fn, "__code__", None)
    if code is None:
        return False
    steps = [step for step in dis.get_instructions(code) if step.opname not in _NO_EFFECT]
    if not steps or steps[0].argval is not None:
        return False
    return [step.opname for step in steps] in (["LOAD_CONST", "RETURN_VALUE"], ["RETURN_CONST"])


def flatten_list_of_lists(nested_list: Iterable[Iterable[Any]] | None) -> list[Any] | None:
    """Chain the elements of a sequence of sequences; a string among them is chained letter by letter.

    Args:
        nested_list: Anything iterable of anything iterable; ``None`` stays ``None``.

    Raises:
        TypeError: It, or an element of it, cannot be iterated.
    """
    called("compat.utils.flatten_list_of_lists")
    return None if nested_list is None else list(chain.from_iterable(nested_list))


def combine_prediction_metadata_batches(metadata_list: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the metadata of batches key by key.

    The type of a key's first value decides: lists are chained, tensors ``(N, ...)`` and arrays ``(N, ...)`` are
    concatenated along their first dimension.

    Args:
        metadata_list: One dict a batch.

    Returns:
        One dict with the values of all batches.

    Raises:
        InvalidTypeError: A value is neither a list, a tensor nor an array, or there is something else than dicts.
    """
    called("compat.utils.combine_prediction_metadata_batches")
    given: Any = metadata_list
    batches = list(given) if isinstance(given, Iterable) else [given]
    if not all(hasattr(entries, "items") for entries in batches):
        raise InvalidTypeError(
            f"combine_prediction_metadata_batches got {metadata_list!r}. Pass a list with one dict a batch."
        )
    import numpy as np
    import torch

    combined: dict[str, Any] = {}
    for key, values in combine_dict_elements(batches).items():
        if isinstance(values[0], list):
            combined[key] = list(chain.from_iterable(values))
        elif isinstance(values[0], torch.Tensor):
            combined[key] = torch.cat(values)
        elif isinstance(values[0], np.ndarray):
            combined[key] = np.concatenate(values)
        else:
            raise InvalidTypeError(
                f"Metadata {key!r} holds a {type(values[0]).__name__}. Values that can be joined over batches are"
                " lists, tensors and numpy arrays."
            )
    return combined


def combine_dict_elements(list_of_dicts: Iterable[Mapping[Any, Any]]) -> dict[Any, list[Any]]:
    """Collect the values of dicts key by key.

    Args:
        list_of_dicts: Dicts; a key may be missing from some.

    Returns:
        The values of each key, in the order of the dicts.
    """
    called("compat.utils.combine_dict_elements")
    combined: dict[Any, list[Any]] = {}
    for entries in list_of_dicts:
        for key, value in entries.items():
            combined.setdefault(key, []).append(value)
    return combined


def flatten_dict(nested_dict: Mapping[Any, Any], parent_key: str = "", sep: str = "_") -> dict[Any, Any]:
    """Spread nested dicts over one level, as in ``{"a": {"b": 1}} -> {"a_b": 1}``.

    Args:
        nested_dict: A dict of values and of such dicts. An empty one inside leaves no key behind.
        parent_key: What stands before each key, with ``sep`` between; nothing if empty.
        sep: What stands between the keys of two levels.

    Returns:
        A new dict with the same values, no copies.
    """
    called("compat.utils.flatten_dict")
    flat = _flattened(nested_dict, parent_key, sep)
    if len(nested_dict):
        quirks.met("Q108", "a dict is spread over one level")
    return flat


def _flattened(nested_dict: Mapping[Any, Any], parent_key: str, sep: str) -> dict[Any, Any]:
    flat: dict[Any, Any] = {}
    for key, value in nested_dict.items():
        name = f"{parent_key}{sep}{key}" if parent_key != "" else key
        if isinstance(value, MutableMapping):
            flat.update(_flattened(value, name, sep))
        else:
            flat[name] = value
    return flat


def flatten_combine_dict(train_history: Mapping[Any, Sequence[Any]]) -> dict[Any, Any]:
    """Spread metrics whose values are dicts over ``<metric>_<key>`` lists, level by level.

    Args:
        train_history: Lists of values by metric name.

    Returns:
        A deep copy, without the metrics that have no value. A metric of which only some values are dicts stays as it
        is.

    Raises:
        InvalidTypeError: It is no dict.
    """
    called("compat.utils.flatten_combine_dict")
    if not hasattr(train_history, "items"):
        raise InvalidTypeError(
            f"flatten_combine_dict got {train_history!r}, a {type(train_history).__name__}. Pass a dict of lists."
        )
    flat: dict[Any, Any] = {}
    for name, values in train_history.items():
        if not len(values):
            continue
        # Exactly `dict`, as in the old library: a value of another mapping type stays a value.
        if all(type(value) is dict for value in values):
            if any(values):
                quirks.met("Q108", f"the values of {name!r} are dicts, and spread over one list a key")
            flat.update(deepcopy(combine_dict_elements(_flattened(value, name, "_") for value in values)))
        else:
            flat[name] = deepcopy(values)
    return flat


def create_folder_hierarchy(base_folder_path: Any, folder_names: Iterable[str]) -> tuple[Any, list[Any]]:
    """Make folders inside one another, those that are not there yet.

    Args:
        base_folder_path: A folder that exists. ``~`` is not expanded.
        folder_names: The names, outermost first.

    Returns:
        The path of the innermost folder, and the paths of all, the base first.

    Raises:
        InvalidArgumentError: The base folder does not exist.
    """
    called("compat.utils.create_folder_hierarchy")
    if not Path(base_folder_path).exists():
        raise InvalidArgumentError(
            f"Provided base folder does not exist: {base_folder_path}. Make it before, or pass one that exists."
        )
    paths = [base_folder_path]
    for name in folder_names:
        # posixpath, as in the old library: these paths end up in the keys of cloud storage.
        paths.append(posixpath.join(paths[-1], name))
        Path(paths[-1]).mkdir(exist_ok=True)
    return paths[-1], paths


def zip_folder(source_dir_path: Any, zip_path: Any) -> str:
    """Pack what is in a folder, with empty folders, into a zip archive.

    The archive appears under its name when it is whole; an archive inside the folder does not pack itself.

    Args:
        source_dir_path: The folder; its own name is not part of the names in the archive.
        zip_path: The archive; ``.zip`` is added where it is missing. Folders on the way to it are made.

    Returns:
        The path of the archive.

    Raises:
        FileNotFoundError: There is no such folder.
        NotADirectoryError: It is a file.
    """
    called("compat.utils.zip_folder")
    archive: str = os.fspath(zip_path).removesuffix(".zip") + ".zip"
    folder = Path(source_dir_path)
    # Read before anything is made: a missing folder leaves nothing behind, and the archive is not part of itself.
    os.scandir(folder).close()
    entries = sorted(path for path in folder.rglob("*") if path.resolve() != Path(archive).resolve())
    with _appearing_whole(Path(archive)) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as made:
        for path in entries:
            if path.is_dir() or path.is_file():
                made.write(path, path.relative_to(folder))
    return archive


@contextlib.contextmanager
def _appearing_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside a file, and move what was written there to the file's name at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".unfinished")
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        # mkstemp makes the file for its owner alone; everybody else's archives follow the process's mask.
        mask = os.umask(0)
        os.umask(mask)
        unfinished.chmod(0o666 & ~mask)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def unzip_file(file_path: Any, target_dir_path: Any) -> None:
    """Unpack an archive. Nothing is unpacked if one of its entries would land outside the target.

    Args:
        file_path: A file whose name ends in ``.zip``, ``.tar.gz``, ``.tgz`` or ``.tar``.
        target_dir_path: The folder to unpack into; it is made if need be.

    Raises:
        InvalidArgumentError: Another ending, or an entry that leads out of the target or is no file, folder or link.
        FileNotFoundError: There is no such file.
    """
    called("compat.utils.unzip_file")
    path, name = Path(file_path), os.fspath(file_path).lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as zipped:
            _check_inside(path, zipped.namelist())
            zipped.extractall(target_dir_path)
    elif name.endswith(_TAR_ENDINGS):
        with tarfile.open(path) as packed:
            _check_tar(path, packed.getmembers())
            # Python releases before 3.11.4 have no filters; what they would refuse is refused above.
            filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            packed.extractall(target_dir_path, **filtered)  # type: ignore[arg-type]  # mypy takes it for a path
    else:
        raise InvalidArgumentError(
            f"unzip_file cannot tell what kind of archive {os.fspath(file_path)!r} is. Its name has to end in .zip,"
            f" {', '.join(_TAR_ENDINGS)}."
        )


def _check_inside(archive: Path, names: Iterable[str]) -> None:
    for name in names:
        steps = posixpath.normpath(name.replace("\\", "/"))
        if steps.startswith(("/", "../")) or steps == ".." or Path(name).is_absolute() or ":" in steps.split("/")[0]:
            raise InvalidArgumentError(
                f"{archive} holds an entry {name!r}, which leads out of the folder to unpack into. Nothing was"
                " unpacked; look at where the archive comes from."
            )


def _check_tar(archive: Path, members: Sequence[tarfile.TarInfo]) -> None:
    _check_inside(archive, [member.name for member in members])
    for member in members:
        if member.issym():
            _check_inside(archive, [posixpath.join(posixpath.dirname(member.name), member.linkname)])
        elif member.islnk():
            _check_inside(archive, [member.linkname])
        elif not (member.isfile() or member.isdir()):
            raise InvalidArgumentError(
                f"{archive} holds an entry {member.name!r} that is no file, folder or link. Nothing was unpacked."
            )
