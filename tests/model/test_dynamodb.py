"""The model's DynamoDB answers as moto does, call by call, through whole jobs."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.harness import REGION, make_table
from tests.model.checks import Moves
from tests.model.fake_services import DynamoDB
from tests.model.runs import Runner, no_chance
from tests.model.scenarios import RETRIED, SPLIT, Scenario
from tests.model.states import State


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        client = boto3.client("dynamodb", region_name=REGION)
        make_table(client)
        yield client


class Compared:
    """DynamoDB's client of the model, held against moto's."""

    def __init__(self, ours: DynamoDB, moto: Any, seen: Counter[str]) -> None:
        self._ours, self._moto, self._seen = ours, moto, seen
        self.exceptions = ours.exceptions

    def __getattr__(self, name: str) -> Any:
        def both(**arguments: Any) -> Any:
            expected = _answer(getattr(self._moto, name), arguments)
            error: ClientError | None = None
            try:
                answer = getattr(self._ours, name)(**arguments)
            except ClientError as raised:
                answer, error = None, raised
            assert _plain(answer, error) == expected
            self._seen[f"{name} refused" if error else name] += 1
            if error:
                raise error
            return answer

        return both

    def get_paginator(self, _name: str) -> "Compared":
        return self

    def paginate(self, **arguments: Any) -> Any:
        ours = self._ours.paginate(**arguments)
        theirs = self._moto.get_paginator("query").paginate(**arguments)
        assert ours[0]["Items"] == [item for page in theirs for item in page["Items"]]
        self._seen["query"] += 1
        return ours


def _answer(call: Any, arguments: dict[str, Any]) -> Any:
    try:
        return _plain(call(**arguments), None)
    except ClientError as error:
        return _plain(None, error)


def _plain(answer: Any, error: ClientError | None) -> Any:
    if error is not None:
        reasons: Any = error.response.get("CancellationReasons", [])
        codes = [one.get("Code") for one in reasons]
        return ["ConditionalCheckFailed" in codes, error.response.get("Item")]
    return {name: answer.get(name) for name in ("Item", "Attributes")}


@pytest.mark.parametrize("scenario", [RETRIED, SPLIT])
def test_answers_as_moto_does(moto: Any, scenario: Scenario) -> None:
    runner = Runner(scenario, Moves())
    seen: Counter[str] = Counter()
    for services in (runner.opened.submit, runner.opened.poll, runner.opened.results):
        table: Any = services.table
        table._dynamodb = Compared(table._dynamodb, moto, seen)  # noqa: SLF001
    state = scenario.begin()

    with no_chance(runner):
        for _ in range(20):
            state = _everything_twice(runner, state)
        table = runner.opened.submit.table
        assert not table.write(table.update("nobody", "#", {"status": "X"}, {"status": "Y"}))

    assert set(seen) >= {"get_item", "query", "update_item", "update_item refused"}
    assert seen["transact_write_items"] > 10
    assert seen["transact_write_items refused"]


def _everything_twice(runner: Runner, state: State) -> State:
    """Work off each message twice, then poll: what comes again is refused."""
    for message in [one for one in state.messages for _ in range(2)]:
        invocation, state = runner.start(replace(state, messages=()), message)
        state = runner.run(invocation, state).end
    later = replace(state, now=state.now + runner.cable.scenario.step_s, messages=())
    invocation, later = runner.start(later, None)
    return runner.run(invocation, later).end
