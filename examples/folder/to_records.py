"""Write a record for each text file of a folder: python3 to_records.py FOLDER > texts.jsonl."""

import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
for path in sorted(folder.rglob("*.txt")):
    text = path.read_text(encoding="utf-8", errors="replace")
    print(json.dumps({"file": path.relative_to(folder).as_posix(), "text": text}))
