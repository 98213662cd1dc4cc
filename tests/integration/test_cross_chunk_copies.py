"""Cross-chunk copies: rows that equal a row of an earlier chunk get its result, whatever happens before."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.batch_reset import MAX_REFETCHES, reset_batch
from functions.assembling.reopen import RECOLLECT, reopen
from functions.errors import DownloadError
from functions.model.items.batch import Batch, BatchStatus, CloseReason
from functions.model.items.work_item import SCHEMA, Step
from functions.model.items.work_message import WorkMessage
from functions.model.streams import CACHE_BLOCK
from functions.planning import equal_rows, plan
from functions.results import results
from tests.harness import RESULTS, Harness, open_harness
from tests.integration.deleted_files import pass_hours
from tests.integration.test_equal_rows import KEY, ONCE, rows, sent, start, types

S, E = "succeeded", "errored"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay with chunks of two rows, whose batches take ten minutes at Anthropic."""
    with open_harness(tmp_path) as harness:
        harness.deploy(requests_per_batch=2)
        harness.simulator.processing_s = 600.0
        yield harness


def batches(relay: Harness) -> dict[str, Batch]:
    """Return all batches of the job, by name."""
    job = relay.items.unfinished().jobs[0].job
    return {batch.item: batch for batch in relay.items.batches(job)}


def answers(relay: Harness) -> list[str]:
    """Return the answer in each row; for any other result its error or its type."""
    results = [line["result"] for line in relay.lines(KEY)]
    return [
        result["message"]["content"][0]["text"] if result["type"] == S
        else result.get("error", {}).get("error", {}).get("type", result["type"])
        for result in results
    ]  # fmt: skip


def delay_first(relay: Harness) -> None:
    """Keep Anthropic from accepting the first batch until faults are disarmed."""
    relay.simulator.arm("overloaded", times=0, contains="-00001-1-")


def until_copying(relay: Harness, texts: str) -> dict[str, Batch]:
    """Run a job until all its batches with requests are collected, the first chunk last. Return its batches."""
    delay_first(relay)
    start(relay, rows(texts))
    for _ in range(15):
        relay.tick(120)
    relay.simulator.disarm()
    for _ in range(60):
        relay.tick(120)
        by_name = batches(relay)
        if by_name["00001-1"].status == BatchStatus.COLLECTED:
            assert by_name["00002-2"].status == BatchStatus.ENDED
            return by_name
    raise AssertionError(relay.items.unfinished())


def delete(relay: Harness, key: str) -> None:
    relay.s3.delete_object(Bucket=RESULTS, Key=key)


def results_key(batch: Batch) -> str:
    assert batch.part is not None
    return batch.part.results.key


