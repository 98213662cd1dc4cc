"""Measure a prompt as caching sees it: blocks in the order tools, system, messages, some of them marked.

A token is four characters of text, or of the JSON of a tool, as everywhere in the simulator.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

CHARS_PER_TOKEN = 4
LIFETIMES_S = {"5m": 300.0, "1h": 3600.0}
_MARK = "cache_control"


class PromptBlock(NamedTuple):
    """A block of a prompt.

    Attributes:
        chars: the characters up to its end.
        digest: identifies everything up to its end.
        ttl: ``5m`` or ``1h`` if the prompt is to be cached up to its end; empty if not.
    """

    chars: int
    digest: bytes
    ttl: str

    @property
    def tokens(self) -> int:
        """The tokens up to its end."""
        return self.chars // CHARS_PER_TOKEN


def blocks_of(params: bytes | msgspec.Raw) -> list[PromptBlock]:
    """Return the blocks of a prompt, in order."""
    prompt: dict[str, Any] = msgspec.json.decode(params)
    blocks: list[PromptBlock] = []
    chars, prefix = 0, hashlib.sha256()
    for part, block in _parts(prompt):
        text = msgspec.json.encode(_without_mark(block), order="sorted")
        chars += len(text) if part == "tools" else len(block.get("text") or "")
        prefix.update(f"{part} {len(text)} ".encode() + text)
        blocks.append(PromptBlock(chars, prefix.digest(), _ttl(block)))
    if prompt.get(_MARK) and blocks:  # the API caches up to the last block
        blocks[-1] = blocks[-1]._replace(ttl=_ttl(prompt))
    return blocks


def _parts(prompt: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each block with the part of the prompt that it is in."""
    yield from (("tools", tool) for tool in prompt.get("tools") or ())
    yield from (("system", block) for block in _content(prompt.get("system")))
    for number, turn in enumerate(prompt["messages"]):
        for block in _content(turn["content"]):
            yield f"{number} {turn['role']}", block


def _content(content: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content or []


def _without_mark(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != _MARK}


def _ttl(block: dict[str, Any]) -> str:
    mark = block.get(_MARK)
    if not isinstance(mark, dict):
        return ""
    ttl = mark.get("ttl") or "5m"
    return ttl if ttl in LIFETIMES_S else ""
