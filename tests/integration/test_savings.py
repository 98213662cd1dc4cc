"""docs/cost.md and README.md give the measured savings."""

import re
from pathlib import Path

from benchmarks import savings

ROOT = Path(__file__).parent.parent.parent


def test_the_pages_have_the_measured_savings() -> None:
    measured = savings.measure()
    page = savings.PAGE.read_text("utf-8").partition(savings.BEGIN)[2].partition(savings.END)[0]
    none, _, warmed, _, once = [f"${one.usd:.2f}" for one in measured]

    assert page.strip().split("\n") == savings.table(measured)
    readme = re.sub(r"\s+", " ", (ROOT / "README.md").read_text("utf-8"))
    assert f"{none} without caching, {warmed} with [`warm_cache`]" in readme
    assert f"and {once} with [`equal_rows`]" in readme