def check_equal(relay: Harness, texts: str) -> None:
    """Check that each row has an answer to its own text, and that each text was billed once."""
    words = texts.split()
    found = answers(relay)
    by_word = dict(zip(words, found, strict=True))
    assert found == [by_word[word] for word in words]
    assert all(answer.removeprefix("echo: ")[0] == word[0] for word, answer in by_word.items())
    assert sent(relay) == len(by_word)
    assert relay.manifest(KEY)["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)


def test_a_chunk_waits_for_the_answers_of_another_one_without_being_tried(relay: Harness) -> None:
    delay_first(relay)
    start(relay, rows("a b c a c b"))
    for _ in range(15):
        relay.tick(120)

    found = {name: (batch.status, batch.tries) for name, batch in batches(relay).items()}
    collected = BatchStatus.COLLECTED, 0
    waits = BatchStatus.ENDED, 0
    assert {name: found[name] for name in found if name != "00001-1"} == {
        "00002-1": collected, "00002-2": waits, "00003-1": collected, "00003-2": waits,
    }  # fmt: skip
    waiting = json.loads(relay.read(KEY, "status.json"))["waiting"]
    messages = {wait["reason"]: wait["message"] for wait in waiting}
    assert (
        messages["equal_rows"]
        == "rows of 2 batches wait for the answers to equal rows in other batches"
    )

    relay.simulator.disarm()
    relay.finish()
    check_equal(relay, "a b c a c b")
    names = [batch["batch"] for batch in relay.manifest(KEY)["batches"]]
    assert names == ["00001-1", "00002-1", "00002-2", "00003-1", "00003-2"]


def test_a_late_message_copies_no_result_before_the_others_are_collected(relay: Harness) -> None:
    delay_first(relay)
    start(relay, rows("a b c a"))
    for _ in range(15):
        relay.tick(120)
    waiting = batches(relay)["00002-2"]
    assert waiting.ended_at == batches(relay)["00002-1"].ended_at

    late = WorkMessage(schema=SCHEMA, job=waiting.job, item=waiting.item, next_step=Step.COLLECT)
    results(relay.results, late, relay.context)  # type: ignore[arg-type]

    assert batches(relay)["00002-2"].status == BatchStatus.ENDED
    relay.simulator.disarm()
    relay.finish()
    check_equal(relay, "a b c a")


def test_what_cannot_be_copied_in_the_time_is_copied_by_another_attempt(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.deploy(requests_per_batch=4)
    until_copying(relay, "a b c d a b c d")
    left_s = [0]

    def look(_context: object) -> int:
        left_s[0] -= 1
        return left_s[0] * 1000

    with monkeypatch.context() as patch:
        patch.setattr(type(relay.context), "get_remaining_time_in_millis", look)
        for _ in range(4):
            left_s[0] = 124
            relay.tick()
    relay.finish()

    check_equal(relay, "a b c d a b c d")
    names = [batch["batch"] for batch in relay.manifest(KEY)["batches"]]
    assert names == ["00001-1", "00002-1", "00002-2", "00002-3"]


def test_results_are_found_in_any_block_of_a_file(relay: Harness) -> None:
    texts = [f"w{number}" for number in range(700)]
    start(relay, rows(" ".join([*texts, "w0", "w699"])), requests_per_batch=700)
    relay.finish()

    found = answers(relay)
    assert len(b"".join(json.dumps(line).encode() for line in relay.lines(KEY))) > CACHE_BLOCK
    assert found[-2:] == [found[0], found[699]]
    assert len({*found}) == 700


def test_rows_end_as_the_row_whose_request_they_share(relay: Harness) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="bad")
    start(relay, rows("a bad b bad bad a"))
    relay.finish()

    assert types(relay) == f"{S} rejected {S} rejected rejected {S}"
    manifest = relay.manifest(KEY)
    assert (manifest["requests"], manifest["copies"]) == (2, 3)
    assert [line["custom_id"] for line in relay.lines(KEY, "retry.jsonl")] == [
        "id-2",
        "id-4",
        "id-5",
    ]


def test_halves_of_a_split_chunk_get_the_results_of_other_chunks(relay: Harness) -> None:
    relay.simulator.arm("too_large", times=0, more_than=1)
    start(relay, rows("a b b c b a c b"), requests_per_batch=4)
    relay.finish()

    assert types(relay) == " ".join([S] * 8)
    found = answers(relay)
    assert all(f" {word}" in f" {answer}" for word, answer in zip("abbcbacb", found, strict=True))
    assert relay.manifest(KEY)["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)


def test_a_canceled_job_copies_what_it_has(relay: Harness) -> None:
    delay_first(relay)
    start(relay, rows("a b c a c b"))
    for _ in range(15):
        relay.tick(120)
    relay.upload(KEY + ".cancel", b"")
    relay.finish()

    assert types(relay) == f"canceled canceled {S} canceled {S} canceled"
    assert sent(relay) == 1


def test_requests_that_need_other_betas_are_not_equal(relay: Harness) -> None:
    betas = [None, ["files-api-2025-04-14"], None, ["files-api-2025-04-14"]]
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "a"}],
    }
    lines = [
        {
            "recordId": f"id-{n}",
            "modelInput": body | ({} if beta is None else {"anthropic_beta": beta}),
        }
        for n, beta in enumerate(betas, 1)
    ]
    options = ONCE + b'models = {"*" = "claude-haiku-4-5"}'
    start(relay, [json.dumps(line).encode() for line in lines], options)
    relay.finish()

    assert types(relay) == " ".join([S] * 4)
    assert (relay.manifest(KEY)["requests"], relay.manifest(KEY)["copies"]) == (2, 2)


