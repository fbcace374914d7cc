"""The modules of the table, and what it says of AIToolbox 1.0 to 1.7, held against recorded facts.

``tests/facts/older_versions.json`` was read from each release by inspection, with stand-ins for packages that are gone.
``modules`` and ``names`` are those that 1.8 has not under the same path, with the first and the last release that had
them; ``signatures`` are those that were others than in 1.8, release by release.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from compat import MessageHandling
from compat._surface import Member, Module, parse, resolve, surface
from tests._dropin.processes import has_package

FOLDER = Path(__file__).with_name("facts")
OLDER: dict[str, Any] = json.loads(FOLDER.joinpath("older_versions.json").read_text(encoding="utf-8"))
NOW: dict[str, dict[str, Any]] = json.loads(FOLDER.joinpath("api_1_8_0.json").read_text(encoding="utf-8"))
RELEASES: list[str] = OLDER["releases"]
ROWS = surface().names
MODULES = surface().modules
# What AIToolbox imported and we do not need. It is handed on where the user has it.
OPTIONAL = {"boto3", "botocore", "google", "matplotlib", "seaborn", "sklearn", "wandb"}
OPTIONAL |= {"nltk", "pyrouge", "rouge", "torchnlp", "torchtext", "transformers"}


def short_of(path: str) -> str:
    return path.removeprefix("aitoolbox.")


@pytest.mark.parametrize("path", OLDER["names"], ids=short_of)
def test_every_name_of_an_older_version_is_in_the_table(path: str) -> None:
    assert is_told(path)


@pytest.mark.parametrize("path", OLDER["modules"], ids=short_of)
def test_every_module_of_an_older_version_is_in_the_table(path: str) -> None:
    assert is_told(path)


@pytest.mark.parametrize("path", ["aitoolbox.torchtrain.train_loop.TrainLoup", "aitoolbox.torchtrain.tl_component"])
def test_control_a_name_that_is_missing_is_reported(path: str) -> None:
    assert not is_told(path)


@pytest.mark.parametrize("path", [path for path, row in ROWS.items() if row.versions], ids=short_of)
def test_versions_of_a_name_are_those_that_had_it(path: str) -> None:
    if path in OLDER["names"]:
        assert ROWS[path].versions == as_versions(*OLDER["names"][path]["versions"])
    else:
        assert ROWS[path].versions == "before 1.0"
        assert not ROWS[path].is_served


@pytest.mark.parametrize("path", [path for path, module in MODULES.items() if module.versions], ids=short_of)
def test_versions_of_a_module_are_those_that_had_it(path: str) -> None:
    if path in OLDER["modules"]:
        assert MODULES[path].versions == as_versions(*OLDER["modules"][path])
    else:
        assert MODULES[path].versions == "before 1.0"
        assert MODULES[path].status == "refused"


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("1.0", "1.3.0", "1.0 - 1.3"),
        ("1.0", "1.0.11", "1.0"),
        ("1.0", "1.0.10", "1.0 - 1.0.10"),
        ("1.4.0", "1.5.1", "1.4 - 1.5.1"),
        ("1.5.2", "1.7.0", "1.5.2 - 1.7"),
    ],
)
def test_a_range_of_versions_is_written_short(first: str, last: str, text: str) -> None:
    assert as_versions(first, last) == text


@pytest.mark.parametrize("path", OLDER["signatures"], ids=short_of)
def test_every_call_that_no_longer_works_is_told(path: str) -> None:
    """Written for an older version, it would mean something else today: the check of old code needs to know."""
    assert list(untold(path, OLDER["signatures"][path])) == []


def test_control_a_call_that_is_not_told_is_reported() -> None:
    path = "aitoolbox.torchtrain.train_loop.train_loop.TrainLoop.should_execute_optimizer_update"
    (found,) = untold(path, [["1.7.0", "1.7.0", ["self", "iteration"]]])
    assert found.endswith("should_execute_optimizer_update in 1.7")
    assert list(untold(path, [["1.7.0", "1.7.0", ["self"]]])) == []
    fit = "aitoolbox.torchtrain.train_loop.train_loop.TrainLoop.fit"
    told = OLDER["signatures"][fit]
    assert list(untold(fit, [["1.5.0", "1.5.0", told[0][2]]])), "it is told, and of other versions"


@pytest.mark.parametrize("path", [path for path, row in ROWS.items() if row.versions and row.is_served], ids=short_of)
def test_what_serves_an_older_name_exists(path: str) -> None:
    assert resolve(ROWS[path].ours) is not None


def test_the_settings_of_messages_are_taken_by_the_message_service() -> None:
    from compat import MessageService

    place = "aitoolbox.torchtrain.train_loop.components.message_passing"
    for setting in MessageHandling:
        value = resolve(ROWS[f"{place}.{setting.name}"].ours)
        assert repr(setting.value) == OLDER["names"][f"{place}.{setting.name}"]["value"]
        service = MessageService()
        service.write_message("key", 1, value)
        assert service.read_messages("key") == [1]
    assert resolve(ROWS[f"{place}.ACCEPTED_SETTINGS"].ours) == tuple(MessageHandling)


def test_versions_of_members_and_arguments_are_well_formed() -> None:
    said = [part for row in ROWS.values() for part in [*row.members.values(), *row.arguments.values()]]
    ranges = {part.versions for part in said if part.versions}
    assert ranges
    assert [text for text in ranges if not as_releases(text)] == []


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: short_of(module.path))
def test_every_module_of_the_table_is_complete(module: Module) -> None:
    assert list(module_problems(module)) == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('status = "gone"', "status"),
        ('now = "aitoolbox.torchtrain.components"\nversions = "1.0"', "nowhere"),
        ('now = "aitoolbox.torchtrain.model"', "versions"),
        ('holds = ["os.no_such_thing"]', "os.no_such_thing"),
        ('holds = ["aitoolbox.torchtrain.model.NoModel"]', "NoModel"),
        ('holds = ["no_such_package.Thing"]', "no_such_package"),
        ('status = "refused"', "reason"),
        ('status = "refused"\nwhy = "So."', "native"),
        ('why = "So."', "reason"),
    ],
)
def test_control_an_incomplete_module_is_reported(fields: str, problem: str) -> None:
    module = parse(f'[names]\n[modules."aitoolbox.a"]\n{fields}\n[additions]\n').modules["aitoolbox.a"]
    assert any(problem in found for found in module_problems(module))


def test_what_an_optional_package_gave_away_is_in_it() -> None:
    """In a process of its own: such packages set environment variables when they are imported."""
    held = {path.partition(" as ")[0] for module in MODULES.values() for path in module.holds}
    paths = sorted(path for path in held if is_optional(path) and has_package(path))
    assert "sklearn.metrics._classification.accuracy_score" in paths
    paths = [path for path in paths if not path.startswith("torch.") or find_spec("tensorboard")]
    program = "import sys; from compat._surface import resolve\nfor path in sys.argv[1:]: resolve(path)"
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# What the checks are made of.


def is_told(path: str) -> bool:
    """Tell whether the table accounts for a path: by a row, an export, or what happened to a module that it is in."""
    parent, _, name = path.rpartition(".")
    if not parent:
        return False
    if path in ROWS or any(row.short == name and parent in row.also for row in ROWS.values()):
        return True
    module = MODULES.get(path)
    if module and (module.now or module.status == "refused" or module.why):
        return True
    above = MODULES.get(parent)
    if above and above.now:
        return is_told(f"{above.now}.{name}")
    return any(
        outer.status == "refused" and path.startswith(f"{outer.path}.") for outer in MODULES.values() if outer.versions
    )


def as_versions(first: str, last: str) -> str:
    """Write a range of releases as the table does: a release that begins or ends its line is called by the line."""

    def short(release: str, end: int) -> str:
        line = ".".join(release.split(".")[:2])
        return line if [other for other in RELEASES if f"{other}.".startswith(f"{line}.")][end] == release else release

    begin, end = short(first, 0), short(last, -1)
    if begin == end:
        return begin
    return first if first == last else f"{begin} - {end}"


def as_releases(text: str) -> list[str]:
    """Return the releases that the table means by a range; none if it is not written as :func:`as_versions` does."""
    return next(
        (
            RELEASES[begin : end + 1]
            for begin in range(len(RELEASES))
            # The longest first: `1.0` is the line, and not its first release alone.
            for end in reversed(range(begin, len(RELEASES)))
            if as_versions(RELEASES[begin], RELEASES[end]) == text
        ),
        [],
    )


def untold(path: str, runs: list[list[Any]]) -> Iterator[str]:
    """Tell which old ways of calling a member mean something else today, and are not in its row."""
    owner, _, member = path.rpartition(".")
    today = NOW[owner]["members"].get(member)
    told = list(said_of(owner, member))
    for first, last, then in runs:
        if today and is_extended(then, today[1]):
            continue
        releases = RELEASES[RELEASES.index(first) : RELEASES.index(last) + 1]
        covered = {release for part in told for release in as_releases(part.versions)}
        if not set(releases) <= covered:
            yield f"{path} in {as_versions(first, last)}"


def is_extended(then: Sequence[str], now: Sequence[str]) -> bool:
    """Tell whether every call that fits the old parameters fits the new ones and means the same."""
    positional = [text for text in then if not text.startswith("**")]
    names_of = [text.partition("=")[0] for text in now]
    same = [text.partition("=")[0] for text in positional] == names_of[: len(positional)]
    optional = all("=" in text or text.startswith("*") for text in now[len(positional) :])
    # A default that another class gives in the same sense, such as that of the message service, is told elsewhere.
    taken = any(text.startswith("**") for text in now) or not any(text.startswith("**") for text in then)
    return same and optional and taken and all(a == b or "=" not in a for a, b in zip(positional, now, strict=False))


def said_of(owner: str, member: str) -> Iterator[Member]:
    """List what the table says of a member and of its arguments, in the row of its class and of the classes below."""
    row = ROWS[owner]
    if member in row.members:
        yield row.members[member]
    for key, said in row.arguments.items():
        if key.startswith(f"{member}(") or (member == "__init__" and not re.match(r"\w+\(", key)):
            yield said
    for base in NOW[owner]["bases"]:
        if base in ROWS:
            yield from said_of(base, member)


def module_problems(module: Module) -> Iterator[str]:
    """Tell what is wrong with a row of a module by itself."""
    if module.status not in ("same", "differs", "refused"):
        yield f"{module.status!r} is no status of a module"
    if (module.status == "same") != (not module.why):
        yield "a reason belongs to every status but 'same'"
    if bool(module.why) != bool(module.native) or module.native.endswith("."):
        yield f"native is {module.native!r}"
    if module.now and not any(path.startswith(f"{module.now}.") for path in ROWS):
        yield f"it moved to {module.now}, which is nowhere"
    if module.now and not module.versions:
        yield "it moved, and no versions had it"
    for held in module.holds:
        path = held.partition(" as ")[0]
        if not is_held(path):
            yield f"{path} cannot be handed on"


def is_held(path: str) -> bool:
    """Tell whether something that a module gave away is an old name, an optional package, or there."""
    if path.startswith("aitoolbox."):
        return path in ROWS or any(old.startswith(f"{path}.") for old in ROWS)
    if is_optional(path):
        return True
    try:
        return resolve(path) is not None
    except ImportError:
        return False


def is_optional(path: str) -> bool:
    # torch has the second, which needs a package of its own.
    return path.partition(".")[0] in OPTIONAL or path.startswith("torch.utils.tensorboard.")
