"""Fuzz targets for triggers and configuration: S3 events, work messages, environment, context."""

import json
import urllib.parse

import msgspec

from functions.adapters.queues import read_work_message, work_message_for
from functions.adapters.table import deserialize, serialize
from functions.errors import SettingError
from functions.model.events import job_planned, stuck
from functions.model.ids import JOB_DIGITS, RequestId, job_id
from functions.model.items.job import Job
from functions.planning.claim import S3EventRecord
from functions.readers import suffix_of
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings
from functions.submit import _S3Event
from infra.errors import ContextError
from infra.settings import StackSettings
from tests.unit.factories import batch, job
from tests.verification.fuzz.leading_bytes import take_bytes

MAX_KEY_BYTES = 1024
KINDS: tuple[type[Settings], ...] = (SubmitSettings, PollSettings, ResultsSettings)


def message(data: bytes) -> None:
    """Check that a queue message is an S3 event, a work message, or rejected."""
    body = data.decode(errors="replace")
    try:
        event = msgspec.json.decode(body, type=_S3Event)
        if event.created is None:
            work_message = read_work_message(body)
            assert msgspec.json.decode(msgspec.json.encode(work_message)) == msgspec.to_builtins(
                work_message
            )
            return
    except (msgspec.DecodeError, RecursionError):
        return
    for created in event.created:
        assert isinstance(created.key, str)
        created.key.encode()


def key(data: bytes) -> None:
    """Check that any object key survives S3's event, and gives valid names."""
    name = data.decode(errors="ignore").encode()[:MAX_KEY_BYTES].decode(errors="ignore") or "x"
    record = {
        "eventTime": "2026-11-23T20:54:10.123Z",
        "s3": {"bucket": {"name": "uploads"}, "object": {"key": urllib.parse.quote_plus(name)}},
    }
    (created,) = msgspec.json.decode(json.dumps([record]), type=list[S3EventRecord])
    assert created.key == name
    assert (suffix_of(name) is None) == (not name.lower().endswith((".jsonl", ".ndjson")))
    new_job = job(name, job=job_id("uploads", name, "v1"))
    assert (len(new_job.job), int(new_job.job, 16) >= 0) == (JOB_DIGITS, True)
    _check_results_prefix(new_job)
    assert msgspec.convert(deserialize(serialize(msgspec.to_builtins(new_job))), Job) == new_job
    for event in (
        job_planned(new_job, "results", new_job.claimed_at),
        stuck(new_job, "x", new_job.claimed_at),
    ):
        assert 0 < len(event.sns_subject) < 100
        assert event.sns_subject.isascii()
        assert event.sns_subject.isprintable()
        for text in event.message_attributes().values():
            assert text
            assert all(_fits_xml(char) for char in text), ascii(text)
        assert msgspec.json.decode(msgspec.json.encode(event.cloud_event("urn:x")))
    assert work_message_for(batch()) == read_work_message(
        msgspec.json.encode(work_message_for(batch())).decode()
    )


def _fits_xml(char: str) -> bool:
    """Return whether SNS and SQS accept a character: https://www.w3.org/TR/REC-xml/#charsets."""
    return char in "\t\n\r" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char > "\uffff"  # fmt: skip


def _check_results_prefix(new_job: Job) -> None:
    """Check that the job's results folder is its own, with keys that S3 accepts."""
    folder = new_job.results_prefix
    assert folder.startswith("results/")
    assert folder.endswith(f"/{new_job.job}")
    assert len(f"{folder}/manifest.json".encode()) <= MAX_KEY_BYTES
    assert len(new_job.label) <= 50
    assert new_job.label.isascii()


def environment(data: bytes) -> None:
    """Check that any environment gives settings, or an error that names the wrong one."""
    lines = [line.partition("=") for line in data.decode(errors="replace").split("\n")]
    env = {name.strip(): value for name, _, value in lines}
    for kind in KINDS:
        try:
            settings = kind.from_env(env)
        except SettingError as error:
            assert str(error).startswith("the setting ")
            assert len(str(error)) < 500
        else:
            assert kind.from_env(settings.to_env()) == settings


def context(data: bytes) -> None:
    """Check that any CDK context gives settings, or an error of one line."""
    try:
        document = json.loads(data.decode(errors="replace"))
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    try:
        settings = StackSettings.from_context(document)
    except ContextError as error:
        assert "\n" not in str(error)
    else:
        assert 1 <= settings.poll_minutes <= 60
        assert settings.queued_requests >= settings.requests_per_batch
        assert settings.base_url.startswith(("https://", "http://"))
        assert not set(settings.base_url) & set(" @?#\n")


def request_id(data: bytes) -> None:
    """Check that a custom_id in our format can be parsed and written again, and no other."""
    (attempt, *row), rest = take_bytes(data, 5)
    text_ = rest.decode(errors="replace")
    parsed = RequestId.parse(text_)
    if parsed is not None:
        assert RequestId.parse(str(parsed)) == parsed
        assert text_.startswith(f"{parsed.job}-{parsed.chunk}-")
    built = RequestId(
        job_id("b", text_, "v"),
        f"{attempt * 391:05d}" + "ab"[: attempt % 3],
        attempt + 1,
        int.from_bytes(bytes(row)),
    )
    assert RequestId.parse(str(built)) == built
    assert len(str(built)) <= 64
    assert str(built).replace("-", "a").isalnum()
