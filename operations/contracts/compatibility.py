"""Find changes of the schemas that break producers of commands or subscribers of events.

Producers and subscribers are affected by opposite changes. A producer breaks when the worker
accepts less than before. A subscriber breaks when events contain new values, or lack former ones.
Additional fields of an event break no subscriber, since subscribers ignore unknown fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

ANNOTATIONS: Final = frozenset({"$schema", "$id", "title", "description", "examples", "default"})
"""Keywords that are documentation only and do not affect validation."""
RETIRED: Final[frozenset[str]] = frozenset()
"""Message types whose deprecation period has ended; they may be missing now."""
_LEAST: Final = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_MOST: Final = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_FORMS: Final = ("pattern", "format", "multipleOf", "not")


class Effect(Enum):
    """Effect of a change on the set of valid values."""

    NARROWER = "narrower"
    WIDER = "wider"
    EITHER = "different"
    """Not known to be only narrower or only wider."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two schemas."""

    path: str
    effect: Effect
    what: str
    is_new_field: bool = False


_WIDER_TYPE: Final = {"integer": "number"}
_COMBINATIONS: Final = {
    "allOf": (Effect.NARROWER, Effect.WIDER),
    "anyOf": (Effect.WIDER, Effect.NARROWER),
    "oneOf": (Effect.EITHER, Effect.EITHER),
}
"""Effect of an additional part, and of a missing part."""


def breaks(old: Schema, new: Schema) -> list[str]:
    """Compare two releases.

    Args:
        old: `commands` and `events`, each with schemas by message type, as `release` returns.
        new: the same for the current code.

    Returns:
        A line for each breaking change; empty if all changes are compatible.
    """
    lines = []
    for kinds, bad, whom in (
        ("commands", Effect.NARROWER, "producers"),
        ("events", Effect.WIDER, "subscribers"),
    ):
        for kind, schema in old[kinds].items():
            if kind in new[kinds]:
                found = compare(schema, new[kinds][kind], "")
                broken = [each for each in found if _is_break(each, bad)]
                lines += [f"{kind} {c.path or 'message'}: {c.what} (breaks {whom})" for c in broken]
            elif kind not in RETIRED:
                lines.append(f"{kind} message: was removed (breaks {whom})")
    return lines


