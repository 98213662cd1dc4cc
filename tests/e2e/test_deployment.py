from local.cloud import Cloud


def test_the_real_cli_deploys_the_stack_under_enforced_iam(
    cloud: Cloud, outputs: dict[str, str]
) -> None:
    [stack] = cloud.stacks.describe_stacks(StackName="relay-e2e")["Stacks"]

    assert stack["StackStatus"] in {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
    }  # whichever test came first
    assert outputs["UploadsBucket"]
