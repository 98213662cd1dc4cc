"""Write each answer into a file of its own: python3 from_results.py FOLDER RESULTS.jsonl.

The answer for `a/b.txt` becomes `FOLDER/a/b.summary.md`. Rows without one are listed on stderr.
"""

import json
import sys
from pathlib import Path

folder, *files = map(Path, sys.argv[1:])
for file in files:
    with file.open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            content = line["result"].get("message", {}).get("content", [])
            answer = "".join(block["text"] for block in content if block["type"] == "text")
            if not answer:
                print(f"no answer: {line['custom_id']}", file=sys.stderr)
                continue
            target = folder / Path(line["custom_id"]).with_suffix(".summary.md")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(answer, encoding="utf-8")
