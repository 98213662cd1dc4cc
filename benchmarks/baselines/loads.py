"""Baseline: parse each line of a local file with the standard library."""

import json
import sys
import time
from pathlib import Path

started, cpu_started = time.perf_counter(), time.process_time()
with Path(sys.argv[1]).open("rb") as upload:
    for line in upload:
        json.loads(line)
print(
    json.dumps(
        {"work_s": time.perf_counter() - started, "work_cpu_s": time.process_time() - cpu_started}
    )
)
