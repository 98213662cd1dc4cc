"""Each rejection code that the code can give is in the tables of docs/upload.md, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "upload.md"
TABLE = re.compile(r"^\| rejection code .+\n\|[-|]+\n((?:\|.+\n)+)", re.MULTILINE)
CODE = re.compile(r"[a-z][a-z0-9_]+")
TAKE_A_CODE_FIRST = {"Rejection", "JsonFault", "NotTranslatableError"}
MEDIA_KINDS = ("image", "document")
"""What the translation of OpenAI's parts puts before ``_unsupported``."""
NOT_OF_ROWS = {"batch_expired", "batch_cancelled"}
"""Codes that OpenAI's error file has for rows that were sent."""


def documented() -> list[str]:
    rows = "".join(TABLE.findall(PAGE.read_text("utf-8"))).splitlines()
    return [code for row in rows for code in re.findall(r"`(\w+)`", row.split("|")[1])]


def given() -> set[str]:
    trees = (ast.parse(path.read_text("utf-8")) for path in (ROOT / "functions").rglob("*.py"))
    nodes = [code for tree in trees for node in ast.walk(tree) for code in codes_of(node)]
    return {code for code in nodes if CODE.fullmatch(code)} - NOT_OF_ROWS


def codes_of(node: ast.AST) -> Iterator[str]:
    """Yield what a part of a program gives as a code: an argument, or the text before a sentence."""
    match node:
        case ast.keyword(arg="code", value=ast.Constant(str(code))):
            yield code
        case ast.keyword(arg="code", value=ast.JoinedStr([_, ast.Constant(str(end))])):
            yield from (f"{kind}{end}" for kind in MEDIA_KINDS)
        case ast.Call(ast.Name(name), [ast.Constant(str(code)), *_]) if name in TAKE_A_CODE_FIRST:
            yield code
        case ast.Assign([ast.Name("_CODE")], ast.Constant(str(code))):
            yield code
        case ast.Tuple([ast.Constant(str(code)), second]) if is_sentence(second):
            yield code


def is_sentence(node: ast.expr) -> bool:
    match node:
        case ast.Name("sentence") | ast.JoinedStr():
            return True
        case ast.Constant(str(text)):
            return text.count(" ") > 3
    return False


def test_each_rejection_code_is_documented_once() -> None:
    assert sorted(documented()) == sorted(given())
