"""Baseline: a plain script for a whole job, from the SDK's documentation: send, wait, write the results."""

import json
import sys
import time
from pathlib import Path

import anthropic

upload, file = sys.argv[1:]
client = anthropic.Anthropic()
started, cpu_started = time.perf_counter(), time.process_time()
with Path(upload).open() as lines:
    batch = client.messages.batches.create(requests=[json.loads(line) for line in lines])
while client.messages.batches.retrieve(batch.id).processing_status != "ended":
    time.sleep(1)
with Path(file).open("w") as written:
    for result in client.messages.batches.results(batch.id):  # noqa: FURB122 - as the documentation loops
        written.write(result.to_json(indent=None) + "\n")
print(
    json.dumps(
        {"work_s": time.perf_counter() - started, "work_cpu_s": time.process_time() - cpu_started}
    )
)
