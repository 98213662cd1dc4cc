"""The subscriber of examples/ for the CDK deploys what its SAM template does."""

import importlib.util
from pathlib import Path
from typing import Any

from tests.unit.templates import EXAMPLES, functions, read_template

TOPIC = "arn:aws:sns:eu-central-1:111122223333:events"


def synthesized(folder: Path) -> list[dict[str, Any]]:
    """Return the resources of the stack that app.py builds."""
    from aws_cdk import App, assertions  # noqa: PLC0415 - takes seconds

    spec = importlib.util.spec_from_file_location("app", EXAMPLES / "subscriber" / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = {"topic": TOPIC, "bucket": "my-results"}
    stack = module.build(App(outdir=str(folder), context=context))
    return [*assertions.Template.from_stack(stack).to_json()["Resources"].values()]


def test_the_cdk_deploys_what_sam_deploys(tmp_path: Path) -> None:
    resources = synthesized(tmp_path)

    def properties(kind: str) -> dict[str, Any]:
        [found] = [r["Properties"] for r in resources if r["Type"] == f"AWS::{kind}"]
        return found  # type: ignore[no-any-return]

    template = read_template("subscriber")
    [sam] = functions(template).values()
    function = properties("Lambda::Function")
    assert [function[name] for name in ("Handler", "Runtime", "Architectures", "Timeout", "MemorySize")] == [
        sam[name] for name in ("Handler", "Runtime", "Architectures", "Timeout", "MemorySize")
    ]  # fmt: skip
    assert set(function["Environment"]["Variables"]) == set(sam["Environment"]["Variables"])
    subscription = properties("SNS::Subscription")
    assert subscription["TopicArn"] == TOPIC
    assert subscription["FilterPolicy"] == sam["Events"]["Ends"]["Properties"]["FilterPolicy"]
    table, seen = properties("DynamoDB::Table"), template["Resources"]["Seen"]["Properties"]
    assert {name: table[name] for name in seen} == seen
    statements = properties("IAM::Policy")["PolicyDocument"]["Statement"]
    read = next(s for s in statements if "s3:GetObject*" in s["Action"])
    assert "my-results/results/*" in str(read["Resource"])
    assert "OnFailure" in properties("Lambda::EventInvokeConfig")["DestinationConfig"]
