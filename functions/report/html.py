"""Build HTML. Every text is escaped, unless it is HTML that this module built."""

import re
from html import escape

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")
_VOID = frozenset({"meta", "link", "input", "rect", "line", "br"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *content: str, **attributes: object) -> Html:
    """Return an element. Its texts and the values of its attributes are escaped.

    Args:
        name: the name of the element.
        content: texts, and elements inside it.
        attributes: its attributes; ``class_`` for ``class``, ``aria_label`` for ``aria-label``. One that is None or
            False is left out; True is one without a value.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{text(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _VOID:
        return Html(
            f"<{name}{written}>" if name not in {"rect", "line"} else f"<{name}{written}/>"
        )
    return Html(f"<{name}{written}>{''.join(map(text, content))}</{name}>")


def text(value: str) -> str:
    """Return a text as HTML: markup is escaped, control characters are replaced by U+FFFD."""
    return value if isinstance(value, Html) else escape(_CONTROLS.sub("\ufffd", value))


def joined(*parts: str) -> Html:
    """Return several texts and elements, one after the other."""
    return Html("".join(map(text, parts)))
