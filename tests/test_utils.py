"""Small helpers; what is expected was seen on AIToolbox 1.8.0 where that does not fail."""

import io
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from compat import quirks
from compat.exceptions import CompatError
from compat.utils import (
    combine_dict_elements,
    combine_prediction_metadata_batches,
    copy_function,
    create_folder_hierarchy,
    flatten_combine_dict,
    flatten_dict,
    flatten_list_of_lists,
    function_exists,
    is_empty_function,
    unzip_file,
    zip_folder,
)


def passes() -> None:
    pass


def documented() -> None:
    """Nothing but this."""


def dots() -> None: ...


def returns() -> None:
    return


def returns_none() -> None:
    return None


def raises() -> None:
    raise NotImplementedError


def returns_five() -> int:
    return 5


def assigns() -> None:
    unused = 1  # noqa: F841


def calls() -> None:
    passes()


class Holder:
    def empty(self, argument: int) -> None:
        """Nothing but this."""

    def full(self) -> "Holder":
        return self


EMPTY = {
    "pass": passes,
    "docstring": documented,
    "dots": dots,
    "bare return": returns,
    "return None": returns_none,
    "lambda": lambda: None,
    "bound method": Holder().empty,
    "function of a class": Holder.empty,
}
FULL = {
    "raise": raises,
    "return of a value": returns_five,
    "assignment": assigns,
    "call": calls,
    "bound method": Holder().full,
    "partial of an empty function": partial(passes),
    "mock": Mock(),
    "builtin": print,
    "lambda with a value": lambda: 0,
}


@pytest.mark.parametrize("function", EMPTY.values(), ids=EMPTY.keys())
def test_empty(function: Any) -> None:
    assert is_empty_function(function) is True


@pytest.mark.parametrize(
    ("body", "is_empty"),
    [
        ("'text'\n pass", True),
        ("pass; pass", True),
        ("pass\n pass", False),
        ("'text'\n pass\n pass", False),
        ("pass\n return", False),
        ("'text'\n ...\n ...", False),
    ],
)
def test_several_lines_without_an_effect_are_as_in_the_old_library(body: str, is_empty: bool) -> None:
    made: dict[str, Any] = {}
    exec(f"def function():\n {body}", made)  # a formatter would make one line of them
    assert is_empty_function(made["function"]) is is_empty


@pytest.mark.parametrize("function", FULL.values(), ids=FULL.keys())
def test_not_empty(function: Any) -> None:
    assert is_empty_function(function) is False


@pytest.mark.parametrize(
    ("owner", "name", "exists"),
    [
        (Holder(), "full", True),
        (Holder, "full", True),
        (None, "__str__", True),
        (Holder(), "missing", False),
        (Mock(attribute=1), "attribute", False),
    ],
)
def test_function_exists(owner: Any, name: str, exists: bool) -> None:
    assert function_exists(owner, name) is exists


def test_copied_function_is_another_with_the_same_of_everything() -> None:
    base = 3

    def add(a: int, b: int = 2, *, c: int = 4) -> int:
        """Add."""
        return a + b + c + base

    add.mark = [1]  # type: ignore[attr-defined]  # functions take attributes
    copied: Any = copy_function(add)
    assert copied is not add
    assert copied(1) == 10
    assert copied(1, c=0) == 6
    assert (copied.__name__, copied.__doc__, copied.__qualname__) == (add.__name__, add.__doc__, add.__qualname__)
    assert copied.__wrapped__ is add
    assert copied.mark is add.mark
    assert copied.__closure__ == add.__closure__


def test_copied_method_is_not_bound() -> None:
    copied = copy_function(Holder().full)
    assert copied("anything") == "anything"


@pytest.mark.parametrize("callable_", [print, partial(passes), Holder, None])
def test_what_has_no_code_is_not_copied(callable_: Any) -> None:
    with pytest.raises(AttributeError, match="without `__code__`") as caught:
        copy_function(callable_)
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        (None, None),
        ([], []),
        ([[1], [2, 3]], [1, 2, 3]),
        ([[[1]], [2]], [[1], 2]),
        (["ab", "c"], ["a", "b", "c"]),
        ([(1,), {2: 3}], [1, 2]),
    ],
)
def test_flatten_list_of_lists(nested: Any, flat: Any) -> None:
    assert flatten_list_of_lists(nested) == flat


@pytest.mark.parametrize("nested", [5, [1, 2], [None]])
def test_what_cannot_be_iterated_is_not_flattened(nested: Any) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        flatten_list_of_lists(nested)


