"""Deploy an assembly into the local cloud, with its template and zips unchanged."""

import time
from pathlib import Path

from botocore.exceptions import ClientError

from local import interruption
from local.assembly import Assembly
from local.cloud import ACCOUNT, REGION, Cloud
from local.errors import LocalError

# The parts of `cdk bootstrap` that a template needs: a bucket, and a version.
BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
BOOTSTRAP_VERSION = "30"
BOOTSTRAP_BUCKET = f"cdk-hnb659fds-assets-{ACCOUNT}-{REGION}"
TIMEOUT_S = 120.0


def deploy(cloud: Cloud, assembly: Assembly) -> dict[str, str]:
    """Create or update the stack.

    Returns:
        the stack's outputs, by name.

    Raises:
        LocalError: CloudFormation failed; the message names the resource and the reason.
    """
    parameter = {"Name": BOOTSTRAP_PARAMETER, "Value": BOOTSTRAP_VERSION, "Type": "String"}
    cloud.ssm.put_parameter(**parameter, Overwrite=True)
    for path in (*assembly.zips, assembly.template):
        _put(cloud, path)
    _submit(cloud, assembly)
    _wait_until_settled(cloud, assembly.stack)
    return outputs(cloud, assembly.stack)


def outputs(cloud: Cloud, stack: str) -> dict[str, str]:
    """Return a stack's outputs by name."""
    [described] = cloud.stacks.describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}


def _put(cloud: Cloud, path: Path) -> None:
    try:
        cloud.s3.head_bucket(Bucket=BOOTSTRAP_BUCKET)
    except ClientError:
        cloud.s3.create_bucket(Bucket=BOOTSTRAP_BUCKET)
    with path.open("rb") as body:
        cloud.s3.put_object(Bucket=BOOTSTRAP_BUCKET, Key=path.name, Body=body)


def _submit(cloud: Cloud, assembly: Assembly) -> None:
    url = f"{cloud.endpoint}/{BOOTSTRAP_BUCKET}/{assembly.template.name}"
    try:
        cloud.stacks.describe_stacks(StackName=assembly.stack)
    except ClientError:
        cloud.stacks.create_stack(
            StackName=assembly.stack, TemplateURL=url, Capabilities=["CAPABILITY_NAMED_IAM"]
        )
        return
    try:
        cloud.stacks.update_stack(
            StackName=assembly.stack, TemplateURL=url, Capabilities=["CAPABILITY_NAMED_IAM"]
        )
    except ClientError as error:
        if "No updates are to be performed" not in str(error):
            raise


def _wait_until_settled(cloud: Cloud, stack: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        [described] = cloud.stacks.describe_stacks(StackName=stack)["Stacks"]
        status: str = described["StackStatus"]
        if status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
            return
        if not status.endswith("_IN_PROGRESS") or time.monotonic() > deadline:
            message = f"the stack {stack} is {status}: {_failure_reasons(cloud, stack)}"
            raise LocalError(message)
        interruption.pause(0.1)


def _failure_reasons(cloud: Cloud, stack: str) -> str:
    events = cloud.stacks.describe_stack_events(StackName=stack)["StackEvents"]
    failed = [event for event in events if event.get("ResourceStatus", "").endswith("_FAILED")]
    reasons = (
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed
    )
    return "; ".join(reasons) or "CloudFormation gives no reason"