def plan_one_chunk_at_a_time(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look at the clock take a second, of which planning has one and a half."""
    monkeypatch.setattr(plan, "MAX_PLANNING_S", 1.5)
    seconds = iter(range(100_000, 0, -1))
    monkeypatch.setattr(
        type(relay.context), "get_remaining_time_in_millis", lambda _: next(seconds) * 1000
    )


def test_a_plan_of_several_invocations_finds_the_same_rows(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_one_chunk_at_a_time(relay, monkeypatch)
    start(relay, rows("a b c a c b a d"))
    relay.finish()

    check_equal(relay, "a b c a c b a d")


def test_rows_equal_to_those_with_deleted_digests_are_sent(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_one_chunk_at_a_time(relay, monkeypatch)
    start(relay, rows("a b a b"))
    (key,) = [
        entry["Key"]
        for entry in relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="work/")["Contents"]
        if entry["Key"].endswith(".digests")
    ]
    delete(relay, key)
    relay.finish()

    assert types(relay) == " ".join([S] * 4)
    assert [*relay.simulator.accepted_params().values()] == [2, 2]


def test_equal_rows_beyond_the_limit_are_sent(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equal_rows, "MAX_ROWS", 1)
    start(relay, rows("a b a b b a"))
    relay.finish()

    assert types(relay) == " ".join([S] * 6)
    assert (relay.manifest(KEY)["requests"], relay.manifest(KEY)["copies"]) == (4, 2)


def test_a_full_disk_is_no_fault_of_the_upload(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnFullDisk(equal_rows.EqualRows):
        def __init__(self) -> None:
            super().__init__()
            self._database.execute("PRAGMA max_page_count = 3")

    with monkeypatch.context() as patch:
        patch.setattr(equal_rows, "EqualRows", OnFullDisk)
        with pytest.raises(OSError, match="full"):
            start(relay, rows(" ".join(map(str, range(300)))), requests_per_batch=1000)
        assert relay.items.unfinished().jobs[0].faults == 0
    relay.finish()
    assert len(relay.lines(KEY)) == 300


def test_loading_digests_of_earlier_chunks_stops_at_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(equal_rows, "MAX_ROWS", 2)
    digests = [equal_rows.digest_of(params, []) for params in (b"a", b"b", b"c")]
    with closing(equal_rows.EqualRows()) as known:
        known.add_all(
            b"".join(map(equal_rows.record_of, [digests[0]] * 2 + digests[1:2], range(1, 4)))
        )
        known.add_all(equal_rows.record_of(digests[2], 4))
        assert [known.first_row(digest, 9) for digest in digests] == [1, 3, 9]


@pytest.mark.parametrize(("words", "attempts"), [("abcd", 3), ("abcdefghijklmnopqrst", 11)])
def test_results_that_do_not_fit_on_the_disk_are_copied_by_several_attempts(
    relay: Harness, words: str, attempts: int
) -> None:
    texts = " ".join(f"{word}-{'x' * 500}" for word in words * 2)
    relay.deploy(disk_bytes=4_000)
    start(relay, rows(texts), requests_per_batch=len(words))
    relay.finish()

    check_equal(relay, texts)
    names = [batch["batch"] for batch in relay.manifest(KEY)["batches"]]
    assert names == ["00001-1", *(f"00002-{attempt}" for attempt in range(1, attempts + 1))]


def copied_by_two_attempts(relay: Harness) -> tuple[str, list[Batch]]:
    """Run a job whose second chunk copies by two attempts. Return its texts, and its batches."""
    texts = " ".join(f"{word}-{'x' * 500}" for word in "abcdabcd")
    relay.deploy(disk_bytes=4_000)
    start(relay, rows(texts), requests_per_batch=4)
    relay.tick()
    job = relay.items.unfinished().jobs[0].job
    relay.finish()
    return texts, relay.items.batches(job)


def test_deleted_copies_of_several_attempts_can_be_recollected(relay: Harness) -> None:
    texts, (source, _, first, _) = copied_by_two_attempts(relay)
    delete(relay, results_key(source))
    delete(relay, results_key(first))
    answer = reopen(relay.results, RECOLLECT, source.job)
    assert answer["accepted"], answer
    pass_hours(relay)

    check_equal(relay, texts)


def test_copies_of_several_attempts_are_not_lost_on_a_smaller_disk(relay: Harness) -> None:
    texts, (source, *_) = copied_by_two_attempts(relay)
    delete(relay, results_key(source))
    relay.deploy(disk_bytes=2_500)
    assert reopen(relay.results, RECOLLECT, source.job)["accepted"]
    with pytest.raises(DownloadError):
        relay.finish()

    relay.deploy(disk_bytes=4_000)
    pass_hours(relay)
    check_equal(relay, texts)


def test_a_result_that_never_fits_says_what_to_do(relay: Harness) -> None:
    until_copying(relay, "a b c a")
    relay.deploy(disk_bytes=500)
    with pytest.raises(DownloadError):
        relay.tick()

    copying = batches(relay)["00002-2"]
    assert copying.last_error is not None
    assert "raise resultsDiskMib" in copying.last_error
    relay.deploy(disk_bytes=1 << 20)
    relay.finish()
    assert types(relay) == " ".join([S] * 4)


def test_deleted_results_are_fetched_again_before_they_are_copied(relay: Harness) -> None:
    found = until_copying(relay, "a b c a")
    delete(relay, results_key(found["00001-1"]))
    relay.finish()

    check_equal(relay, "a b c a")


def test_deleted_results_of_the_attempt_before_are_fetched_again(relay: Harness) -> None:
    found = until_copying(relay, "a b c a")
    delete(relay, results_key(found["00002-1"]))
    relay.finish()

    check_equal(relay, "a b c a")


def test_results_without_a_ledger_are_fetched_again_before_they_are_copied(relay: Harness) -> None:
    found = until_copying(relay, "a b c a")
    delete(relay, results_key(found["00001-1"]))
    delete(relay, found["00001-1"].ledger_key)
    pass_hours(relay, 72)

    check_equal(relay, "a b c a")


def lose(relay: Harness, batch: Batch) -> None:
    """Delete the results of a batch that were fetched again too often."""
    delete(relay, results_key(batch))
    assert relay.items.update_if_unchanged(batch, {"refetches": MAX_REFETCHES})


def test_rows_whose_results_are_lost_end_as_lost_and_can_be_retried(relay: Harness) -> None:
    lose(relay, until_copying(relay, "a b c a")["00001-1"])
    pass_hours(relay, 72)

    assert answers(relay)[3] == "result_lost"
    assert "id-4" in [line["custom_id"] for line in relay.lines(KEY, "retry.jsonl")]


def test_lost_results_of_several_chunks_are_given_up_together(relay: Harness) -> None:
    found = until_copying(relay, "a b c a d e d a")
    lose(relay, found["00001-1"])
    lose(relay, found["00003-1"])
    lose(relay, found["00004-1"])  # the earlier results of the chunk that copies both
    pass_hours(relay, 72)

    assert {*answers(relay)} == {"echo: c 0", "result_lost"}


def test_without_its_ledger_a_chunk_delivers_what_it_has(relay: Harness) -> None:
    found = until_copying(relay, "a b c a")
    delete(relay, found["00002-2"].ledger_key)
    pass_hours(relay, 72)

    assert types(relay) == f"{S} {S} {S} {E}"
    assert [line["custom_id"] for line in relay.lines(KEY)] == ["id-1", "id-2", "id-3", "id-4"]
    assert "was deleted" in str(relay.manifest(KEY)["batches"])


def test_without_its_request_body_a_chunk_is_not_sent_again_but_copies(relay: Harness) -> None:
    start(relay, rows("a b [fate:expired] a"))
    relay.tick()
    body = batches(relay)["00002-1"].requests_key
    delete(relay, body)
    pass_hours(relay, 72)

    assert types(relay) == f"{S} {S} expired {S}"
    assert body in str(relay.manifest(KEY)["batches"])


def test_deleted_copies_are_copied_again(relay: Harness) -> None:
    until_copying(relay, "a b c a")
    relay.context.left_s = 200.0  # too little to assemble at once
    relay.tick()
    copied = batches(relay)["00002-2"]
    assert copied.status == BatchStatus.COLLECTED
    delete(relay, results_key(copied))
    relay.context.left_s = 900.0
    pass_hours(relay)

    check_equal(relay, "a b c a")


def give_up(relay: Harness, chunk: str) -> str:
    """Run a job to its end in which the results of a chunk are given up, though Anthropic has them. Return its id."""
    closed = until_copying(relay, "a b c a")[f"{chunk}-1"]
    changes: dict[str, Any] = {
        "status": BatchStatus.ENDED,
        "next_step": "collect",
        "part": None,
        "tally": None,
        "close_reason": CloseReason.GONE,
    }
    counts = {"chunks_finished": -1, "collected_succeeded": -2}
    if chunk == "00002":  # it has a later attempt
        changes, counts = changes | {"refetches": 1}, {"chunks": 1}
    expected = {"status": BatchStatus.COLLECTED}
    assert relay.items.transition(closed, changes, expected=expected, job_increments=counts)
    relay.finish()
    gone = Counter(answers(relay))["results_gone"]
    assert gone == (3 if chunk == "00001" else 1)
    return closed.job


@pytest.mark.parametrize("chunk", ["00001", "00002"])
def test_results_that_are_recollected_reach_their_copies(relay: Harness, chunk: str) -> None:
    """The chunk that was given up has copies elsewhere, or copies results itself."""
    job = give_up(relay, chunk)
    answer = reopen(relay.results, RECOLLECT, job)
    assert answer["accepted"], answer
    relay.finish()
    check_equal(relay, "a b c a")


def test_a_poll_while_batches_are_reopened_copies_nothing_yet(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = give_up(relay, "00001")

    def reset_and_poll(*arguments: Any, **options: Any) -> bool:
        is_reset = reset_batch(*arguments, **options)
        relay.tick()
        return is_reset

    with monkeypatch.context() as patch:
        patch.setattr("functions.assembling.reopen.reset_batch", reset_and_poll)
        assert reopen(relay.results, RECOLLECT, job)["accepted"]
    relay.finish()
    check_equal(relay, "a b c a")
