"""The AWS behavior that other tests need from the emulator."""

import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import Cloud
from local.subscriber import subscribe

PART = b"x" * (5 << 20)


@pytest.fixture
def name() -> str:
    return f"conformance-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def bucket(cloud: Cloud, name: str) -> str:
    cloud.s3.create_bucket(Bucket=name)
    cloud.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def queue(cloud: Cloud, name: str) -> str:
    service = {
        "Effect": "Allow",
        "Principal": {"Service": ["s3.amazonaws.com", "sns.amazonaws.com"]},
        "Action": "sqs:SendMessage",
        "Resource": "*",
    }
    attributes: Any = {"Policy": _policy(service)}
    return cloud.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]


@pytest.fixture
def table(cloud: Cloud, name: str) -> str:
    keys: list[Any] = ["job", "item", "open", "status_key"]
    cloud.tables.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        KeySchema=_keys("job", "item"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": "unfinished",
                "KeySchema": _keys("open", "status_key"),
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    return name


@pytest.fixture
def function(cloud: Cloud, name: str) -> Iterator[Callable[..., str]]:
    """Create a function from Python source whose role only allows logs."""
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    iam = cloud.session.client(
        "iam", endpoint_url=cloud.endpoint, verify=str(cloud.certificate or "")
    )
    role = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=_policy(trust),
    )

    def make(body: str, allowed: str = "logs:PutLogEvents") -> str:
        allow = {"Effect": "Allow", "Action": allowed, "Resource": "*"}
        iam.put_role_policy(RoleName=name, PolicyName=name, PolicyDocument=_policy(allow))
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("index.py", body)
        cloud.functions.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="index.handler",
            Role=role["Role"]["Arn"],
            Timeout=3,
            Code={"ZipFile": code.getvalue()},
        )
        return name

    yield make
    cloud.functions.delete_function(FunctionName=name)


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _keys(partition: str, sort: str) -> Any:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def arn(cloud: Cloud, queue: str) -> str:
    answer = cloud.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


def received(cloud: Cloud, queue: str, wait_s: int = 3) -> list[Any]:
    answer = cloud.sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=wait_s)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def refused(call: Callable[[], object]) -> Any:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response


def test_s3_notifications_carry_the_version_and_the_encoded_key(
    cloud: Cloud, bucket: str, queue: str
) -> None:
    cloud.s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [
                {"QueueArn": arn(cloud, queue), "Events": ["s3:ObjectCreated:*"]}
            ]
        },
    )
    received(cloud, queue, 0)  # S3's own test event

    put = cloud.s3.put_object(Bucket=bucket, Key="a b/ü+.jsonl", Body=b"1")
    [event] = [message for message in received(cloud, queue) if "Records" in message]

    s3_object = event["Records"][0]["s3"]["object"]
    assert s3_object["key"] == "a+b/%C3%BC%2B.jsonl"
    assert s3_object["versionId"] == put["VersionId"]


def test_a_conditional_put_does_not_overwrite_an_object(cloud: Cloud, bucket: str) -> None:
    def put() -> object:
        return cloud.s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")

    put()

    assert refused(put)["Error"]["Code"] == "PreconditionFailed"


def test_s3_reads_a_range_of_a_version(cloud: Cloud, bucket: str) -> None:
    first = cloud.s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    cloud.s3.put_object(Bucket=bucket, Key="k", Body=b"other")

    answer = cloud.s3.get_object(
        Bucket=bucket, Key="k", VersionId=first["VersionId"], Range="bytes=3-5"
    )

    assert answer["Body"].read() == b"345"


def test_s3_combines_uploaded_and_copied_parts(cloud: Cloud, bucket: str) -> None:
    cloud.s3.put_object(Bucket=bucket, Key="source", Body=PART)
    upload = cloud.s3.create_multipart_upload(Bucket=bucket, Key="joined")["UploadId"]
    where: Any = {"Bucket": bucket, "Key": "joined", "UploadId": upload}

    copied = cloud.s3.upload_part_copy(
        **where, PartNumber=1, CopySource={"Bucket": bucket, "Key": "source"}
    )
    sent = cloud.s3.upload_part(**where, PartNumber=2, Body=b"end")
    parts: Any = [
        {"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]},
        {"PartNumber": 2, "ETag": sent["ETag"]},
    ]
    cloud.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})

    assert cloud.s3.get_object(Bucket=bucket, Key="joined")["Body"].read() == PART + b"end"


def test_dynamodb_rejects_a_write_whose_condition_fails(cloud: Cloud, table: str) -> None:
    def put() -> object:
        return cloud.tables.put_item(
            TableName=table,
            Item={"job": {"S": "j"}, "item": {"S": "#"}},
            ConditionExpression="attribute_not_exists(job)",
        )

    put()

    assert refused(put)["Error"]["Code"] == "ConditionalCheckFailedException"


