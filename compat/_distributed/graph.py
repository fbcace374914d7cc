"""What a loop holds: the things that can change, and the way to each of them from the loop.

The parent and a worker have copies of the same things. A worker notes at its start the path to each, and says by that
path at its end what became of which; the parent follows the path to its own.
"""

import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["Change", "Path", "Things", "fill", "follow", "kind_of"]

# How to get from one thing to the next: by an attribute, an index or a key.
Step = tuple[str, Any]
Path = tuple[Step, ...]

_LISTS = (list, deque)
_DICTS = (dict, OrderedDict, defaultdict, Counter)
# What stays in its process: the parent's own takes its place.
_STAYING = (DataLoader, Dataset, Sampler)


@dataclass
class Change:
    """What became of one thing.

    Attributes:
        path: The way to it.
        kind: What kind of thing it is.
        content: What it holds by now.
        kept: Attributes or keys of which the parent is to keep its own, since they cannot be sent.
    """

    path: Path
    kind: str
    content: Any
    kept: list[Any] = field(default_factory=list)


def kind_of(thing: Any) -> str:
    """Tell how a thing holds what it holds; nothing for one that cannot change, or cannot be looked into.

    Args:
        thing: Anything.
    """
    kind = type(thing)
    if kind in _LISTS:
        return "list"
    if kind in _DICTS:
        return "dict"
    if kind is set:
        return "set"
    if isinstance(thing, torch.Tensor):
        return "tensor" if kind in (torch.Tensor, nn.Parameter) else ""
    if kind is np.ndarray:
        return "" if thing.dtype.hasobject else "array"
    if isinstance(thing, _STAYING):
        return "stays"
    if isinstance(thing, torch.Generator):
        return "generator"
    if isinstance(thing, torch.optim.Optimizer):
        return "optimizer"
    if isinstance(thing, torch.jit.ScriptModule | torch.amp.GradScaler):
        return "stateful"
    if isinstance(thing, nn.Module):
        return "object"
    return "object" if _has_plain_state(thing) else ""


def _has_plain_state(thing: Any) -> bool:
    """Tell whether all that an object is are its attributes: a result package is, a function is not."""
    if not hasattr(thing, "__dict__") or isinstance(thing, type):
        return False
    kind: Any = type(thing)
    # Functions, modules and the like say themselves how they are pickled, or that they cannot be.
    plain = kind.__reduce_ex__ is object.__reduce_ex__ and kind.__reduce__ is object.__reduce__
    return bool(plain and kind.__module__ not in ("builtins", "types", "_thread", "_io"))


def _parts(thing: Any, kind: str) -> Iterator[tuple[Step, Any]]:
    """Yield what a thing holds, and the step to each."""
    if kind == "list" or type(thing) is tuple:
        yield from ((("item", index), part) for index, part in enumerate(thing))
    elif kind == "dict":
        yield from ((("key", key), part) for key, part in thing.items() if isinstance(key, str | int | float | tuple))
    elif kind == "object":
        yield from ((("attribute", name), part) for name, part in vars(thing).items())
    elif kind == "optimizer":
        yield ("attribute", "param_groups"), thing.param_groups


def _step(thing: Any, step: Step) -> Any:
    how, name = step
    if how == "attribute":
        return vars(thing)[name]
    return thing[name]


def follow(roots: Mapping[str, Any], path: Path) -> Any:
    """Follow a path.

    Args:
        roots: Where paths begin, by name.
        path: The path; its first step names a root.

    Raises:
        LookupError: There is no such thing.
    """
    thing = roots[path[0][1]]
    try:
        for step in path[1:]:
            thing = _step(thing, step)
    except TypeError as error:
        # What is there instead holds nothing.
        raise LookupError(path) from error
    return thing


