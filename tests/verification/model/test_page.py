"""docs/states.md and the code list the same statuses and transitions."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from functions.model.items.batch import BatchStatus
from functions.model.items.job import JobStatus
from tests.verification.model.checks import FROM_NOTHING, Arrow
from tests.verification.model.sample import search_result
from tests.verification.model.scenarios import ALL

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "states.md").read_text()
KINDS = {"A job": "job", "A batch": "batch", "Sending": "sending"}
MODEL, READING = "model", "by reading: `record`"

pytestmark = pytest.mark.xdist_group("model")  # the search runs once in a process


class Row(NamedTuple):
    """A line of one of the page's tables."""

    kind: str
    first: str
    last: str
    who: str
    when: str
    before: str
    after: str
    seen_by: str

    @property
    def arrow(self) -> Arrow:
        return self.kind, self.first, self.last, self.who


def rows() -> list[Row]:
    """Read the tables."""
    lines: list[Row] = []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        kind = KINDS.get(section.partition("\n")[0])
        table = [line for line in section.splitlines() if line.startswith("|")][2:]
        if kind is not None:
            lines += [Row(kind, *map(str.strip, line.strip("|").split("|"))) for line in table]
    return lines


def diagram_arrows(kind: str) -> set[tuple[str, str, str]]:
    """Read the arrows of a section's diagram: from, to, and the step."""
    (heading,) = (name for name, of in KINDS.items() if of == kind)
    section = PAGE.partition(f"## {heading}\n")[2].partition("```\n")[0]
    matches = re.findall(r"^    (\S+) --> (\w+): (.+)$", section, flags=re.MULTILINE)
    return {
        (first.replace("[*]", FROM_NOTHING), last, who.split()[0])
        for first, last, label in matches
        for who in re.split(r"\), |, ", label)
        if who.split()[0]
        in {"claim", "plan", "send", "collect", "assemble", "tidy", "poll", "reopen"}
    }


def test_every_status_is_documented() -> None:
    names = {(row.kind, status) for row in rows() for status in (row.first, row.last)}

    assert {s for kind, s in names if kind == "job"} == {FROM_NOTHING, *JobStatus}
    assert {s for kind, s in names if kind == "batch"} == {FROM_NOTHING, *BatchStatus}


def test_the_page_lists_exactly_the_transitions_the_model_reaches() -> None:
    reached = {arrow for scenario in ALL for arrow in search_result(scenario).checker.arrows}

    assert reached == {row.arrow for row in rows() if row.seen_by == MODEL}


def test_every_transition_the_model_does_not_reach_has_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    names = [row.seen_by for row in rows() if row.seen_by not in {MODEL, READING}]

    assert [name for name in names if f"def {name}(" not in tests] == []


@pytest.mark.parametrize("kind", KINDS.values())
def test_the_diagram_and_the_table_list_the_same_transitions(kind: str) -> None:
    table = {(row.first, row.last, row.who) for row in rows() if row.kind == kind}

    assert diagram_arrows(kind) == table
