"""Deploy an assembly into the local cloud, with its assets and template unchanged."""

import time

from botocore.exceptions import ClientError

from local import interruption
from local.assembly import Assembly, Asset
from local.cloud import ACCOUNT, REGION, Cloud
from local.errors import LocalError

# The parts of `cdk bootstrap` that a template needs: a bucket, and a version.
BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
BOOTSTRAP_VERSION = "30"
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
    for asset in assembly.assets:
        _put(cloud, asset)
    _submit(cloud, assembly)
    _wait_until_settled(cloud, assembly.stack)
    return outputs(cloud, assembly.stack)


def outputs(cloud: Cloud, stack: str) -> dict[str, str]:
    """Return a stack's outputs by name."""
    [described] = cloud.stacks.describe_stacks(StackName=stack)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}


def _put(cloud: Cloud, asset: Asset) -> None:
    bucket, key = _resolve_placeholders(asset.bucket), _resolve_placeholders(asset.key)
    try:
        cloud.s3.head_bucket(Bucket=bucket)
    except ClientError:
        cloud.s3.create_bucket(Bucket=bucket)
    with asset.path.open("rb") as body:
        cloud.s3.put_object(Bucket=bucket, Key=key, Body=body)


def _resolve_placeholders(name: str) -> str:
    """Replace the placeholders for account, region and partition."""
    for variable, value in {"AccountId": ACCOUNT, "Region": REGION, "Partition": "aws"}.items():
        name = name.replace(f"${{AWS::{variable}}}", value)
    return name


def _submit(cloud: Cloud, assembly: Assembly) -> None:
    url = f"{cloud.endpoint}/{_resolve_placeholders(assembly.template_object)}"
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
