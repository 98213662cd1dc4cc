"""report.html in a real Chromium: it renders, its search works, it loads nothing, and hostile content stays text.

`make browser` installs the browser and copies the screenshots into docs/. Without it, these tests are skipped.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from functions.report.page import ReportData, render
from infra.node import prefer_installed_node
from tests.unit.report_samples import HOSTILE, hostile, tickets

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".local" / "browser"
FOLDER = INSTALLED / "pages"
PHONE_PX = 375
DARK_GROUND = "rgb(19, 22, 24)"
MAX_PICTURE_BYTES = 200_000
FIGURES = msgspec.structs.replace(tickets(), has_content=False)
PAGES: dict[str, Callable[[], ReportData]] = {
    "tickets.html": tickets,
    "hostile.html": hostile,
    "figures.html": lambda: FIGURES,
}

pytestmark = pytest.mark.skipif(
    not (INSTALLED / ".installed").exists(), reason="no Chromium is installed: make browser"
)


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, Any]]:
    """What the browser saw, by page. The pages and the pictures stay in `FOLDER`."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for name, data in PAGES.items():
        (FOLDER / name).write_bytes(render(data()))
    prefer_installed_node()
    program = Path(__file__).with_name("look.mjs")
    command = ["node", str(program), str(INSTALLED), str(FOLDER)]
    process = subprocess.run(command, check=False, capture_output=True, text=True, timeout=170)  # noqa: S603 - fixed arguments
    assert process.returncode == 0, process.stderr
    found: dict[str, dict[str, Any]] = json.loads(process.stdout)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_and_reports_no_error(
    seen: dict[str, dict[str, Any]], name: str
) -> None:
    page = seen[name]
    assert page["console"] == []
    assert [url.rpartition("/")[2] for url in page["requests"]] == [name]
    assert page["elements"] == {"scripts": 1, "loading": 0}


def test_hostile_content_stays_text(seen: dict[str, dict[str, Any]]) -> None:
    page = seen["hostile.html"]
    assert page["pwned"] is None
    assert page["rows"] == len(HOSTILE)
    assert page["title"] == f"{HOSTILE['end of the script']}: partial"


def test_the_search_finds_words_and_kinds_of_row(seen: dict[str, dict[str, Any]]) -> None:
    data = tickets()
    rows = {row.row: row for row in (*data.first_rows, *data.failed_rows)}
    texts = {row: f"{data.prompts.get(row)} {rows[row].answer}".lower() for row in rows}
    expected = {
        "parcel depot|": sum("parcel" in text and "depot" in text for text in texts.values()),
        "|failed": sum(row.outcome != "succeeded" for row in rows.values()),
        "no such words|": 0,
        "PARCEL|truncated": sum("truncated" in row.flags for row in rows.values()),
    }
    searches = seen["tickets.html"]["searches"]
    assert {search: hits["rows"] for search, hits in searches.items()} == expected
    assert all(hits["told"] == f"{hits['rows']} rows" for hits in searches.values())


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_barrier(seen: dict[str, dict[str, Any]], name: str, scheme: str) -> None:
    assert seen[name]["violations"][scheme] == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_screens_and_paper(seen: dict[str, dict[str, Any]], name: str) -> None:
    page = seen[name]
    assert page["phone"] == PHONE_PX
    assert page["background"] == DARK_GROUND
    assert page["print"] == {"background": "rgb(255, 255, 255)", "form": "none"}
    assert page["pdf_pages"] >= 2


@pytest.mark.parametrize("name", PAGES)
def test_the_tiles_leave_no_gap_at_any_width_and_on_paper(
    seen: dict[str, dict[str, Any]], name: str
) -> None:
    assert len(seen[name]["tiles"]) == 6
    assert min(seen[name]["tiles"]) > 0.97


@pytest.mark.parametrize("name", ["desktop", "dark", "phone"])
def test_a_picture_of_the_page_is_taken(seen: dict[str, dict[str, Any]], name: str) -> None:
    assert seen
    assert 10_000 < (FOLDER / f"report-{name}.png").stat().st_size < MAX_PICTURE_BYTES
