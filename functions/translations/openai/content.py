"""Translate the content of a message: texts, images and files become content blocks."""

import binascii
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from functions.translations.contract import NotTranslatableError
from functions.translations.openai.changes import Changes
from functions.translations.openai.fields import array, invalid, mapping, name, shallow, text

type Block = dict[str, Any]

_IMAGES = {"image/jpg": "image/jpeg"} | {
    kind: kind for kind in ("image/jpeg", "image/png", "image/gif", "image/webp")
}
"""The kinds of images that the API reads, by the names that data URIs use."""
_ANTHROPIC_FILE = "file_"
"""How ids of Anthropic's Files API begin. OpenAI's begin with ``file-``."""


def blocks_of(content: object, field: str, changes: Changes) -> list[Block]:
    """Return content as blocks, without empty texts, which the API refuses.

    A refusal stays, as text, if there is nothing else.

    Args:
        content: a string, an array of parts, or null.
        field: where it is in the body, for messages.
        changes: records what is dropped.
    """
    if content is None:
        return []
    if isinstance(content, str):
        return text_blocks(content)
    spoken: list[Block] = []
    refusals: list[Block] = []
    for number, part in enumerate(array(content, field)):
        read = _part(part, f"{field}[{number}]", changes)
        (refusals if part["type"] == "refusal" else spoken).extend(read)
    if spoken and refusals:
        changes.drop("refusal")
    return spoken or refusals


def text_blocks(content: str) -> list[Block]:
    """Return a text as a list of one block, or of none if it is blank."""
    return [{"type": "text", "text": content}] if content.strip() else []


def texts_of(content: object, field: str, changes: Changes) -> list[Block]:
    """Return content that must be text only, as blocks; see `blocks_of`."""
    blocks = blocks_of(content, field, changes)
    if any(block["type"] != "text" for block in blocks):
        sentence = f'"{field}" must be text only; move images and files to a user message'
        raise NotTranslatableError(code="content_unsupported", sentence=sentence)
    return blocks


def _part(value: object, field: str, changes: Changes) -> list[Block]:
    part = mapping(value, field)
    read = _PARTS.get(name(part.get("type"), f"{field}.type"))
    if read is None:
        sentence = f'"{field}" is of a type that Claude cannot read; use texts, images and files'
        raise NotTranslatableError(code="content_unsupported", sentence=sentence)
    blocks = read(part, field, changes)
    if blocks and part.get("cache_control") is not None:
        at = f"{field}.cache_control"
        blocks[-1]["cache_control"] = shallow(mapping(part["cache_control"], at), at)
    return blocks


def _text(part: Mapping[str, Any], field: str, _changes: Changes) -> list[Block]:
    return text_blocks(text(part.get("text"), f"{field}.text"))


def _refusal(part: Mapping[str, Any], field: str, _changes: Changes) -> list[Block]:
    return text_blocks(text(part.get("refusal"), f"{field}.refusal"))


def _audio(_part: Mapping[str, Any], field: str, _changes: Changes) -> list[Block]:
    sentence = f'"{field}" is audio, which Claude cannot read; send its transcript as text'
    raise NotTranslatableError(code="audio_unsupported", sentence=sentence)


def _image(part: Mapping[str, Any], field: str, changes: Changes) -> list[Block]:
    image = part.get("image_url")
    detail = part.get("detail")
    if isinstance(image, Mapping):
        detail, image = image.get("detail"), image.get("url")
    if detail not in (None, "auto"):
        changes.note("image_url.detail")
    if image is None and part.get("file_id") is not None:
        return [{"type": "image", "source": _stored(part["file_id"], field)}]
    return [_linked(name(image, f"{field}.image_url"), field, "image")]


def _file(part: Mapping[str, Any], field: str, _changes: Changes) -> list[Block]:
    file = mapping(part["file"], f"{field}.file") if "file" in part else part
    link = file.get("file_data") or file.get("file_url")
    if link is not None:
        block = _linked(name(link, f"{field}.file_data"), field, "document")
    elif file.get("file_id") is not None:
        block = {"type": "document", "source": _stored(file["file_id"], field)}
    else:
        raise invalid(field=f"{field}.file", expected="an object with file_data")
    if block["type"] == "document" and file.get("filename") is not None:
        block["title"] = name(file["filename"], f"{field}.filename")
    return [block]


_PARTS: dict[str, Callable[[Mapping[str, Any], str, Changes], list[Block]]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_image": _image,
    "file": _file,
    "input_file": _file,
    "input_audio": _audio,
}
"""How each type of part is read, in chat completions and in responses."""


def _stored(file_id: object, field: str) -> Block:
    if not isinstance(file_id, str) or not file_id.startswith(_ANTHROPIC_FILE):
        sentence = (
            f'"{field}" names a file that is stored at OpenAI; send the file itself as a data URI, or the '
            "id of a file at Anthropic"
        )
        raise NotTranslatableError(code="file_unsupported", sentence=sentence)
    return {"type": "file", "file_id": file_id}


def _linked(link: str, field: str, kind: str) -> Block:
    """Return the block for a data URI or an https URL."""
    if link.startswith("https://"):
        return {"type": kind, "source": {"type": "url", "url": link}}
    if not link.startswith("data:"):
        sentence = (
            f'"{field}" must be an https URL or a data URI, because Anthropic fetches only https'
        )
        raise NotTranslatableError(code=f"{kind}_unsupported", sentence=sentence)
    head, _, data = link.removeprefix("data:").partition(",")
    media_type, *options = head.lower().split(";")
    is_base64 = "base64" in options
    if media_type in _IMAGES and is_base64 and data:
        return {"type": "image", "source": _base64(_IMAGES[media_type], data)}
    if media_type == "application/pdf" and is_base64 and data:
        return {"type": "document", "source": _base64(media_type, data)}
    if media_type == "text/plain" and kind == "document":
        decoded = _decoded(data, field) if is_base64 else unquote(data)
        return {"type": "document", "source": _plain(decoded, field)}
    sentence = (
        f'"{field}" must hold a JPEG, PNG, GIF, WebP or PDF in base64, or plain text as a file'
    )
    raise NotTranslatableError(code=f"{kind}_unsupported", sentence=sentence)


def _base64(media_type: str, data: str) -> Block:
    return {"type": "base64", "media_type": media_type, "data": data}


def _plain(data: str, field: str) -> Block:
    if not data.strip():
        sentence = f'"{field}" is an empty file; leave it out'
        raise NotTranslatableError(code="document_unsupported", sentence=sentence)
    return {"type": "text", "media_type": "text/plain", "data": data}


def _decoded(data: str, field: str) -> str:
    try:
        return binascii.a2b_base64(data).decode()
    except ValueError:
        sentence = f'"{field}" is not UTF-8 text in base64; save the file as UTF-8'
        raise NotTranslatableError(code="document_unsupported", sentence=sentence) from None
