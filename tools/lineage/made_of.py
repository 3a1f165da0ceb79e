"""What a weight file says that its network was made of, in words, and which films of an evaluation are among it.

The file may be anybody's: what is not text, a finite number, or a list or dict of such is left out.
"""

import math
from collections.abc import Sequence
from typing import Any

from tools.cli import plural, printable

LONGEST = 500  # characters of a text
MOST = 1_000_000  # values of a lineage; one that occurs several times counts as often, as it is written as often
MOST_CHARACTERS = 50_000_000  # of all its texts
DEEPEST = 6  # lists and dicts within each other


def lineage_of(payload: dict[str, Any]) -> dict[str, Any]:
    """The lineage in a weight file as plain values, empty where it has none or one beyond measure."""
    settings = payload.get("train_kwargs")
    found = settings.get("lineage") if isinstance(settings, dict) else None
    plain = _Plain()
    lineage = plain.of(found) if isinstance(found, dict) else {}
    return {} if plain.is_too_large else lineage


class _Plain:
    """Values without what JSON or a terminal cannot show; None for what is left out."""

    def __init__(self) -> None:
        self.values, self.characters = MOST, MOST_CHARACTERS  # that are left

    @property
    def is_too_large(self) -> bool:
        return min(self.values, self.characters) < 0

    def of(self, value: Any, depth: int = DEEPEST) -> Any:
        self.values -= 1
        if self.is_too_large:
            return None
        if isinstance(value, str):
            text = printable(value[:LONGEST])
            self.characters -= len(text)
            return text
        if isinstance(value, bool | int):
            return value if abs(value) < 1 << 63 else None
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, dict | list | tuple) and depth and len(value) <= self.values:
            if isinstance(value, dict):
                named = {name: one for name, one in value.items() if isinstance(name, str)}
                return {self.of(name): self.of(one, depth - 1) for name, one in named.items()}
            return [self.of(one, depth - 1) for one in value]
        return None


def as_lines(found: dict[str, Any]) -> list[str]:
    """The lineage in words, a line each."""
    start, sources = table(found, "start"), list_sources(found)
    records = sum(count(one, "records") for one in sources)
    numbers = [(name, value) for name, value in table(found, "evaluation").items() if is_number(value)]
    measured = ", ".join(f"{name} {value:.4g}" for name, value in numbers)
    blend = [f"blended: {describe_part(one)}" for one in list_of(found, "blend")]
    if blend and "steps" not in found:  # the network whose lineage this is the first part of has none
        return [*describe_sources(sources), *blend]
    return [
        f"dataset {found.get('dataset')}: {plural(records, 'record')} of {plural(len(sources), 'source')}",
        *(f"  {line}" for line in describe_sources(sources)),
        f"trained for {plural(count(found, 'steps'), 'step')}, to epoch {found.get('epoch')}, seed {found.get('seed')}",
        f"started from {start.get('name')}, sha256 {start.get('sha256')}" if start else "started from random weights",
        *blend,
        f"code {found.get('code') or 'unknown'}",
        f"evaluation: {measured or 'none'}",
    ]


def describe_sources(sources: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each film of the training split, or for several of which all but name and number is the same."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for one in sources:
        alike.setdefault(describe_source(one), []).append(one)
    return [
        f"{', '.join(str(one.get('video')) for one in ones)}: "
        f"{plural(sum(count(one, 'records') for one in ones), 'record')}; {facts}"
        for facts, ones in alike.items()
    ]


def describe_source(one: dict[str, Any]) -> str:
    """The identity and the holes of a film of the training split."""
    names = ("holes", "records", "video", "sha256_of_ends")
    known = (*names, "bytes", "textures")
    others = ", ".join(f"{name} {in_words(value)}" for name, value in one.items() if name not in known)
    textures = [str((isinstance(texture, dict) and texture.get("video")) or texture) for texture in textures_of(one)]
    parts = [
        f"holes {in_words(table(one, 'holes'))}",
        *([others] if others else []),
        *([f"textures {' '.join(textures)}"] if textures else []),
        *([f"sha256 of its ends {one['sha256_of_ends']}"] if "sha256_of_ends" in one else []),
    ]
    return "; ".join(parts)


def in_words(value: Any) -> Any:
    """The value, or what it says if it is a dict of shares."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in value.items() if is_number(share))


def describe_part(one: dict[str, Any]) -> str:
    """A network whose weights were averaged into this one."""
    share = one.get("share")
    unknown = "" if one.get("has_lineage") else ", which does not say what it was made of"
    return f"{100 * share if is_number(share) else 0:.3g} % of {one.get('name')}, sha256 {one.get('sha256')}{unknown}"


def list_sources(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The sources of a lineage."""
    return list_of(found, "sources")


def list_of(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The dicts of a list in a lineage."""
    values = found.get(name)
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def textures_of(source: dict[str, Any]) -> list[Any]:
    """What the textures of rendered scenes were cut from."""
    textures = source.get("textures")
    return textures if isinstance(textures, list) else []


def table(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """The dict of this name, empty where it is something else."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def count(fields: dict[str, Any], name: str) -> int:
    """The whole number of this name, 0 where it is something else."""
    value = fields.get(name)
    return value if type(value) is int else 0


def is_number(value: Any) -> bool:
    return type(value) in (int, float)


def seen_in_training(found: dict[str, Any], films: Sequence[dict[str, Any]]) -> list[str]:
    """The names of those films of an evaluation, as their indexes identify them, that a network was trained on.

    A film of which only other shots were in training, by its `shots`, is none of them.
    """
    trained = all_sources(found)
    return sorted({str(film.get("video")) for film in films if any(one_film(one, film) for one in trained)})


def seen_by_other_shots(found: dict[str, Any], films: Sequence[dict[str, Any]]) -> list[str]:
    """The names of films of an evaluation of which a network was trained on other shots alone."""
    trained, seen = all_sources(found), seen_in_training(found, films)
    names = {str(film.get("video")) for film in films if any(one_film(one, film, True) for one in trained)}
    return sorted(names - set(seen))


def all_sources(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The sources of a lineage, and what their textures were cut from."""
    sources = list_sources(found)
    return [*sources, *(texture for one in sources for texture in textures_of(one) if isinstance(texture, dict))]


def one_film(source: dict[str, Any], film: dict[str, Any], apart: bool = False) -> bool:
    """Whether both are of one film; with `apart` of no shot in common (3/7 and not:3/7), else of some."""
    one, other = (str(found.get("shots", "all")) for found in (source, film))
    are_apart = other == f"not:{one}" or one == f"not:{other}"
    return identity(film) is not None and identity(source) == identity(film) and are_apart == apart


def identity(film: dict[str, Any]) -> str | None:
    """What identifies a film in an index, None where it is no text."""
    key = film.get("sha256_of_ends")
    return key if isinstance(key, str) else None
