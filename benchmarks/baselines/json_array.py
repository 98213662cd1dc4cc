"""Baseline: load a local JSON array with the standard library."""

import json
import sys
import time
from pathlib import Path

started, cpu_started = time.perf_counter(), time.process_time()
with Path(sys.argv[1]).open("rb") as upload:
    rows = len(json.load(upload))
usage = {
    "work_s": time.perf_counter() - started,
    "work_cpu_s": time.process_time() - cpu_started,
}
print(json.dumps({**usage, "rows": rows}))