def release(commands: Mapping[str, Schema], events: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the contract of a release: its schemas by message type, without annotations."""
    return {
        "commands": {kind: _decisive(schema) for kind, schema in commands.items()},
        "events": {kind: _decisive(schema) for kind, schema in events.items()},
    }


def compare(old: Schema, new: Schema, path: str) -> list[Change]:
    """Return all differences between two schemas that affect validation, at any depth."""
    if old == new:
        return []
    if old.keys() == {"anyOf"} and "anyOf" not in new:  # nullable only in one of them
        new = {"anyOf": [new]}
    elif new.keys() == {"anyOf"} and "anyOf" not in old:
        old = {"anyOf": [old]}
    changes = [*_types(old, new, path), *_choices(old, new, path), *_bounds(old, new, path)]
    changes += [*_forms(old, new, path), *_required(old, new, path), *_properties(old, new, path)]
    changes += [*_nested(old, new, path), *_combined(old, new, path)]
    return changes + list(_unknown(old, new, path))


def _is_break(change: Change, bad: Effect) -> bool:
    if change.is_new_field:
        return False
    return change.effect in (bad, Effect.EITHER)


def _decisive(schema: Schema) -> dict[str, Any]:
    """Remove the annotations; a property with such a name stays."""
    kept = {key: value for key, value in schema.items() if key not in ANNOTATIONS}
    for key, value in kept.items():
        if key == "properties":
            kept[key] = {name: _decisive(inner) for name, inner in value.items()}
        elif isinstance(value, dict):
            kept[key] = _decisive(value)
        elif key in {"anyOf", "oneOf", "allOf"}:
            kept[key] = [_decisive(inner) for inner in value]
    return kept


def _types(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = _type_set(old), _type_set(new)
    if before == after:
        return
    if after is None or (before is not None and _covers(after, before)):
        yield Change(path, Effect.WIDER, f"may also be {_words(after, but=before)} now")
    elif before is None or _covers(before, after):
        yield Change(path, Effect.NARROWER, f"must be {_words(after)} now")
    else:
        yield Change(path, Effect.EITHER, f"is {_words(after)} now, not {_words(before)}")


def _type_set(schema: Schema) -> frozenset[str] | None:
    kind = schema.get("type")
    return None if kind is None else frozenset([kind] if isinstance(kind, str) else kind)


def _covers(wide: frozenset[str], narrow: frozenset[str]) -> bool:
    return all(kind in wide or _WIDER_TYPE.get(kind) in wide for kind in narrow)


def _words(kinds: frozenset[str] | None, but: frozenset[str] | None = None) -> str:
    return "anything" if kinds is None else " or ".join(sorted(kinds - (but or frozenset())))


def _choices(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Compare `enum` and `const`, which is an enum with one value."""
    before, after = _values(old), _values(new)
    if before is not None and after is not None:
        for gone in sorted(before - after):
            yield Change(path, Effect.NARROWER, f"may no longer be {gone}")
        for added in sorted(after - before):
            yield Change(path, Effect.WIDER, f"may also be {added} now")
    elif after is not None:
        yield Change(path, Effect.NARROWER, "must be one of a fixed list now")
    elif before is not None:
        yield Change(path, Effect.WIDER, "may be a value outside the list now")


def _values(schema: Schema) -> frozenset[str] | None:
    if "const" in schema:
        return frozenset({_text(schema["const"])})
    return frozenset(map(_text, schema["enum"])) if "enum" in schema else None


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _bounds(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for keywords, sign in ((_LEAST, 1), (_MOST, -1)):
        for keyword in keywords:
            before, after = old.get(keyword), new.get(keyword)
            if before == after:
                continue
            what = f"{keyword} is {'removed' if after is None else after} now"
            tighter = before is None or (after is not None and sign * (after - before) > 0)
            yield Change(path, Effect.NARROWER if tighter else Effect.WIDER, what)
    if old.get("uniqueItems", False) != new.get("uniqueItems", False):
        effect = Effect.NARROWER if new.get("uniqueItems") else Effect.WIDER
        yield Change(path, effect, "uniqueItems has changed")


def _forms(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Compare rules for which it is not decidable here whether one includes the other."""
    for keyword in _FORMS:
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        if before is None:
            yield Change(path, Effect.NARROWER, f"has a {keyword} now")
        elif after is None:
            yield Change(path, Effect.WIDER, f"has no {keyword} now")
        else:
            yield Change(path, Effect.EITHER, f"has a different {keyword}")


def _required(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(after - before):
        yield Change(_join(path, name), Effect.NARROWER, "is required now")
    for name in sorted(before - after):
        if name in new.get("properties", {}) or name not in old.get("properties", {}):
            yield Change(_join(path, name), Effect.WIDER, "is optional now")


def _properties(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, schema in before.items():
        if name in after:
            yield from compare(schema, after[name], _join(path, name))
        else:  # producers: rejected where fields are closed; subscribers: missing
            yield Change(_join(path, name), Effect.EITHER, "was removed")
    for name in sorted(after.keys() - before.keys()):
        yield Change(_join(path, name), Effect.WIDER, "was added", is_new_field=True)


def _nested(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Compare the schemas of items, of property names, and of additional properties."""
    for keyword in ("items", "propertyNames", "additionalProperties"):
        before, after = old.get(keyword, True), new.get(keyword, True)
        if before == after:
            continue
        inner = f"{path}[]" if keyword == "items" else _join(path, f"({keyword})")
        if isinstance(before, dict) and isinstance(after, dict):
            yield from compare(before, after, inner)
            continue
        tighter = before is True or after is False
        effect = Effect.NARROWER if tighter else Effect.WIDER
        open_fields = keyword == "additionalProperties" and not tighter
        yield Change(inner, effect, f"{keyword} has changed", is_new_field=open_fields)


def _combined(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for keyword in _COMBINATIONS:
        if old.get(keyword) != new.get(keyword):
            yield from _parts(keyword, old, new, path)


def _parts(keyword: str, old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Compare lists of schemas; the only two of a type are treated as one changed schema."""
    added, removed = _COMBINATIONS[keyword]
    if keyword not in old or keyword not in new:
        came = keyword in new
        effect = Effect.NARROWER if came else Effect.WIDER
        yield Change(path, effect, f"has {'an' if came else 'no'} {keyword} now")
        return
    gone = [part for part in old[keyword] if part not in new[keyword]]
    come = [part for part in new[keyword] if part not in old[keyword]]
    for before, after in list(_pairs(gone, come)):
        gone.remove(before)
        come.remove(after)
        yield from compare(before, after, path)
    for part in come:
        yield Change(path, added, f"{_part(part)} was added to its {keyword}")
    for part in gone:
        yield Change(path, removed, f"{_part(part)} was removed from its {keyword}")


def _pairs(gone: Iterable[Schema], come: Iterable[Schema]) -> Iterator[tuple[Schema, Schema]]:
    for before in gone:
        same = [after for after in come if after.get("type") == before.get("type") is not None]
        if len(same) == 1:
            yield before, same[0]


def _part(schema: Schema) -> str:
    return str(schema.get("type", "a part"))


_KNOWN: Final = ANNOTATIONS.union(
    _LEAST,
    _MOST,
    _FORMS,
    {"type", "enum", "const", "uniqueItems", "required", "properties", "items", "propertyNames"},
    {"additionalProperties"},
    _COMBINATIONS,
)


def _unknown(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    """Report a change of any keyword that is not compared above."""
    for keyword in sorted((old.keys() | new.keys()) - _KNOWN):
        if old.get(keyword) != new.get(keyword):
            yield Change(
                path, Effect.EITHER, f"{keyword} has changed; its compatibility is unknown"
            )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
