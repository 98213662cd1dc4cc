"""Draw docs/dashboard.svg: ``make dashboard``, about a minute."""

from benchmarks.dashboard.day import SETTINGS, run
from benchmarks.dashboard.definition import read_definition
from benchmarks.dashboard.drawing import draw
from infra.bundle import ROOT

PICTURE = ROOT / "docs" / "dashboard.svg"


def main() -> None:
    """Run the two weeks and draw what the dashboard shows at their end."""
    PICTURE.write_text(draw(read_definition(**SETTINGS), run()), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
