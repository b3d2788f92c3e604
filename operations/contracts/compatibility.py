"""Find changes of the schemas that break producers of commands or subscribers of events.

Both rely on an inclusion. What producers send by the old schema must be valid by the new one; what
the worker publishes by the new schema must be valid by the old one, except for additional fields,
which subscribers ignore. A field that is gone breaks both.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
Gap: TypeAlias = tuple[str, str]
"""The path of a field, and what has changed."""

ANNOTATIONS: Final = frozenset({"$schema", "$id", "title", "description", "examples", "default"})
"""Keywords that are documentation only and do not affect validation."""
RETIRED: Final[frozenset[str]] = frozenset()
"""Message types whose deprecation period has ended; they may be missing now."""
_LEAST: Final = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_MOST: Final = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_FORMS: Final = ("pattern", "format", "multipleOf", "not")
"""Rules for which it is not decidable here whether one includes the other."""
_NESTED: Final = ("items", "propertyNames", "additionalProperties")
_COMBINATIONS: Final = ("allOf", "anyOf", "oneOf")
_KNOWN: Final = ANNOTATIONS.union(
    (*_LEAST, *_MOST, *_FORMS, *_NESTED, *_COMBINATIONS),
    ("type", "enum", "const", "uniqueItems", "required", "properties"),
)


def breaks(old: Schema, new: Schema) -> list[str]:
    """Compare two releases.

    Args:
        old: `commands` and `events`, each with schemas by message type, as `release` returns.
        new: the same for the current code.

    Returns:
        A line for each breaking change; empty if all changes are compatible.
    """
    lines = []
    for kinds, whom in (("commands", "producers"), ("events", "subscribers")):
        for kind, schema in old[kinds].items():
            if kind not in new[kinds]:
                gaps = [] if kind in RETIRED else [("", "was removed")]
            elif kinds == "commands":
                gaps = [*_Inclusion(old_in_new=True).gaps(schema, new[kinds][kind], "")]
            else:
                gaps = [*_Inclusion(old_in_new=False).gaps(new[kinds][kind], schema, "")]
            lines += [f"{kind} {path or 'message'}: {what} (breaks {whom})" for path, what in gaps]
    return lines


def release(commands: Mapping[str, Schema], events: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the contract of a release: its schemas by message type, without annotations."""
    return {
        "commands": {kind: _decisive(schema) for kind, schema in commands.items()},
        "events": {kind: _decisive(schema) for kind, schema in events.items()},
    }


def _decisive(schema: Schema) -> dict[str, Any]:
    """Remove the annotations; a property with such a name stays."""
    kept = {key: value for key, value in schema.items() if key not in ANNOTATIONS}
    for key, value in kept.items():
        if key == "properties":
            kept[key] = {name: _decisive(inner) for name, inner in value.items()}
        elif isinstance(value, dict):
            kept[key] = _decisive(value)
        elif key in _COMBINATIONS:
            kept[key] = [_decisive(inner) for inner in value]
    return kept