def test_a_dynamodb_transaction_is_all_or_nothing_and_names_the_failed_condition(
    cloud: Cloud, table: str
) -> None:
    cloud.tables.put_item(TableName=table, Item={"job": {"S": "j"}, "item": {"S": "there"}})
    items: Any = [
        {
            "Put": {
                "TableName": table,
                "Item": {"job": {"S": "j"}, "item": {"S": item}},
                "ConditionExpression": "attribute_not_exists(job)",
            }
        }
        for item in ("new", "there")
    ]

    answer = refused(lambda: cloud.tables.transact_write_items(TransactItems=items))

    reasons = [reason["Code"] for reason in answer["CancellationReasons"]]
    assert reasons == ["None", "ConditionalCheckFailed"]
    assert "Item" not in cloud.tables.get_item(
        TableName=table, Key={"job": {"S": "j"}, "item": {"S": "new"}}
    )


def test_a_dynamodb_index_holds_only_items_with_its_keys_in_order(
    cloud: Cloud, table: str
) -> None:
    for item, since in {"b": "2", "a": "1"}.items():
        place = {"job": {"S": "j"}, "item": {"S": item}}
        cloud.tables.put_item(
            TableName=table, Item=place | {"open": {"S": "open"}, "status_key": {"S": since}}
        )
    cloud.tables.put_item(TableName=table, Item={"job": {"S": "j"}, "item": {"S": "finished"}})

    answer = cloud.tables.query(
        TableName=table,
        IndexName="unfinished",
        KeyConditionExpression="#o = :o",
        ExpressionAttributeNames={"#o": "open"},
        ExpressionAttributeValues={":o": {"S": "open"}},
    )

    assert [item["item"]["S"] for item in answer["Items"]] == ["a", "b"]


def test_sns_delivers_only_what_the_filter_policy_matches(
    cloud: Cloud, queue: str, name: str
) -> None:
    topic = cloud.sns.create_topic(Name=name)["TopicArn"]
    cloud.sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn(cloud, queue),
        Attributes={"FilterPolicy": '{"type": ["job.completed"], "folder": [{"prefix": "a/"}]}'},
    )
    for kind, folder in (("job.planned", "a/b"), ("job.completed", "b"), ("job.completed", "a/b")):
        attributes: Any = {"type": _text(kind), "folder": _text(folder)}
        cloud.sns.publish(
            TopicArn=topic, Message=kind, MessageAttributes=attributes, Subject=folder
        )

    [delivered] = received(cloud, queue)

    assert (delivered["Message"], delivered["Subject"]) == ("job.completed", "a/b")
    assert received(cloud, queue, 0) == []


def test_our_subscriber_gets_events_with_their_attributes(cloud: Cloud, name: str) -> None:
    topic = cloud.sns.create_topic(Name=name)["TopicArn"]
    with subscribe(cloud, topic) as subscriber:
        cloud.sns.publish(
            TopicArn=topic,
            Message='{"id": "1"}',
            Subject="said",
            MessageAttributes={"type": _text("t")},  # type: ignore[dict-item]
        )

        [delivery] = subscriber.receive(wait_s=3)

    assert (delivery.event, delivery.subject) == ({"id": "1"}, "said")
    assert delivery.attributes == {"type": "t"}


def test_sqs_moves_a_message_received_too_often_to_the_dead_letter_queue(
    cloud: Cloud, queue: str, name: str
) -> None:
    redrive = json.dumps({"deadLetterTargetArn": arn(cloud, queue), "maxReceiveCount": 1})
    source = cloud.sqs.create_queue(
        QueueName=f"{name}-source",
        Attributes={"VisibilityTimeout": "0", "RedrivePolicy": redrive},
    )["QueueUrl"]
    cloud.sqs.send_message(QueueUrl=source, MessageBody='"again"')

    for _ in range(2):
        cloud.sqs.receive_message(QueueUrl=source)

    assert received(cloud, queue) == ["again"]


def test_lambda_stops_a_function_at_its_timeout(
    cloud: Cloud, function: Callable[..., str]
) -> None:
    function_name = function("import time\ndef handler(event, context):\n    time.sleep(30)\n")

    began = time.monotonic()
    answer = cloud.functions.invoke(FunctionName=function_name)

    assert "timed out" in answer["Payload"].read().decode()
    assert answer["FunctionError"]
    assert time.monotonic() - began < 20


def test_a_lambda_function_can_do_only_what_its_role_allows(
    cloud: Cloud, function: Callable[..., str], queue: str
) -> None:
    function_name = function(
        "import boto3\n"
        "def handler(queue, context):\n"
        "    entry = {'Id': '1', 'MessageBody': '\"sent\"'}\n"
        "    sqs = boto3.client('sqs')\n"
        "    sqs.send_message_batch(QueueUrl=queue, Entries=[entry])\n"
        "    sqs.purge_queue(QueueUrl=queue)\n",
        allowed="sqs:SendMessage",
    )

    answer = cloud.functions.invoke(FunctionName=function_name, Payload=json.dumps(queue).encode())

    assert "AccessDenied" in (payload := answer["Payload"].read().decode())
    assert "sqs:PurgeQueue" in payload
    assert received(cloud, queue) == ["sent"]


def _text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}
