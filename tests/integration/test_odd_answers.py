"""Answers that only some parsers of JSON accept are delivered byte for byte, like any other."""

from collections.abc import Generator

import pytest

from tests.harness import Harness, make_row

KEY = "in/march.jsonl"
ODD = [
    rb'"\ud83d"', rb'"a \uDC00 b"', rb'"\ud83d\u0041"', rb'"\\\ud83d"', b"NaN", b"-Infinity", b"[Infinity, 1]",
    rb'"NaN \ud83d\ude00"', b'"Infinity"',
]  # fmt: skip


def with_tool_input(line: bytes, value: bytes) -> bytes:
    block = b'{"type":"tool_use","id":"t1","name":"x","input":{"x":%b}},' % value
    return line.replace(b'"content":[', b'"content":[' + block)


@pytest.mark.parametrize("disk_bytes", [1 << 30, 4_000])
def test_an_answer_is_delivered_whatever_a_parser_thinks_of_it(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, disk_bytes: int
) -> None:
    relay.deploy(disk_bytes=disk_bytes, report="full")
    download = relay.results.claude.results

    def odd_results(batch_id: str, start: int = 0) -> Generator[bytes]:
        lines = sorted(b"".join(download(batch_id)).splitlines(keepends=True))
        odd = [with_tool_input(line, ODD[_row(line) % len(ODD)]) for line in lines]
        yield b"".join(odd)[start:]

    monkeypatch.setattr(relay.results.claude, "results", odd_results)
    fates = ["[fate:overloaded_error]", "[fate:invalid_request_error]", *[""] * 10]
    relay.upload(f"{KEY}.relay.toml", b'outputs = ["csv", "openai", "bedrock"]')
    relay.upload(KEY, b"\n".join(make_row(row, fate) for row, fate in enumerate(fates, 1)))
    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["counts"] == {"errored": 1, "succeeded": 11}
    assert manifest["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)
    assert (manifest["exports"]["reason"], manifest["report"]["reason"]) == (None, None)
    for row, line in enumerate(relay.read(KEY, "results.jsonl").splitlines(), 1):
        assert row == 2 or b'"input":{"x":%b}' % ODD[row % len(ODD)] in line
    for name in ("results.csv", "openai/output.jsonl", "bedrock/march.jsonl.out"):
        assert relay.read(KEY, name).count(b"echo: ") == 11


def _row(line: bytes) -> int:
    """Return the row that the custom_id of a line of results names."""
    return int(line.partition(b'","result"')[0][-9:])
