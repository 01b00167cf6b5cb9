"""Read the rules folder that experts edit into canonical files."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from engine.errors import RuleError

__all__ = ["read_folder"]

_LARGEST_FILE = 64 * 1024 * 1024
_LARGEST_YAML = 1024 * 1024
_DEEPEST = 64
_SUFFIXES = (".yaml", ".csv")


class _Loader(yaml.CSafeLoader):
    """The safe loader with the booleans of YAML 1.2 (``on`` and ``no`` are words), refusing repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_BOOLEAN = "tag:yaml.org,2002:bool"
_WHOLE = "tag:yaml.org,2002:int"
_REAL = "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOLEAN, _WHOLE, _REAL)]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
# Numbers of base 60 (12:30 would be 750, and a long one costs minutes), octal ones (010 would be 8),
# infinity and not-a-number are words here.
_Loader.add_implicit_resolver(_WHOLE, re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _REAL, re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?$"), list("-+.0123456789")
)
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(r"^(?:true|false)$"), list("tf"))


def read_folder(root: Path) -> tuple[dict[str, bytes], list[RuleError]]:
    """Return canonical files by path below ``root``, and every file that could not be read.

    YAML becomes compact JSON in the order written (order has meaning: bindings, columns), days as ISO text;
    CSV keeps its bytes but for line ends. Hidden files, Python files and the release lock are not part of a
    release; links are refused.
    """
    files: dict[str, bytes] = {}
    errors: list[RuleError] = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix not in _SUFFIXES or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        place = f"rules/{name}"
        if path.is_symlink() or not path.is_file():
            errors.append(RuleError(place, "is a link, not a file.", "Put the file itself here.", "F01"))
        elif path.stat().st_size > _LARGEST_FILE:
            errors.append(RuleError(place, "is larger than 64 MiB.", "Split the table.", "F01"))
        elif path.suffix == ".yaml" and path.stat().st_size > _LARGEST_YAML:
            errors.append(RuleError(place, "is larger than 1 MiB.", "Put the rows into a table.", "F01"))
        elif path.suffix == ".csv":
            files[name] = path.read_bytes().replace(b"\r\n", b"\n")
        else:
            try:
                files[name] = _canonical(path.read_bytes())
            except (yaml.YAMLError, msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
                what = " ".join(str(error).split())
                errors.append(RuleError(place, f"cannot be read: {what}.", "Mend the YAML.", "F01"))
    return files, errors


def _canonical(content: bytes) -> bytes:
    _refuse_depth(content)
    loader = _Loader(content)
    try:
        node = loader.get_single_node()
        if node is None:
            return b"null"
        _refuse_aliases(node)
        return msgspec.json.encode(_plain(loader.construct_document(node)))
    finally:
        loader.dispose()


def _refuse_depth(content: bytes) -> None:
    """Raise if it is nested deeper than any rule: building such nodes would end the process, not raise."""
    depth = 0
    for event in yaml.parse(content, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise yaml.YAMLError(f"nested too deeply in line {line}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _refuse_aliases(root: yaml.Node) -> None:
    """Raise if a node stands in two places: an alias could unfold a small file into a huge one."""
    seen: set[int] = set()
    left = [root]
    while left:
        node = left.pop()
        if id(node) in seen:
            raise yaml.constructor.ConstructorError(
                None, None, "an alias repeats it; write it out", node.start_mark
            )
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            left += [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += node.value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.date):  # datetimes too
        return value.isoformat()
    return value
