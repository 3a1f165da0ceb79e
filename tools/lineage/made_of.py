"""What a weight file says that its network was made of, in words, and which films of an evaluation are among it."""

from collections.abc import Sequence
from typing import Any

from tools.cli import plural


def lineage_of(payload: dict[str, Any]) -> dict[str, Any]:
    """The lineage in a weight file, empty where it has none."""
    settings = payload.get("train_kwargs")
    found = settings.get("lineage") if isinstance(settings, dict) else None
    return found if isinstance(found, dict) else {}


def as_lines(found: dict[str, Any]) -> list[str]:
    """The lineage in words, a line each."""
    start, sources = found.get("start") or {}, list_sources(found)
    records = sum(one.get("records", 0) for one in sources)
    heads = [
        f"dataset {found.get('dataset')}: {plural(records, 'record')} of {plural(len(sources), 'source')}",
        *(f"  {describe_source(one)}" for one in sources),
        f"trained for {plural(found.get('steps', 0), 'step')}, to epoch {found.get('epoch')}, seed {found.get('seed')}",
        f"started from {start['name']}, sha256 {start['sha256']}" if start else "started from random weights",
        f"code {found.get('code') or 'unknown'}",
    ]
    numbers = found.get("evaluation") or {}
    measured = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    return [*heads, f"evaluation: {measured or 'none'}"]


def describe_source(one: dict[str, Any]) -> str:
    """A film of the training split, with its identity and its holes."""
    names = ("holes", "records", "video", "sha256_of_ends")
    holes = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in (one.get("holes") or {}).items())
    others = ", ".join(f"{name} {value}" for name, value in one.items() if name not in (*names, "bytes", "textures"))
    textures = [str(texture.get("video") or texture) for texture in one.get("textures", ())]
    parts = [
        f"{one.get('video')}: {plural(one.get('records', 0), 'record')}",
        f"holes {holes}",
        *([others] if others else []),
        *([f"textures {' '.join(textures)}"] if textures else []),
        *([f"sha256 of its ends {one['sha256_of_ends']}"] if "sha256_of_ends" in one else []),
    ]
    return "; ".join(parts)


def list_sources(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The sources of a lineage, which may be from an untrusted file."""
    sources = found.get("sources")
    return [one for one in sources if isinstance(one, dict)] if isinstance(sources, list) else []


def seen_in_training(found: dict[str, Any], films: Sequence[dict[str, Any]]) -> list[str]:
    """The names of those films of an evaluation, as their indexes identify them, that a network was trained on."""
    sources = list_sources(found)
    trained = [
        *sources,
        *(texture for one in sources for texture in one.get("textures") or () if isinstance(texture, dict)),
    ]
    keys = {one.get("sha256_of_ends") for one in trained} - {None}
    return sorted({str(film.get("video")) for film in films if film.get("sha256_of_ends") in keys})
