"""cdk-nag has no unacknowledged finding, and each acknowledgment has its reason."""

from pathlib import Path

import pytest
from aws_cdk import App
from aws_cdk.aws_sqs import Queue
from cdk_nag import AwsSolutionsChecks

from infra.bundle import stub
from infra.settings import StackSettings
from infra.stack import RelayStack


def find_violations(app: App, stack: RelayStack) -> set[str]:
    report = AwsSolutionsChecks(app).validate_scope(stack)
    return {f"{violation.rule_name}: {violation.description}" for violation in report.violations}


@pytest.mark.parametrize("tracing", [False, True])
def test_no_finding_is_unacknowledged(tmp_path: Path, *, tracing: bool) -> None:
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    settings = StackSettings(bundle="stub", tracing=tracing)

    assert (
        find_violations(app, RelayStack(app, settings=settings, bundle=stub(), duckdb=stub()))
        == set()
    )


def test_an_unacknowledged_finding_is_reported(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    stack = RelayStack(app, settings=StackSettings(bundle="stub"), bundle=stub(), duckdb=stub())
    Queue(stack, "Careless")

    assert {finding.split(":")[0] for finding in find_violations(app, stack)} == {
        "AwsSolutions-SQS3",
        "AwsSolutions-SQS4",
    }
