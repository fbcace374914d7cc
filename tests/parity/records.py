"""Recorded observations of the reference: one compressed JSON file, read without pickle and without the reference."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "records" / "reference.json.xz"
FORMAT = 1
_BITWISE = ("torch", "capability", "threads")


def write(environment: dict[str, Any], programs: dict[str, Any], path: Path = PATH) -> None:
    """Write a record; the same observations give the same bytes."""
    content = {"format": FORMAT, "environment": environment, "programs": programs}
    text = json.dumps(content, separators=(",", ":")).encode()
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(lzma.compress(text, preset=9))
    unfinished.replace(path)


def read(path: Path = PATH) -> tuple[dict[str, Any], dict[str, Any]]:
    """The environment and the observations of a record.

    Raises:
        ValueError: the file has another format than this reader.
    """
    content = json.loads(lzma.decompress(path.read_bytes()))
    if content["format"] != FORMAT:
        raise ValueError(f"{path.name} has format {content['format']}, this reader knows {FORMAT}: record it anew")
    return content["environment"], content["programs"]


def bitwise(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether runs in these two environments can be equal bit for bit."""
    return all(one[name] == two[name] for name in _BITWISE)
