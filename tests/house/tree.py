"""What the house tests look at: the files of the repository, and the Python among them parsed once."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    def at(self, node: ast.stmt | ast.expr) -> str:
        """Where a finding is, as an editor opens it."""
        return f"{self.path}:{node.lineno}"


@cache
def files() -> tuple[str, ...]:
    """Every file that is, or could be, committed; from the root, sorted."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(sorted(path for path in set(listing.stdout.split("\0")) if path and (ROOT / path).is_file()))


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files below these folders."""
    below = tuple(f"{folder}/" for folder in folders)
    return tuple(_parse(path) for path in files() if path.endswith(".py") and path.startswith(below))


def calls(source: Source) -> Iterator[tuple[ast.Call, str]]:
    """Each call with the dotted name that it calls; calls of anything but a name are left out."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)):
            yield node, name


def imports(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Each imported module, and each name imported from one as `module.name`."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield node, f"{node.module}.{alias.name}"


def dotted(node: ast.expr) -> str:
    """`a.b.c` for a name or a chain of attributes; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


@cache
def _parse(path: str) -> Source:
    text = (ROOT / path).read_text(encoding="utf-8")
    return Source(path, text, ast.parse(text, filename=path))