class _Inclusion:
    """Whether each value of one schema is valid by another; too strict rather than too lax."""

    def __init__(self, *, old_in_new: bool) -> None:
        """Check that the old schema's values are valid by the new one, or the reverse."""
        self._old_in_new = old_in_new

    def gaps(self, inner: Schema, outer: Schema, path: str) -> Iterator[Gap]:
        """Yield why a value of `inner` may be invalid by `outer`, at any depth."""
        if inner.keys() == {"anyOf"} and "anyOf" not in outer:  # nullable only in one of them
            outer = {"anyOf": [outer]}
        elif outer.keys() == {"anyOf"} and "anyOf" not in inner:
            inner = {"anyOf": [inner]}
        for keyword in sorted(inner.keys() | outer.keys()):
            if inner.get(keyword) != outer.get(keyword) and not _implies(keyword, inner, outer):
                yield path, self._words(keyword, inner, outer)
        yield from self._fields(inner, outer, path)
        yield from self._nested(inner, outer, path)
        for keyword in _COMBINATIONS:
            if keyword in inner and keyword in outer:
                yield from self._parts(keyword, inner, outer, path)

    def _fields(self, inner: Schema, outer: Schema, path: str) -> Iterator[Gap]:
        old, new = (inner, outer) if self._old_in_new else (outer, inner)
        gone = old.get("properties", {}).keys() - new.get("properties", {}).keys()
        for name in sorted({*outer.get("required", ())} - {*inner.get("required", ())} - gone):
            what = "is required now" if self._old_in_new else "is optional now"
            yield _join(path, name), what
        for name in old.get("properties", {}):
            if name in gone:
                yield _join(path, name), "was removed"
            else:
                within, without = inner["properties"][name], outer["properties"][name]
                yield from self.gaps(within, without, _join(path, name))

    def _nested(self, inner: Schema, outer: Schema, path: str) -> Iterator[Gap]:
        """Compare the schemas of items, of property names and of additional properties."""
        for keyword in _NESTED:
            within, without = inner.get(keyword, True), outer.get(keyword, True)
            place = f"{path}[]" if keyword == "items" else _join(path, f"({keyword})")
            if isinstance(within, dict) and isinstance(without, dict):
                yield from self.gaps(within, without, place)
            elif keyword == "additionalProperties" and not self._old_in_new:
                continue  # subscribers ignore additional fields
            elif within not in (without, False) and without is not True:
                yield place, self._words(keyword, inner, outer)

    def _parts(self, keyword: str, inner: Schema, outer: Schema, path: str) -> Iterator[Gap]:
        """Compare lists of schemas; the only two of a type are treated as one changed schema."""
        within = [part for part in inner[keyword] if part not in outer[keyword]]
        without = [part for part in outer[keyword] if part not in inner[keyword]]
        for part in list(within):
            same = [other for other in without if other.get("type") == part.get("type") is not None]
            if len(same) == 1:
                within.remove(part)
                without.remove(same[0])
                yield from self.gaps(part, same[0], path)
        if (within and keyword != "allOf") or (without and keyword != "anyOf"):
            yield path, self._words(keyword, inner, outer)

    def _words(self, keyword: str, inner: Schema, outer: Schema) -> str:
        old, new = (inner, outer) if self._old_in_new else (outer, inner)
        if keyword not in new:
            return f"{keyword} was removed"
        was = f", not {old[keyword]}" if keyword in old else ""
        return f"{keyword} is {new[keyword]} now{was}"


def _implies(keyword: str, inner: Schema, outer: Schema) -> bool:
    """Return True if all values of `inner` meet a keyword of `outer`.

    Also if the keyword's schemas are compared one by one. An unknown keyword cannot be judged.
    """
    if keyword not in _KNOWN:
        return False
    if keyword not in outer or keyword in {"required", "properties", *_NESTED}:
        return True
    if keyword in {"enum", "const"}:
        possible, allowed = _values(inner), _values(outer)
        return possible is not None and allowed is not None and possible <= allowed
    if keyword in _ORDER:
        return keyword in inner and _ORDER[keyword](inner[keyword], outer[keyword])
    return keyword == "uniqueItems" and not outer[keyword]


def _is_narrower(kind: str | list[str], wide: str | list[str]) -> bool:
    kinds, allowed = ([each] if isinstance(each, str) else each for each in (kind, wide))
    return all(each in allowed or (each == "integer" and "number" in allowed) for each in kinds)


_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "type": _is_narrower,
    **dict.fromkeys(_LEAST, operator.ge),
    **dict.fromkeys(_MOST, operator.le),
    **dict.fromkeys(_COMBINATIONS, lambda *_: True),
}
"""Returns True if the first value of a keyword allows no more than the second."""


def _values(schema: Schema) -> frozenset[str] | None:
    """Return the values of `enum`, or of `const`, which is an enum with one value."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return (
        None if values is None else frozenset(json.dumps(each, sort_keys=True) for each in values)
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
