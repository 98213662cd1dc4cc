"""Make the files of docs/hour.md: ``python3 make_files.py FOLDER``."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

FILES = (
    ("march", 1000, "pilot_rows = 20\nbudget_usd = 2.50\n"),
    ("april", 300, "budget_usd = 0.50\n"),
    ("may", 40, ""),
)
"""The name of each file, its rows and its options."""


TORN = 50
"""The row of each hundred that is cut off."""


def rows(count: int, month: str) -> Iterator[str]:
    """Yield requests whose answers have different lengths; some rows are torn, some have a parameter of no batch."""
    for row in range(1, count + 1):
        content = f"Summarize ticket {row} of {month}. [needs:{200 + row * 77 % 300}]"
        params = {
            "model": "claude-sonnet-5-5",
            "max_tokens": 600,
            "messages": [{"role": "user", "content": content}],
        }
        if row in {333, 666}:
            params["stream"] = True
        line = json.dumps({"custom_id": f"ticket-{row}", "params": params})
        yield line[: len(line) // 2] if row % 100 == TORN else line


def main(folder: Path) -> None:
    """Write the files, and an options file beside each that has options."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, options in FILES:
        file = folder / f"{name}.jsonl"
        file.write_text("".join(f"{line}\n" for line in rows(count, name.title())))
        if options:
            file.with_name(f"{file.name}.relay.toml").write_text(options)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
