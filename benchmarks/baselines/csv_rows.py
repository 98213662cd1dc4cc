"""Baseline: read each row of a local CSV file with the standard library."""

import csv
import json
import sys
import time
from pathlib import Path

started, cpu_started = time.perf_counter(), time.process_time()
with Path(sys.argv[1]).open(encoding="utf-8", newline="") as upload:
    rows = sum(1 for _ in csv.reader(upload)) - 1
usage = {
    "work_s": time.perf_counter() - started,
    "work_cpu_s": time.process_time() - cpu_started,
}
print(json.dumps({**usage, "rows": rows}))