def test_metadata_of_batches_is_joined_by_the_kind_of_the_first() -> None:
    first = {"list": [1], "tensor": torch.ones(1), "array": np.ones(1)}
    second = {"list": [2, 3], "tensor": torch.zeros(2), "array": np.zeros(2)}
    joined = combine_prediction_metadata_batches([first, second])
    assert joined["list"] == [1, 2, 3]
    assert joined["tensor"].tolist() == [1, 0, 0]
    assert joined["array"].tolist() == [1, 0, 0]
    assert combine_prediction_metadata_batches([]) == {}


@pytest.mark.parametrize("value", [1, (1,), "a"])
def test_metadata_that_cannot_be_joined_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="Metadata 'a' holds a") as caught:
        combine_prediction_metadata_batches([{"a": value}])
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("batches", [None, [None], [3], 3, ["ab"]])
def test_metadata_that_are_no_dicts_are_refused_by_the_type_of_the_old_error(batches: Any) -> None:
    with pytest.raises(TypeError, match="Pass a list with one dict a batch") as caught:
        combine_prediction_metadata_batches(batches)
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("history", [None, 3])
def test_a_history_that_is_no_dict_is_refused_by_the_type_of_the_old_error(history: Any) -> None:
    with pytest.raises(TypeError, match="Pass a dict of lists") as caught:
        flatten_combine_dict(history)
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize(
    ("dicts", "combined"),
    [
        ([], {}),
        ([{}], {}),
        ([{"a": 1}, {"a": 2, "b": 3}], {"a": [1, 2], "b": [3]}),
        ([{"a": [1]}, {"a": [2]}], {"a": [[1], [2]]}),
    ],
)
def test_combine_dict_elements(dicts: Any, combined: Any) -> None:
    assert combine_dict_elements(dicts) == combined


@pytest.mark.parametrize(
    ("nested", "flat"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a": {"b": {"c": 1}, "d": 2}, "e": 3}, {"a_b_c": 1, "a_d": 2, "e": 3}),
        ({0: {"a": 1}, 1: 2}, {"0_a": 1, 1: 2}),
        ({"a": {}}, {}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1}]}),
    ],
)
def test_flatten_dict(nested: Any, flat: Any) -> None:
    assert flatten_dict(nested) == flat


def test_flatten_dict_with_another_separator_under_a_key() -> None:
    assert flatten_dict({"a": {"b": 1}}, "top", ".") == {"top.a.b": 1}


@pytest.mark.parametrize(
    ("history", "flat", "corrected"),
    [
        ({}, {}, 0),
        ({"a": [1, 2], "b": []}, {"a": [1, 2]}, 0),
        ({"a": (1, 2)}, {"a": (1, 2)}, 0),
        ({"a": [1, {"x": 2}]}, {"a": [1, {"x": 2}]}, 0),
        ({"a": [{}]}, {}, 0),
        ({"a": [{"x": 1}, {"x": 2}]}, {"a_x": [1, 2]}, 1),
        ({"a": [{"x": {"y": 1}}, {"z": 2}], "b": [{"c": 3}]}, {"a_x_y": [1], "a_z": [2], "b_c": [3]}, 2),
    ],
)
def test_flatten_combine_dict(history: Any, flat: Any, corrected: int) -> None:
    assert flatten_combine_dict(history) == flat
    assert quirks.counts().get("Q108", 0) == corrected


def test_flattened_values_are_copies() -> None:
    history: dict[str, list[Any]] = {"a": [[1]], "b": [{"x": [2]}]}
    flat = flatten_combine_dict(history)
    flat["a"][0].append(9)
    flat["b_x"][0].append(9)
    assert history == {"a": [[1]], "b": [{"x": [2]}]}


def test_folders_in_one_another(tmp_path: Path) -> None:
    base = str(tmp_path)
    innermost, paths = create_folder_hierarchy(base, ["a", "b"])
    assert innermost == f"{base}/a/b"
    assert paths == [base, f"{base}/a", f"{base}/a/b"]
    assert Path(innermost).is_dir()
    assert create_folder_hierarchy(base, ["a", "b"]) == (innermost, paths), "folders that exist are left alone"
    assert create_folder_hierarchy(base, []) == (base, [base])


