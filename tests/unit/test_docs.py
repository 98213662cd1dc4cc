"""The docs: links have a target, and commands are run by a test or say why not.

A comment precedes each block of commands: ``<!-- run by: tests/file.py::test -->`` names the test
that runs it, ``<!-- not run: reason -->`` gives the reason why none does.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

ROOT = Path(__file__).parent.parent.parent
GENERATED = {"docs/reliability.md", "docs/scale.md"}
PAGES = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md")),
]
COLUMNS = 100
README_LINES = 150
GLOBAL_OPTIONS = {"cli-binary-format", "endpoint-url", "max-items", "output", "query", "region"}
"""Options of the AWS CLI that are not members of a call's input."""
CLI_COMMANDS = {
    ("s3", "cp"): {"recursive"},
    ("s3", "rm"): {"exclude", "include", "recursive"},
    ("logs", "tail"): {"since"},
}
"""Commands that the AWS CLI adds, with the options that the docs use."""
RENAMED = {("sns", "subscribe"): {"endpoint": "notification-endpoint"}}
"""Members whose option has another name, because it would clash with a global option."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN_COMMENT = re.compile(r"<!-- (run by|not run): (.+?) -->\n\Z")


@dataclass(frozen=True)
class Block:
    """Commands on a page, and the comment before them."""

    page: str
    how: str | None
    detail: str
    commands: str


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def blocks() -> list[Block]:
    return [
        Block(page, how and how[1], how[2] if how else "", fence[2])
        for page in PAGES
        for fence in FENCE.finditer(text(page))
        if fence[1] in {"sh", "bash", "console"}
        for how in [RUN_COMMENT.search(text(page)[: fence.start()])]
    ]


def prose(page: str) -> str:
    return FENCE.sub("", text(page))


def calls(program: str) -> list[tuple[str, str]]:
    """Return each call of a program in the docs, with its arguments until the command ends."""
    commands_by_page = [(block.page, block.commands.replace("\\\n", " ")) for block in blocks()]
    return [
        (page, match[1])
        for page, commands in commands_by_page
        for match in re.finditer(rf"(?:^|[ (]){program} ([^\n]*)", commands, re.MULTILINE)
    ]


@pytest.mark.parametrize(
    "block", blocks(), ids=lambda block: f"{block.page}:{block.commands[:24]}"
)
def test_a_command_names_the_test_that_runs_it_or_the_reason_why_none_does(block: Block) -> None:
    assert block.how, f"name the test that runs these commands of {block.page}"
    if block.how == "run by":
        file, _, name = block.detail.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "call"), calls("make"))
def test_make_targets_exist(page: str, call: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{call.split(maxsplit=1)[0]}:", makefile, re.MULTILINE), page


@pytest.mark.parametrize(("page", "call"), calls("aws"))
def test_aws_commands_have_valid_options(page: str, call: str) -> None:
    service, operation, *_ = call.split()
    options = {word.partition("=")[0] for word in own_options(call)}

    assert options <= GLOBAL_OPTIONS | known_options(service, operation), page


def own_options(call: str) -> Iterator[str]:
    """Yield the options of a call, without those of nested or later calls."""
    depth = 0
    for word in re.findall(r"\$\(|\)|--[a-z][a-z-]*|'[^']*'|\S", call):
        depth += (word == "$(") - (word == ")")
        if depth < 0:
            return
        if depth == 0 and word.startswith("--"):
            yield word.removeprefix("--")


def known_options(service: str, operation: str) -> set[str]:
    if (service, operation) in CLI_COMMANDS:
        return CLI_COMMANDS[service, operation]
    model = botocore.session.get_session().get_service_model({"s3api": "s3"}.get(service, service))
    [name] = [
        operation_name
        for operation_name in model.operation_names
        if xform_name(operation_name, "-") == operation
    ]
    shape = model.operation_model(name).input_shape
    options = [xform_name(member, "-") for member in shape.members] if shape else []
    renamed = RENAMED.get((service, operation), {})
    return {renamed.get(option, option) for option in options}


def test_own_options_skips_nested_commands() -> None:
    assert [*own_options("a b --c \"$(aws d e --f g)\" --h '--i'")] == ["c", "h"]


@pytest.mark.parametrize("page", PAGES)
def test_links_have_a_target(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page}: {target}"


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub generates for a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    plain_headings = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower() for heading in headings)
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain_headings}


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED])
def test_pages_are_wrapped(page: str) -> None:
    lines = FENCE.sub(
        lambda fence: "" if fence[1] in {"json", "mermaid"} else fence[0], text(page)
    )

    long_lines = [
        line
        for line in lines.splitlines()
        if len(line) > COLUMNS and not re.match(r"\||<!-- run by:|.*\]\(.{50,}\)|- `[^`]*$", line)
    ]
    assert long_lines == []


def test_the_readme_is_short() -> None:
    assert len(text("README.md").splitlines()) <= README_LINES


def test_the_readme_and_the_scale_page_give_the_same_idle_cost() -> None:
    _, idle = text("docs/scale.md").split("\n## An idle month\n")
    [figures] = re.findall(r"\| \*\*all\*\* \|\s*\| \*\*([\d.]+)\*\* \| \*\*([\d.]+)\*\* \|", idle)

    assert {f"${usd}" for usd in figures} <= set(re.findall(r"\$\d\.\d\d", text("README.md")))


def test_the_subscribe_page_lists_each_type_of_event() -> None:
    types = re.findall(r"^### (\S+)$", text("docs/events/README.md"), re.MULTILINE)
    listed = re.findall(r"^\| `(\S+)` \|", text("docs/subscribe.md"), re.MULTILINE)

    assert sorted(listed) == sorted(types)


def test_each_decision_has_a_date_and_a_status() -> None:
    entries = text("docs/decisions.md").split("\n### ")[1:]

    for entry in entries:
        title, how, *_ = entry.splitlines()
        assert re.match(r"\d{4}-\d\d-\d\d · \*\*Status:\*\* (accepted|superseded by \[)", how), (
            title
        )


def test_the_glossary_is_sorted() -> None:
    words = re.findall(r"^\| (?!word|---)([^|]+) \|", text("docs/glossary.md"), re.MULTILINE)

    assert words == sorted(words, key=str.lower)


def test_the_readme_links_to_each_page() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+\.md)", text("README.md")))

    assert {page for page in PAGES if page.startswith("docs/")} <= linked
