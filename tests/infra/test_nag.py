"""cdk-nag finds nothing that has not been decided, and each decision has its reason."""

from pathlib import Path

import pytest
from aws_cdk import App
from aws_cdk.aws_sqs import Queue
from cdk_nag import AwsSolutionsChecks

from infra.bundle import stub
from infra.settings import StackSettings
from infra.stack import RelayStack


def findings(app: App, stack: RelayStack) -> set[str]:
    report = AwsSolutionsChecks(app).validate_scope(stack)
    return {f"{one.rule_name}: {one.description}" for one in report.violations}


@pytest.mark.parametrize("tracing", [False, True])
def test_nothing_is_left_undecided(tmp_path: Path, *, tracing: bool) -> None:
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    settings = StackSettings(bundle="stub", tracing=tracing)

    assert findings(app, RelayStack(app, settings=settings, bundle=stub())) == set()


def test_what_is_not_decided_is_found(tmp_path: Path) -> None:
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    stack = RelayStack(app, settings=StackSettings(bundle="stub"), bundle=stub())
    Queue(stack, "Careless")

    assert {one.split(":")[0] for one in findings(app, stack)} == {
        "AwsSolutions-SQS3",
        "AwsSolutions-SQS4",
    }