def test_folders_need_a_base(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Provided base folder does not exist: .*nowhere") as caught:
        create_folder_hierarchy(str(tmp_path / "nowhere"), ["a"])
    assert isinstance(caught.value, CompatError)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, one in a folder, and an empty folder."""
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "top.txt").write_text("top")
    (source / "inner" / "deep.txt").write_text("deep")
    return source


NAMES = ["empty/", "inner/", "inner/deep.txt", "top.txt"]


@pytest.mark.parametrize(
    ("asked", "made"),
    [("out", "out.zip"), ("out.zip", "out.zip"), ("out.tar", "out.tar.zip"), ("new/folder/out", "new/folder/out.zip")],
)
def test_zip_folder(folder: Path, tmp_path: Path, asked: str, made: str) -> None:
    archive = zip_folder(str(folder), str(tmp_path / asked))
    assert archive == str(tmp_path / made)
    with zipfile.ZipFile(archive) as zipped:
        assert sorted(zipped.namelist()) == NAMES
    left = {path.name for path in Path(archive).parent.iterdir()} - {"source", Path(archive).name}
    assert left == set(), "nothing unfinished is left"


def test_an_archive_in_the_folder_does_not_hold_itself(folder: Path) -> None:
    for _ in range(2):
        with zipfile.ZipFile(zip_folder(folder, folder / "own.zip")) as zipped:
            assert sorted(zipped.namelist()) == NAMES


def test_zip_of_what_is_no_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        zip_folder(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(NotADirectoryError):
        zip_folder(folder / "top.txt", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_failing_zip_leaves_the_old_archive(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Path(zip_folder(folder, tmp_path / "out"))
    before = archive.read_bytes()
    monkeypatch.setattr(zipfile.ZipFile, "write", Mock(side_effect=OSError("the disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        zip_folder(folder, tmp_path / "out")
    assert archive.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.zip", "source"]


def unpacked(target: Path) -> list[str]:
    return sorted(str(path.relative_to(target)) for path in target.rglob("*"))


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP", "a.tar.gz", "a.tgz", "a.tar"])
def test_unzip_file(folder: Path, tmp_path: Path, name: str) -> None:
    archive = tmp_path / name
    if name.lower().endswith(".zip"):
        Path(zip_folder(folder, tmp_path / "packed")).rename(archive)
    else:
        with tarfile.open(archive, "w" if name.endswith(".tar") else "w:gz") as packed:
            for path in folder.iterdir():
                packed.add(path, path.name)
    unzip_file(str(archive), str(tmp_path / "target"))
    assert unpacked(tmp_path / "target") == ["empty", "inner", "inner/deep.txt", "top.txt"]
    assert (tmp_path / "target" / "inner" / "deep.txt").read_text() == "deep"


@pytest.mark.parametrize("name", ["a.rar", "a.txt", "zip"])
def test_other_endings_are_refused_and_not_ignored(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"has to end in \.zip, \.tar\.gz, \.tgz, \.tar") as caught:
        unzip_file(str(tmp_path / name), str(tmp_path))
    assert isinstance(caught.value, CompatError)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_missing_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        unzip_file(tmp_path / name, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def packed_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for member in (tarfile.TarInfo("good.txt"), *members):
            packed.addfile(member, io.BytesIO())
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(entry("../out.txt"), id="above"),
        pytest.param(entry("a/../../out.txt"), id="above on a detour"),
        pytest.param(entry("/out-of-place.txt"), id="absolute"),
        pytest.param(entry("link", tarfile.SYMTYPE, ".."), id="link to above"),
        pytest.param(entry("a/link", tarfile.SYMTYPE, "../../out"), id="link from below"),
        pytest.param(entry("link", tarfile.SYMTYPE, "/etc/passwd"), id="absolute link"),
        pytest.param(entry("link", tarfile.LNKTYPE, "../out.txt"), id="hard link"),
        pytest.param(entry("pipe", tarfile.FIFOTYPE), id="no file at all"),
    ],
)
def test_tar_that_leads_out_is_refused_before_anything_is_unpacked(tmp_path: Path, member: tarfile.TarInfo) -> None:
    archive = packed_tar(tmp_path / "a.tar.gz", member)
    with pytest.raises(ValueError, match="Nothing was unpacked") as caught:
        unzip_file(archive, tmp_path / "target")
    assert isinstance(caught.value, CompatError)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_control_tar_with_a_link_inside_is_unpacked(tmp_path: Path) -> None:
    members = (entry("a/c.txt"), entry("a/link", tarfile.SYMTYPE, "../good.txt"))
    unzip_file(packed_tar(tmp_path / "a.tar.gz", *members), tmp_path / "target")
    assert unpacked(tmp_path / "target") == ["a", "a/c.txt", "a/link", "good.txt"]


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/out.txt", "..\\out.txt", "C:/out.txt"])
def test_zip_that_leads_out_is_refused_before_anything_is_unpacked(tmp_path: Path, name: str) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("good.txt", "good")
        zipped.writestr(name, "bad")
    with pytest.raises(ValueError, match="leads out of the folder"):
        unzip_file(archive, tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
