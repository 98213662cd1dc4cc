"""Baseline: read the upload from S3 and create the batch, as in the SDK's documentation."""

import json
import sys
import time

import anthropic
import boto3

bucket, key = sys.argv[1:]
client = anthropic.Anthropic()
s3 = boto3.client("s3")
started, cpu_started = time.perf_counter(), time.process_time()
lines = s3.get_object(Bucket=bucket, Key=key)["Body"].iter_lines(1 << 20)
client.messages.batches.create(requests=[json.loads(line) for line in lines])
print(
    json.dumps(
        {"work_s": time.perf_counter() - started, "work_cpu_s": time.process_time() - cpu_started}
    )
)
