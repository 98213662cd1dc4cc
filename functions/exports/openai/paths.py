"""Where the files of this export are, below the results of a job."""

OUTPUT = "openai/output.jsonl"
ERROR = "openai/error.jsonl"
BATCH = "openai/batch.json"
