"""The report of a job is the same, whatever was killed while it was written, except for its times."""

from pathlib import Path

import pytest

from tests.verification.crash import jobs
from tests.verification.crash.crash_harness import open_crash_harness
from tests.verification.crash.injected_faults import fail_call, kill
from tests.verification.crash.job_run import run_job
from tests.verification.crash.kills import FaultFactory, PlannedFault, run_plan


@pytest.mark.parametrize("make_fault", [kill, fail_call])
def test_a_fault_at_any_call_that_writes_the_report_changes_nothing(
    tmp_path: Path, make_fault: FaultFactory
) -> None:
    job = jobs.of_kind("a.csv")
    with open_crash_harness(tmp_path) as relay:
        relay.deploy(requests_per_batch=job.requests_per_batch, report="full")
        baseline = run_job(relay, job)
        assert baseline.final_state is not None
        assert b"rows succeeded." in baseline.final_state.files["report.html"]
        tidy_call = baseline.calls.index("s3.PutObjectTagging")
        puts = [
            number
            for number, name in enumerate(baseline.calls[:tidy_call])
            if name == "s3.PutObject"
        ]
        for call in range(puts[-2] - 4, puts[-1] + 3):
            for after in (False, True):
                _, run = run_plan(
                    relay, job, (PlannedFault(make_fault, call, after),), baseline.final_state
                )
                assert run.problems == [], f"call {call}: {baseline.calls[call - 1]}"
