"""The table, the package root and the signatures, held against recorded facts of AIToolbox 1.8.0.

``tests/facts/api_1_8_0.json`` was read from the reference by inspection, with stand-ins for optional packages. A
parameter is written ``name``, ``name=default``, ``*args``, ``**kwargs`` or ``!keyword_only=default``. Modules, and what
older versions had, are in ``test_surface_older.py``.
"""

import ast
import enum
import inspect
import json
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

import compat
from compat._surface import SERVED, STATUSES, Member, Name, homes, parse, resolve, surface
from compat.migrate.own import class_members
from compat.quirks import QUIRKS

FACTS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("facts").joinpath("api_1_8_0.json").read_text(encoding="utf-8")
)
ROWS = surface().names.values()
OURS = [row.old for row in ROWS if row.is_served and not row.versions]
ATTRIBUTES: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("facts").joinpath("attributes_1_8_0.json").read_text(encoding="utf-8")
)
CLASSES = [old for old in OURS if FACTS[old]["kind"] == "class"]
FUNCTIONS = [old for old in OURS if FACTS[old]["kind"] == "function"]
VALUES = [old for old in OURS if FACTS[old]["kind"] == "value"]
SIGILS = {
    inspect.Parameter.POSITIONAL_ONLY: "/",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "!",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def short(old: str) -> str:
    return old.rpartition(".")[2]


def test_table_and_facts_have_the_same_names() -> None:
    assert sorted(row.old for row in ROWS if not row.versions) == sorted(FACTS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.old.removeprefix("aitoolbox."))
def test_every_row_is_complete(row: Name) -> None:
    assert list(row_problems(row)) == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.members], ids=lambda row: row.short)
def test_members_of_the_table_are_members_of_the_old_class(row: Name) -> None:
    told = {name for name, member in row.members.items() if not member.versions}
    # What is only said otherwise in Lightning may be an attribute of instances, of which the facts know nothing.
    own = class_members(row.ours) if row.ours else None
    plain = {name for name in told if row.members[name].status == "same" and own and name in own.owners}
    assert told - plain <= members_of(row.old)
    assert plain <= {name for name in plain if row.members[name].native or row.members[name].served}
    # An alias says it of what it stands for.
    worst = max([row.members[name].status for name in told], key=STATUSES.index, default="same")
    assert row.status != "same" or worst == "same", "a class is not the same when one of its members is not"


@pytest.mark.parametrize("row", [row for row in ROWS if row.arguments], ids=lambda row: row.short)
def test_arguments_of_the_table_are_parameters_of_the_old_function(row: Name) -> None:
    """Those of 1.8 that have a name; a function with **kwargs hands them on to one that has it."""
    fact = FACTS[row.old]
    for key, argument in row.arguments.items():
        if argument.versions:
            continue
        member, parameter = split_key(key)
        recorded = fact["members"][member][1] if fact["kind"] == "class" else fact["parameters"]
        if any(text.startswith("**") for text in recorded):
            recorded = [text for _, *more in fact["members"].values() if more for text in more[0]]
        assert parameter in {text.lstrip("!").partition("=")[0] for text in recorded}, key


def test_what_an_argument_follows_is_in_the_table() -> None:
    followed = [(row, said.follows) for row in ROWS for said in row.arguments.values() if said.follows]
    assert followed
    assert [key for row, key in followed if key not in row.arguments] == []


def test_every_quirk_is_in_the_table() -> None:
    """A quirk that shows nowhere would be one that nobody can find; those of the package as a whole have no name."""
    listed = {quirk for row in ROWS for quirk in row.quirks}
    listed |= {quirk for row in ROWS for member in row.members.values() for quirk in member.quirks}
    assert {quirk.id for quirk in QUIRKS.values() if quirk.theme != "packaging"} <= listed


def test_all_is_alphabetical_and_complete() -> None:
    assert compat.__all__ == sorted(set(compat.__all__))
    assert set(compat.__all__) == set(homes())
    assert set(compat.__all__) <= set(dir(compat))


