"""The public attributes of new objects, held against recorded facts of AIToolbox 1.8.0.

``tests/facts/attributes_1_8_0.json`` was read from objects of the reference: how they were made, and their attributes.
``"..."`` stands for a value that is neither plain nor empty.
"""

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from compat._surface import homes, resolve, surface

FACTS: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("facts").joinpath("attributes_1_8_0.json").read_text(encoding="utf-8")
)


def attributes_of(made_by: str, also: Iterable[str] = ()) -> dict[str, Any]:
    """Make an object as the reference's was made, and read its public attributes, and some more by name."""
    used = set(re.findall(r"\w+", made_by)) & set(homes())
    made = eval(made_by, {"torch": torch, "nn": torch.nn} | {name: resolve(homes()[name]) for name in used})
    attributes = {name: value for name, value in vars(made).items() if not name.startswith("_")}
    # An attribute of the old class may be a property here.
    attributes |= {name: getattr(made, name) for name in also if isinstance(getattr(type(made), name, None), property)}
    return {name: as_fact(value) for name, value in attributes.items()}


def as_fact(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | dict) and not value:
        return value
    return "..."


def problems(name: str, made: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    """Compare the attributes of an object with the recorded ones; the table may list more."""
    found = [f"{name}.{key} is missing" for key in recorded if key not in made]
    found += [
        f"{name}.{key} is {made[key]!r}, was {value!r}"
        for key, value in recorded.items()
        if key in made and value != "..." and (made[key] != value or type(made[key]) is not type(value))
    ]
    listed = surface().additions
    return found + [
        f"{name}.{key} is no addition of the table"
        for key in made
        if key not in recorded and f"{homes()[name]}.{key}" not in listed and not hasattr(torch.nn.Module, key)
    ]


@pytest.mark.parametrize("name", FACTS)
def test_attributes_of_a_new_object(name: str) -> None:
    fact = FACTS[name]
    assert problems(name, attributes_of(fact["made_by"], fact["attributes"]), fact["attributes"]) == []


def test_every_class_is_compared() -> None:
    # The last one is made in a group of processes.
    no_objects = {"TTBasicMultiGPUModel", "MessageHandling", "TTDistributedDataParallel"}
    served = {row.short: resolve(row.ours) for row in surface().names.values() if row.is_served and not row.versions}
    classes = {name for name, value in served.items() if isinstance(value, type) and not inspect.isabstract(value)}
    assert classes - no_objects == set(FACTS)


@pytest.mark.parametrize("name", [name for name in surface().additions if not name.endswith("=)")])
def test_every_added_name_exists(name: str) -> None:
    """A module, a name of the package root, or an attribute of an object."""
    head, _, attribute = name.rpartition(".")
    owner = head.rpartition(".")[2]
    if owner in FACTS:
        assert attribute in attributes_of(FACTS[owner]["made_by"]) or hasattr(resolve(head), attribute)
    else:
        assert resolve(name) is not None


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ({"patience": 0}, "EarlyStopping.monitor is missing"),
        ({"patience": 1, "monitor": "loss"}, "EarlyStopping.patience is 1, was 0"),
        ({"patience": False, "monitor": "loss"}, "EarlyStopping.patience is False, was 0"),
        ({"patience": 0, "monitor": "loss", "extra": 1}, "EarlyStopping.extra is no addition of the table"),
    ],
)
def test_control_what_is_wrong_is_reported(made: dict[str, Any], problem: str) -> None:
    assert problems("EarlyStopping", made, {"patience": 0, "monitor": "..."}) == [problem]
