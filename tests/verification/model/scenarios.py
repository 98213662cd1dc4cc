"""Small jobs, each with one kind of trouble; the search adds what may happen at any time."""

from dataclasses import dataclass, replace

from tests.verification.model.states import MessageBatch, State, timestamp

KEY = "in/march.jsonl"


@dataclass(frozen=True)
class Scenario:
    """One job, and the API's behavior.

    Attributes:
        name: Its name in tests and figures.
        rows: The behavior of each row; ``expires`` is sent twice, ``refused`` is rejected by create,
            ``broken`` cannot be sent.
        rows_per_batch: Rows of a chunk.
        attempts: How often a row may be sent.
        processing_s: How long a Message Batch takes.
        step_s: Time between two polls.
        hidden_s: How long a batch may be missing from the listings.
        unreadable: Objects with this in their key cannot be read.
        foreign: Number of requests of a foreign batch, if there is one.
        options: The options file of the bucket's root, if there is one.
        faults: What may go wrong; None for everything.
    """

    name: str
    rows: tuple[str, ...] = ("answered", "answered")
    rows_per_batch: int = 1
    attempts: int = 2
    processing_s: int = 400
    step_s: int = 400
    hidden_s: int = 500
    unreadable: str | None = None
    foreign: int = 0
    options: bytes | None = None
    faults: frozenset[str] | None = None

    def is_unreadable(self, key: str) -> bool:
        return self.unreadable is not None and self.unreadable in key

    @property
    def expected_lines(self) -> int | None:
        """Return how many lines the results must have, or None if the parts cannot be read."""
        if self.unreadable == "march":
            return 0
        return None if self.unreadable == ".results.jsonl" else len(self.rows)

    @property
    def upload(self) -> bytes:
        line = '{"custom_id":"%d","params":{"model":"claude-haiku-4-5","max_tokens":1,"messages":[{"role":"user","content":"%s"}]}}'
        lines = (line % (n, behavior) for n, behavior in enumerate(self.rows))
        return "\n".join("{" if "broken" in row_line else row_line for row_line in lines).encode()

    def initial_state(self) -> State:
        """Return the state in which the upload's event has just arrived."""
        from tests.verification.model.fake_services import s3_event  # noqa: PLC0415 - the services import scenarios

        body = self.upload
        options = {} if self.options is None else {"_relay.toml": self.options}
        state = State(
            objects={KEY: body, **options}, messages=(s3_event(KEY, len(body), timestamp(0)),)
        )
        if not self.foreign:
            return state
        foreign_batch = MessageBatch("msgbatch_1", tuple("xyz"[: self.foreign]), b'{"custom_id":"x","result":{}}\n',
                              created=0, ends=self.processing_s * 3, listed_from=0)  # fmt: skip
        return replace(state, claude=(foreign_batch,))


PLAIN = Scenario("plain")
RETRIED = Scenario("retried", rows=("expires",))
SPLIT = Scenario("split", rows=("answered", "refused"), rows_per_batch=2)
FOREIGN = Scenario("foreign", rows=("answered",), foreign=1)
REJECTED = Scenario("rejected", rows=("broken",))
DEADLINE = Scenario("deadline", rows=("answered",), options=b"deadline_hours = 0.2")
"""The deadline passes between two polls: the batch may be waiting, sent, unconfirmed or ended by then."""
LEDGER = Scenario(
    "unreadable ledger", rows=("answered",), unreadable=".ledger.jsonl", step_s=30_000
)
BODY = Scenario("unreadable body", rows=("answered",), unreadable="requests.json", step_s=30_000)
PARTS = Scenario(
    "unreadable parts", rows=("answered",), unreadable=".results.jsonl", step_s=30_000
)
UPLOAD = Scenario("unreadable upload", rows=("answered",), unreadable="march", step_s=30_000)
ALL = (PLAIN, RETRIED, SPLIT, FOREIGN, REJECTED, DEADLINE, LEDGER, BODY, PARTS, UPLOAD)
