"""Baseline: the documented loop over a batch's results, each written as a line."""

import json
import sys
import time
from pathlib import Path

import anthropic

batch, file = sys.argv[1:]
client = anthropic.Anthropic()
started, cpu_started = time.perf_counter(), time.process_time()
with Path(file).open("w") as written:
    for result in client.messages.batches.results(batch):  # noqa: FURB122 - as the documentation loops
        written.write(result.to_json(indent=None) + "\n")
print(
    json.dumps(
        {"work_s": time.perf_counter() - started, "work_cpu_s": time.process_time() - cpu_started}
    )
)