@pytest.mark.parametrize("name", compat.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(compat, name) is resolve(homes()[name])


def test_unknown_name_of_the_package() -> None:
    with pytest.raises(AttributeError, match="module 'compat' has no attribute 'TrainLoup'"):
        _ = compat.TrainLoup  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_homes() -> None:
    """What the imports under TYPE_CHECKING say is what the table says at run time."""
    tree = ast.parse(Path(compat.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: f"{node.module}.{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == dict(homes())


@pytest.mark.parametrize("old", CLASSES + FUNCTIONS, ids=short)
def test_every_old_name_is_defined_where_the_table_says(old: str) -> None:
    row = surface().names[old]
    assert resolve(row.ours).__module__ == row.ours.rpartition(".")[0]


@pytest.mark.parametrize("old", VALUES, ids=short)
def test_every_constant_has_its_old_value(old: str) -> None:
    assert repr(resolve(surface().names[old].ours)) == FACTS[old]["value"]


@pytest.mark.parametrize("old", FUNCTIONS, ids=short)
def test_function_signature(old: str) -> None:
    ours = surface().names[old].ours
    assert signature_problems(ours, resolve(ours), FACTS[old]["parameters"]) == []


@pytest.mark.parametrize("old", CLASSES, ids=short)
def test_class_members_and_their_signatures(old: str) -> None:
    assert list(class_problems(surface().names[old].ours, FACTS[old]["members"])) == []


@pytest.mark.parametrize("old", CLASSES, ids=short)
def test_class_bases_and_abstract_methods(old: str) -> None:
    cls = resolve(surface().names[old].ours)
    bases = [resolve_old(base) for base in FACTS[old]["bases"]]
    assert [base for base in cls.__mro__ if base in bases] == bases
    assert sorted(getattr(cls, "__abstractmethods__", ())) == FACTS[old]["abstract"]


def test_values_of_the_message_settings() -> None:
    from compat import MessageHandling

    assert {setting.name: setting.value for setting in MessageHandling} == {
        "KEEP_FOREVER": "keep_forever",
        "UNTIL_END_OF_EPOCH": "until_end_of_epoch",
        "UNTIL_READ": "until_read",
        "OVERWRITE": "overwrite",
    }


def test_whatever_is_public_is_in_the_table() -> None:
    """No underscore means that users import it: then it is an old name or a listed addition."""
    listed = {row.ours for row in ROWS} | set(surface().additions)
    strangers = [
        f"{module}.{name}"
        for module in public_modules()
        if module not in listed
        for name, value in vars(import_module(module)).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module
        and f"{module}.{name}" not in listed
    ]
    assert strangers == []


@pytest.mark.parametrize("old", CLASSES, ids=short)
def test_whatever_a_class_has_more_is_in_the_table(old: str) -> None:
    ours = surface().names[old].ours
    cls = resolve(ours)
    known = {member for fact in FACTS.values() for member in fact.get("members", ())}
    # What the old object had as an attribute may be a property here.
    known |= {name for base in cls.__mro__ for name in ATTRIBUTES.get(base.__name__, {}).get("attributes", ())}
    more = {
        f"{ours}.{name}"
        for base in cls.__mro__
        if base.__module__.startswith("compat")
        for name in vars(base)
        if not name.startswith("_") and name not in known
    }
    assert sorted(more - set(surface().additions)) == []


@pytest.mark.parametrize(
    "native",
    sorted(
        {row.native for row in ROWS}
        | {module.native for module in surface().modules.values()}
        | {part.native for row in ROWS for part in [*row.members.values(), *row.arguments.values()] if part.native}
    ),
)
def test_native_names_exist(native: str) -> None:
    """What the table tells users to write in Lightning is there to be imported."""
    for path in re.findall(r"\b(?:lightning|torch|torchmetrics)(?:\.\w+)+", native):
        assert resolve_member(path) is not None


@pytest.mark.parametrize("name", [name for name in surface().additions if name.endswith("=)")])
def test_every_added_parameter_exists(name: str) -> None:
    path, _, parameter = name.removesuffix("=)").partition("(")
    function = resolve_member(path)
    assert inspect.signature(function).parameters[parameter].kind is inspect.Parameter.KEYWORD_ONLY


# The same checks must see what is wrong.


@pytest.mark.parametrize(
    ("recorded", "problem"),
    [
        (["loader", "epochs"], "parameters"),
        (["loader", "epochs=2", "*rest"], "epochs=1"),
        (["epochs=1", "loader", "*rest"], "parameters"),
        (["loader", "epochs=1", "*rest", "**more"], "**more"),
    ],
    ids=["one missing", "another default", "another order", "one too many"],
)
def test_control_a_wrong_signature_is_reported(recorded: list[str], problem: str) -> None:
    def fit(loader: object, epochs: int = 1, *rest: object) -> None: ...

    assert signature_problems("fit", fit, ["loader", "epochs=1", "*rest"]) == []
    (found,) = signature_problems("fit", fit, recorded)
    assert problem in found


def test_control_an_unlisted_parameter_is_reported() -> None:
    def fit(loader: object, *, speed: int = 1) -> None: ...

    assert signature_problems("fit", fit, ["loader"]) == ["fit(speed=) is no addition of the table"]


def test_control_a_missing_member_is_reported() -> None:
    assert list(class_problems("compat.train_loop.TrainLoop", {"no_such": ["method", ["self"]]})) == [
        "compat.train_loop.TrainLoop.no_such is missing"
    ]
    (found,) = class_problems("compat.train_loop.TrainLoop", {"fit": ["static", []]})
    assert "is a method, was a static" in found


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('ours = "compat.b.B"\nstatus = "fine"\nnative = "C"', "status"),
        ('ours = "compat.b.B"\nstatus = "same"\nwhy = "So."\nnative = "C"', "a reason belongs"),
        ('ours = "compat.b.B"\nstatus = "differs"\nwhy = "so"\nnative = "C"', "no sentence"),
        ('ours = "compat.b.B"\nstatus = "differs"\nwhy = "As fit."\nnative = "C"', "elsewhere"),
        ('ours = "compat.b.B"\nstatus = "differs"\nwhy = "Odd: see the members."\nnative = "C"', "elsewhere"),
        (
            'ours = "compat.b.B"\nstatus = "same"\nnative = "C"\nmembers.x = { status = "same", native = "D." }',
            "native",
        ),
        ('status = "later"\nnative = "C"', "a reason belongs"),
        ('ours = "compat.b.B"\nstatus = "refused"\nwhy = "So."\nnative = "C"', "home"),
        ('status = "same"\nnative = "C"', "home"),
        ('ours = "compat.b.C"\nstatus = "same"\nnative = "C"', "alias"),
        ('ours = "compat.b.B"\nstatus = "same"\nnative = "C."', "native"),
        ('ours = "compat.b.B"\nstatus = "same"\nnative = ""', "native"),
        ('ours = "compat.b.B"\nstatus = "same"\nserved = "gpu"\nnative = "C"', "served"),
        ('ours = "compat.b.B"\nstatus = "same"\nquirks = ["Q2", "Q01"]\nnative = "C"', "quirk ids"),
    ],
)
def test_control_an_incomplete_row_is_reported(fields: str, problem: str) -> None:
    row = parse(f'[names."a.B"]\n{fields}\n[additions]\n').names["a.B"]
    assert any(problem in found for found in row_problems(row))


def test_control_a_misspelt_field_is_reported() -> None:
    with pytest.raises(TypeError, match="statsu"):
        parse('[names."a.B"]\nours = "compat.b.B"\nnative = "C"\nstatsu = "same"\n[additions]\n')


# What the checks are made of.


def row_problems(row: Name) -> Iterator[str]:
    """Tell what is wrong with a row of the table by itself."""
    said: Mapping[str, Name | Member] = {row.short: row, **row.members, **row.arguments}
    for name, what in said.items():
        if what.status not in STATUSES:
            yield f"{name}: {what.status} is no status"
        if (what.status == "same") != (not what.why):
            yield f"{name}: a reason belongs to every status but 'same'"
        if what.why and not what.why.endswith("."):
            yield f"{name}: {what.why!r} is no sentence"
        if re.match(r"As \w+[ .(]|See ", what.why) or "see the " in what.why:
            yield f"{name}: {what.why!r} sends the reader elsewhere"
        if what is not row and what.native.endswith("."):
            yield f"{name}: native is {what.native!r}"
        if what.served not in (*SERVED, *([] if what is row else [""])):
            yield f"{name}: served by {what.served!r}"
        well_formed = {quirk for quirk in what.quirks if re.fullmatch(r"Q\d{2,3}", quirk)}
        if list(what.quirks) != sorted(well_formed, key=lambda quirk: int(quirk[1:])):
            yield f"{name}: quirk ids {what.quirks}"
    if not row.native or row.native.endswith("."):
        yield f"native is {row.native!r}: words that end a sentence, without its period"
    if row.is_served != row.ours.startswith("compat."):
        yield f"a name has a home when it is served, and only then: {row.ours!r}"
    if row.is_alias and not (row.versions and row.status == "differs"):
        yield "an alias is for a name that 1.8 has no more, and says so"


def split_key(key: str) -> tuple[str, str]:
    """Split a key of ``arguments`` into the member and the parameter."""
    member, _, inner = key.rstrip(")").partition("(") if re.match(r"\w+\(", key) else ("__init__", "", key)
    return member, re.split("[=:]", inner)[0]


def members_of(old: str) -> set[str]:
    """List the members of an old class, inherited ones included."""
    fact = FACTS.get(old, {})
    return set(fact.get("members", ())).union(*(members_of(base) for base in fact.get("bases", ())))


def signature_problems(path: str, function: Callable[..., Any], recorded: list[str]) -> list[str]:
    """Compare a function with its recorded parameters; the table may allow keyword-only ones beside them."""
    parameters = list(inspect.signature(function).parameters.values())
    old_keywords = {text[1:].partition("=")[0] for text in recorded if text.startswith("!")}
    new = [
        parameter
        for parameter in parameters
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name not in old_keywords
    ]
    problems = [
        f"{path}({parameter.name}=) is no addition of the table"
        for parameter in new
        if f"{path}({parameter.name}=)" not in surface().additions or parameter.default is inspect.Parameter.empty
    ]
    found = [as_text(parameter) for parameter in parameters if parameter not in new]
    if found != recorded:
        problems.append(f"{path}: parameters are {found}, were {recorded}")
    return problems


def class_problems(ours: str, members: dict[str, list[Any]]) -> Iterator[str]:
    """Compare a class with its recorded members."""
    cls = resolve(ours)
    for name, (kind, *recorded) in members.items():
        value = inspect.getattr_static(cls, name, None)
        if value is None:
            yield f"{ours}.{name} is missing"
        elif kind != (now := kind_of(value)):
            yield f"{ours}.{name} is a {now}, was a {kind}"
        elif recorded:
            yield from signature_problems(f"{ours}.{name}", getattr(cls, name), recorded[0])


def kind_of(value: object) -> str:
    if isinstance(value, staticmethod):
        return "static"
    if isinstance(value, property):
        return "property"
    return "method" if inspect.isfunction(value) else "attr"


def as_text(parameter: inspect.Parameter) -> str:
    """Write a parameter as the facts do: functions by name, enum members by class and name."""
    text = SIGILS[parameter.kind] + parameter.name
    default = parameter.default
    if default is inspect.Parameter.empty:
        return text
    if parameter.name == "num_gpus" and default == torch.cuda.device_count():
        return f"{text}=torch.cuda.device_count()"
    if inspect.isfunction(default):
        return f"{text}={default.__name__}"
    return f"{text}={default}" if isinstance(default, enum.Enum) else f"{text}={default!r}"


def resolve_old(path: str) -> Any:
    """Find the class that a recorded base names: ours where it is an old name, else the foreign class."""
    row = surface().names.get(path)
    return resolve(row.ours if row else path)


def public_modules() -> list[str]:
    """List the modules of the package without an underscore in their path; ``migrate`` is a program, not an API."""
    found = pkgutil.walk_packages(compat.__path__, "compat.")
    paths = [module.name.split(".") for module in found]
    return [
        ".".join(path) for path in paths if "migrate" not in path and not any(part.startswith("_") for part in path)
    ]


def resolve_member(path: str) -> Any:
    """Find a module or what it holds, or a function of a class."""
    head, _, member = path.rpartition(".")
    try:
        return resolve(path)
    except ImportError:
        return getattr(resolve(head), member)