class Things:
    """The things that a worker has at its start.

    Args:
        roots: Where paths begin, by name.
        skipped: Attributes of roots that are not looked into, by root.
        staying: Other roots, which are not looked into at all: the parent has its own.

    Attributes:
        roots: The argument.
    """

    def __init__(self, roots: dict[str, Any], skipped: dict[str, frozenset[str]], staying: dict[str, Any]) -> None:
        """Note the path to each thing."""
        self.roots, self._skipped = roots, skipped
        self._staying = {id(thing) for thing in staying.values() if thing is not None}
        self._paths: dict[int, Path] = {id(thing): (("root", name),) for name, thing in staying.items()}
        self._paths.pop(id(None), None)
        # They are kept, or their ids would be those of others one day.
        self._things: list[Any] = list(staying.values())
        self._fingerprints: dict[int, int] = {}
        self._names: dict[int, frozenset[Any]] = {}
        for path, thing, kind in self._walk(roots):
            self._paths.setdefault(id(thing), path)
            self._things.append(thing)
            if kind in ("tensor", "array") and not isinstance(thing, nn.Parameter):
                self._fingerprints[id(thing)] = _fingerprint(thing)
            elif kind == "object":
                self._names[id(thing)] = frozenset(vars(thing))

    def alias(self, thing: Any, other: Any) -> None:
        """Let a thing be taken for another one, such as a wrapper for what is in it.

        Args:
            thing: What is met.
            other: What is meant.
        """
        if id(other) in self._paths:
            self._paths[id(thing)] = self._paths[id(other)]
            self._things.append(thing)

    def path(self, thing: Any) -> Path | None:
        """Return the path to a thing; ``None`` for what came later.

        Args:
            thing: The thing.
        """
        return self._paths.get(id(thing))

    def changes(self, roots: list[str]) -> list[Change]:
        """List what became of the things that can still be reached.

        Args:
            roots: The names of the roots that count.
        """
        found = self._walk({name: self.roots[name] for name in roots})
        known = ((thing, kind) for _, thing, kind in found if id(thing) in self._paths and kind != "stays")
        return [
            Change(self._paths[id(thing)], kind, self._content(thing, kind))
            for thing, kind in known
            if id(thing) not in self._fingerprints or self._fingerprints[id(thing)] != _fingerprint(thing)
        ]

    def _content(self, thing: Any, kind: str) -> Any:
        if kind == "object":
            skipped = self._skipped.get(self._root_of(thing), frozenset())
            there = {name: value for name, value in vars(thing).items() if name not in skipped}
            return there, [name for name in self._names.get(id(thing), ()) if name not in vars(thing)]
        return _CONTENTS[kind](thing)

    def _root_of(self, thing: Any) -> str:
        return next((name for name, root in self.roots.items() if root is thing), "")

    def _walk(self, roots: dict[str, Any]) -> Iterator[tuple[Path, Any, str]]:
        """Yield each thing once, with a path to it and its kind; of what holds others, it before them."""
        seen: set[int] = set()
        waiting: deque[tuple[Path, Any]] = deque(((("root", name),), thing) for name, thing in roots.items())
        # Those that are looked at are kept while they are, for new ones take the ids of old ones.
        held = []
        while waiting:
            path, thing = waiting.popleft()
            kind = kind_of(thing)
            if (not kind and type(thing) is not tuple) or id(thing) in seen or id(thing) in self._staying:
                continue
            seen.add(id(thing))
            held.append(thing)
            if kind:
                yield path, thing, kind
            skipped = self._skipped.get(path[0][1], frozenset()) if len(path) == 1 else frozenset()
            waiting.extend(((*path, step), part) for step, part in _parts(thing, kind) if step[1] not in skipped)


def _fingerprint(thing: Any) -> int:
    """Return a number that changes with a tensor or an array."""
    if isinstance(thing, torch.Tensor):
        if thing.layout is not torch.strided or thing.is_complex() or thing.is_quantized:
            return 0
        thing = thing.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    ordered = np.ascontiguousarray(thing)
    return zlib.crc32(ordered.reshape(-1).view(np.uint8).data) + 1


_CONTENTS: dict[str, Any] = {
    "list": list,
    "dict": dict,
    "set": set,
    # Other objects with the same values: the things themselves are known, and would be sent as their paths.
    "tensor": lambda thing: thing.detach().cpu().clone(),
    "array": lambda thing: thing.view(),
    "stateful": lambda thing: thing.state_dict(),
    "generator": lambda thing: thing.get_state(),
    "optimizer": lambda thing: [(parameter, dict(entries)) for parameter, entries in thing.state.items()],
}


def fill(thing: Any, change: Change) -> None:
    """Give a thing the content that its copy has got.

    Args:
        thing: The thing.
        change: What became of the copy.
    """
    content, kept = change.content, change.kept
    if change.kind == "object":
        there, gone = content
        vars(thing).update(there)
        for name in gone:
            vars(thing).pop(name, None)
    elif change.kind == "dict":
        own = {key: thing[key] for key in kept if key in thing}
        thing.clear()
        thing.update({**content, **own})
    elif change.kind == "list":
        thing.clear()
        thing.extend(content)
    elif change.kind == "set":
        thing.clear()
        thing.update(content)
    elif change.kind == "tensor":
        _fill_tensor(thing, content)
    elif change.kind == "array" and thing.shape == content.shape and thing.flags.writeable:
        thing[...] = content
    elif change.kind == "stateful":
        thing.load_state_dict(content)
    elif change.kind == "generator":
        thing.set_state(content)
    elif change.kind == "optimizer":
        _fill_optimizer(thing, content)


def _fill_tensor(thing: torch.Tensor, content: torch.Tensor) -> None:
    with torch.no_grad():
        if thing.shape == content.shape:
            thing.copy_(content)
        elif thing.dtype == content.dtype:
            thing.data = content.to(thing.device)


def _fill_optimizer(thing: torch.optim.Optimizer, content: Any) -> None:
    thing.state.clear()
    on_device = {
        id(parameter)
        for group in thing.param_groups
        if group.get("capturable") or group.get("fused")
        for parameter in group["params"]
    }
    for parameter, entries in content:
        thing.state[parameter] = {
            # A count of steps stays on the CPU, unless the optimizer wants it with the parameter.
            name: value
            if not isinstance(value, torch.Tensor) or (name == "step" and id(parameter) not in on_device)
            else value.to(parameter.device)
            for name, value in entries.items()
        }
