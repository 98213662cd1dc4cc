"""Compare answers with expectations: python3 score.py RESULTS.csv [RESULTS.csv …].

Counts a row as right if `answer` is `expected`, without regard to case, spaces and a full stop.
Lists the first wrong rows of each file.
"""

import csv
import sys
from pathlib import Path

WRONG_ROWS = 5


def plain(text: str) -> str:
    """Return a text as it is compared."""
    return text.strip().rstrip(".").casefold()


for name in sys.argv[1:]:
    with Path(name).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [row for row in rows if plain(row["answer"]) != plain(row["expected"])]
    right = len(rows) - len(wrong)
    print(f"{name}: {right} of {len(rows)} right ({right / max(len(rows), 1):.1%})")
    for row in wrong[:WRONG_ROWS]:
        answer = row["answer"] or row["error"] or row["status"]
        print(f"  {row['case']}: expected {row['expected']!r}, got {answer!r}")
