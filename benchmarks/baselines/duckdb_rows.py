"""Baseline: read each row of a local Parquet file with DuckDB, on one thread."""

import json
import sys
import time

import duckdb

started, cpu_started = time.perf_counter(), time.process_time()
rows = 0
with duckdb.connect(config={"threads": 1}) as connection:
    result = connection.execute("FROM read_parquet(?)", [sys.argv[1]])
    while fetched := result.fetchmany(1000):
        rows += len(fetched)
usage = {
    "work_s": time.perf_counter() - started,
    "work_cpu_s": time.process_time() - cpu_started,
}
print(json.dumps({**usage, "rows": rows}))
