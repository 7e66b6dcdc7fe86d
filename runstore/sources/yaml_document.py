"""Small YAML documents that other tools wrote, as values that JSON knows.

Import it where a document is read, not at the top: most roots have none, and PyYAML takes longer to
import than a run to read.

The values are built here from the events of PyYAML's parser. Nothing that a tag names is imported
or called, nesting costs no stack, and what aliases repeat counts as often as it is repeated (a
"billion laughs" document is refused). What Python's own dumper writes for objects becomes the plain
value inside: a tuple is a list, a namespace its attributes, a numpy scalar its number, a path its
text; what has none becomes text (`torch.device(cuda)`).
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import yaml

from runstore.files.limits import TEXT_CHARS, YAML_BYTES, YAML_DEPTH, YAML_VALUES
from runstore.files.records import JsonObject, RecordError, without_surrogates
from runstore.metrics.values import as_json

TOO_DEEP = "…"
"""Stands for what lies deeper than `YAML_DEPTH`."""
_STANDARD = "tag:yaml.org,2002:"
_PYTHON = f"{_STANDARD}python/"
_TYPED = frozenset(f"{_STANDARD}{name}" for name in ("null", "bool", "int", "float"))
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_NUMPY_CODES = {
    "f8": "d", "f4": "f", "f2": "e", "b1": "?",
    "i8": "q", "i4": "i", "i2": "h", "i1": "b",
    "u8": "Q", "u4": "I", "u2": "H", "u1": "B",
}  # fmt: skip
"""What numpy calls a type, and what `struct` calls it."""


def decode_yaml(data: bytes) -> JsonObject:
    """Return the mapping in a document, the first where there are several; keys are text.

    NaN and infinities become the texts `nan`, `inf` and `-inf`, as they are in `run.json`. Dates
    stay the text that they are, and so do bytes (base64).

    Raises:
        RecordError: not YAML (`line` says where), no mapping, or larger than any that is meant for
            people.
    """
    if len(data) > YAML_BYTES:
        raise RecordError(f"{len(data):,} bytes long, the most is {YAML_BYTES:,}")
    found = _first_document(data.decode("utf-8", "replace"))
    if not isinstance(found, dict):
        raise RecordError(f"a YAML {type(found).__name__}, expected a mapping")
    plain: JsonObject = as_json(found)
    return plain


def _first_document(text: str) -> Any:
    # libyaml, where PyYAML was built with it, is twenty times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        loader.get_event()  # the start of the stream
        if isinstance(loader.get_event(), yaml.StreamEndEvent):
            raise RecordError("an empty document")
        return _Builder(loader).value(loader.get_event(), 0)
    except RecordError:
        raise
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _not_yaml(error) from None
    finally:
        loader.dispose()


def _not_yaml(error: Exception) -> RecordError:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    found = RecordError(f"not YAML: {problem}")
    mark = getattr(error, "problem_mark", None)
    found.line = mark.line + 1 if mark is not None else 0
    return found


class _Builder:
    """Makes the values of one document from the events of its parser."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._anchored: dict[str, Any] = {}
        self._count = 0

    def value(self, event: Any, depth: int) -> Any:
        """Return what begins with an event."""
        self._count_on(1)
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(str(event.anchor), depth)
        if isinstance(event, yaml.ScalarEvent):
            found = self._scalar(event)
        elif depth >= YAML_DEPTH:
            return self._passed_over()
        elif isinstance(event, yaml.MappingStartEvent):
            found = _plain(event.tag, self._mapping(depth + 1))
        else:
            found = _plain(event.tag, self._sequence(depth + 1))
        if event.anchor is not None:
            self._anchored[event.anchor] = found
        return found

    def _count_on(self, values: int) -> None:
        self._count += values
        if self._count > YAML_VALUES:
            raise RecordError(f"more than {YAML_VALUES:,} values")

    def _repeated(self, anchor: str, depth: int) -> Any:
        if anchor not in self._anchored:
            return f"*{anchor}"  # within itself, or nowhere
        found = self._anchored[anchor]
        values, height = _extent(found)
        self._count_on(values)
        return found if depth + height <= YAML_DEPTH else TOO_DEEP

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        tag, text = event.tag, str(event.value)
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, text, event.implicit)
        if tag not in _TYPED:
            return _plain(tag, text)
        try:
            return self._loader.construct_object(yaml.ScalarNode(tag, text))
        except (yaml.YAMLError, ValueError, LookupError):
            return text  # tagged as what it is not, or an integer of thousands of digits

    def _sequence(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
            found.append(self.value(event, depth))
        return found

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            is_plain = isinstance(event, yaml.ScalarEvent)
            key = self.value(event, depth)
            found[event.value if is_plain else _text(key)] = self.value(
                self._loader.get_event(), depth
            )
        return found

    def _passed_over(self) -> str:
        depth = 1
        while depth:
            event = self._loader.get_event()
            self._count_on(1)
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
        return TOO_DEEP


def _extent(value: Any) -> tuple[int, int]:
    """Return of how many values one consists, itself included, and how deep it is."""
    inner: Sequence[Any] = ()
    if isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    extents = [_extent(one) for one in inner]
    is_nested = isinstance(value, dict | list)
    deepest = max((height for _, height in extents), default=0)
    return 1 + sum(count for count, _ in extents), deepest + is_nested


# ---- tags ----------------------------------------------------------------------------------------


def _plain(tag: str | None, value: Any) -> Any:
    """Return the plain value of one with a tag; that of an unknown tag is what it holds."""
    if tag == f"{_STANDARD}set" and isinstance(value, dict):
        return list(value)
    if tag is None or not tag.startswith(_PYTHON):
        return value
    kind, _, name = tag.removeprefix(_PYTHON).partition(":")
    if kind in ("name", "module"):
        return name
    return _made(name, value) if kind in ("object/apply", "object/new") else value


def _made(name: str, value: Any) -> Any:
    """Return what stands for an object that was to be made by calling `name`."""
    parts = value if isinstance(value, dict) else {"args": value}
    for items in ("dictitems", "listitems"):
        if parts.get(items):
            return parts[items]
    args = parts.get("args")
    args = args if isinstance(args, list) else []
    known = _KNOWN.get(name.rpartition(".")[2])
    found = known(args, parts.get("state")) if known else None
    return _called(name, args) if found is None else found


def _called(name: str, args: Sequence[Any]) -> str:
    return f"{name}({', '.join(map(_text, args))})"[:TEXT_CHARS]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(without_surrogates(as_json(value))).decode()[:TEXT_CHARS]


def _path(args: Sequence[Any], _: Any) -> str | None:
    parts = [part for part in args if isinstance(part, str)]
    return "/".join(parts).replace("//", "/", 1) if parts else None


def _numpy_type(args: Sequence[Any], state: Any) -> str | None:
    """Return `<f8`, as numpy writes the type with its order of bytes."""
    order = state[1] if isinstance(state, list) and len(state) > 1 else ""
    is_text = bool(args) and isinstance(args[0], str) and isinstance(order, str)
    return f"{order}{args[0]}" if is_text else None


def _numpy_scalar(args: Sequence[Any], _: Any) -> Any:
    match args:
        case [str() as dtype, str() as data] if code := _NUMPY_CODES.get(dtype[-2:]):
            order = ">" if dtype.startswith(">") else "<"
            try:
                return struct.unpack(order + code, base64.b64decode(data))[0]
            except (struct.error, ValueError):
                return None
    return None


_KNOWN: Mapping[str, Callable[[Sequence[Any], Any], Any]] = {
    **dict.fromkeys(_PATHS, _path),
    "dtype": _numpy_type,
    "scalar": _numpy_scalar,
}
"""By the last part of the name: the modules before it have moved between versions."""
