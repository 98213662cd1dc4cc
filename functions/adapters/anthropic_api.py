"""The adapter for Claude: the Message Batches API through the SDK's own client, streamed, never repeated where it costs.

Results alone are downloaded without the SDK.

`import anthropic` takes a second, so it is imported when the first request is made: a poll with nothing open
never pays for it. The client's own log is left off: at DEBUG it writes whole prompts.
"""

import hashlib
import math
import ssl
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import truststore
import urllib3
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from functions.adapters.secret import UNSET_KEY
from functions.errors import (
    UNREADABLE_JSON,
    ApiKeyRejectedError,
    ApiNotFoundError,
    ApiUnavailableError,
    DownloadError,
    KeyMissingError,
)
from functions.model import timestamps
from functions.model.create_response import (
    Ambiguous,
    MessageBatch,
    NotSent,
    Verdict,
    classify,
)

if TYPE_CHECKING:
    import anthropic
    import httpx2

PATH = "/v1/messages/batches"
PAGE = 1000
CONNECT_S, READ_S = 10.0, 60.0
CANCEL_S = 5.0
"""How long a cancel may keep silent: the next listing shows whether it was heard."""
BLOCK = 1 << 18
_MOMENT = timedelta(microseconds=1)
KEY_S = 300.0
"""How long a key is used before the secret is read again: a new one may be in it while the old one is still good."""


class _Page(msgspec.Struct):
    data: list[MessageBatch]
    has_more: bool  # a page that does not say so is no proof that there is no other


@dataclass
class _CountedBody:
    """Counts what of a body has gone out: cut off before its last byte, it was not accepted."""

    blocks: Iterable[bytes]
    size: int
    sent: int = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            self.sent += len(block)
            yield block

    @property
    def fully_sent(self) -> bool:
        return self.sent >= self.size


class Claude:
    """The API under one key.

    Args:
        base_url: where it is.
        api_version: the header `anthropic-version` of everything but create, which has the job's own.
        read_key: gives the key; called once, and anew (True) after a 401 or some minutes.
        create_timeout_s: how long sending one batch may take.
        read_s: how long any other answer may keep silent.
        clock: seconds, for the key's age.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_version: str,
        read_key: Callable[[bool], str],
        create_timeout_s: float = 600.0,
        read_s: float = READ_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._base_url, self._api_version = base_url, api_version
        self._read_key, self._create_timeout_s = read_key, create_timeout_s
        self._read_s, self._clock = read_s, clock
        self._fresh, self._key_since = False, clock()
        self._listed_at = -math.inf

    @cached_property
    def _key(self) -> str:
        key, self._key_since = self._read_key(self._fresh).strip(), self._clock()
        # Anything else could not be a header's value, and would fail in each request anew.
        if key == UNSET_KEY or not (key.isascii() and key.isprintable() and key):
            raise KeyMissingError
        return key

    @cached_property
    def _client(self) -> "anthropic.Anthropic":
        import anthropic  # noqa: PLC0415 - it takes a second, and most polls never need it

        headers = {"anthropic-version": self._api_version}
        return anthropic.Anthropic(
            api_key=self._key, base_url=self._base_url, max_retries=0, default_headers=headers
        )

    @cached_property
    def _wire(self) -> urllib3.PoolManager:
        """Reach the API without the SDK: by the certificates that the SDK takes, and the proxy that boto3 takes."""
        options: Any = {
            "timeout": urllib3.Timeout(connect=CONNECT_S, read=self._read_s),
            "ssl_context": truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        }
        proxies = ProxyConfiguration(get_environ_proxies(self._base_url))
        proxy = proxies.proxy_url_for(self._base_url)
        if proxy is None:
            return urllib3.PoolManager(**options)
        headers = proxies.proxy_headers_for(proxy)
        return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)

    @property
    def fingerprint(self) -> str:
        """Tell keys apart without keeping one: 12 hex digits of its SHA-256.

        Raises:
            KeyMissingError: there is none yet.
        """
        return hashlib.sha256(self._key.encode()).hexdigest()[:12]

    def reload_key_if_stale(self) -> None:
        """Let work begin with the secret's own key, or one that was so some minutes ago: all functions agree on it then."""
        if self._clock() - self._key_since >= KEY_S:
            self.reload_key()

    def reload_key(self) -> None:
        """Read the key anew before the next request: the one in hand is missing or refused."""
        self.__dict__.pop("_key", None)
        self.__dict__.pop("_client", None)
        self._fresh = True

    def create(self, blocks: Iterable[bytes], size: int, api_version: str) -> Verdict:
        """Create a Message Batch from a body that is ready to be sent; never repeated.

        Args:
            blocks: the body, ``{"requests":[…]}``.
            size: its length in bytes.
            api_version: the job's own.
        """
        import anthropic  # noqa: PLC0415 - as above
        import httpx2  # noqa: PLC0415

        body = _CountedBody(blocks, size)
        headers = {
            "Content-Length": str(size),
            "Content-Type": "application/json",
            "anthropic-version": api_version,
        }
        timeout = httpx2.Timeout(self._create_timeout_s, connect=CONNECT_S)
        try:
            answer = self._client.post(
                PATH, content=body, cast_to=httpx2.Response,
                options=_no_retry(headers=headers, timeout=timeout),
            )  # fmt: skip
        except anthropic.APIStatusError as error:
            verdict = classify(error.status_code, error.response.headers, _content(error.response))
            # An answer that came before the whole body had gone out: nothing was accepted.
            return (
                verdict
                if body.fully_sent or not isinstance(verdict, Ambiguous)
                else NotSent(verdict.reason)
            )
        except (anthropic.APIError, httpx2.HTTPError) as error:
            return _classify_disconnect(error, body)
        return classify(answer.status_code, answer.headers, answer.content)

    def listing(
        self, since: datetime, has_time: Callable[[], bool] = lambda: True
    ) -> tuple[list[MessageBatch], datetime]:
        """List every batch that was created since then, newest first; where the time is over, the younger of them.

        Returns:
            The batches, and since when they are complete.

        Raises:
            ApiUnavailableError: no list could be had now.
            ApiKeyRejectedError: the API refuses the key.
        """
        self._listed_at = self._clock()
        found: list[MessageBatch] = []
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            answer = self._get(PATH, query)
            page = _page(answer, known={batch.id for batch in found})
            found += [batch for batch in page.data if timestamps.parse(batch.created_at) >= since]
            older = page.data and timestamps.parse(page.data[-1].created_at) < since
            if older or not page.has_more:
                return found, since
            if not has_time():
                # Others of the last one's very moment may be on the next page.
                return found, timestamps.parse(page.data[-1].created_at) + _MOMENT
            query["after_id"] = page.data[-1].id

    @property
    def listing_age_s(self) -> float:
        """Return the seconds since the last listing was begun, whether it succeeded or not; infinite before the first."""
        return self._clock() - self._listed_at

    def retrieve(self, batch_id: str) -> MessageBatch | None:
        """Read one batch; None for a 404, which decides nothing alone.

        Raises:
            ApiUnavailableError: no answer, or one that decides nothing.
            ApiKeyRejectedError: the API refuses the key.
        """
        try:
            batch = msgspec.json.decode(self._get(f"{PATH}/{batch_id}", {}), type=MessageBatch)
        except ApiNotFoundError:
            return None
        except UNREADABLE_JSON as error:
            raise ApiUnavailableError(type(error).__name__) from None
        if batch.id != batch_id:
            message = "the answer is about another batch"
            raise ApiUnavailableError(message)
        return batch

    def cancel(self, batch_id: str) -> bool:
        """Ask for a batch to be canceled.

        Returns:
            Whether the answer shows the batch as canceling, or ended.

        Raises:
            ApiNotFoundError: a 404, which decides nothing.
            ApiUnavailableError: no answer, or one that decides nothing either (400, 409, 5xx).
            ApiKeyRejectedError: the API refuses the key.
        """
        import httpx2  # noqa: PLC0415

        with _translate_errors():
            answer = self._client.post(
                f"{PATH}/{batch_id}/cancel",
                cast_to=httpx2.Response,
                options=_no_retry(timeout=min(self._read_s, CANCEL_S)),
            )
        try:
            batch = msgspec.json.decode(answer.content, type=MessageBatch)
        except UNREADABLE_JSON:
            return False
        return batch.id == batch_id and not batch.running

    def results(self, batch_id: str, start: int = 0) -> Generator[bytes]:
        """Stream a batch's results as they are, in blocks of up to 256 KiB.

        From a byte on, they are asked for with a `Range`. No documentation says whether the API honors it: where all of
        them come, those before that byte are skipped.

        Not through the SDK: to import it takes more memory and more time than all else that `collect` does, and
        its HTTP client reads at a third of the speed.

        Raises:
            ApiNotFoundError: a 404, which decides nothing: good batches have them.
            ApiUnavailableError: no answer, or one that says later.
            ApiKeyRejectedError: the API refuses the key.
            DownloadError: the stream broke off.
        """
        headers = {
            "x-api-key": self._key,
            "anthropic-version": self._api_version,
            "user-agent": "claude-batch-relay",
        } | ({"range": f"bytes={start}-"} if start else {})
        url = f"{self._base_url.rstrip('/')}{PATH}/{batch_id}/results"
        try:
            answer = self._wire.request(
                "GET", url, headers=headers, preload_content=False, redirect=False, retries=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise ApiUnavailableError(type(error).__name__) from None
        try:
            if start and answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return
            partial = start > 0 and answer.status == HTTPStatus.PARTIAL_CONTENT
            if not partial:
                _refuse_errors(answer.status)
            yield from _behind(answer.stream(BLOCK, decode_content=True), 0 if partial else start)
        # urllib3 lets a ValueError pass where a chunk is said to be of less than nothing.
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            message = f"the results of {batch_id} broke off: {type(error).__name__}"
            raise DownloadError(message) from None
        finally:
            answer.close()  # the rest is not waited for
            self._wire.clear()  # nor is the next download, for which a connection would be too old

    def _get(self, path: str, query: dict[str, Any]) -> bytes:
        import httpx2  # noqa: PLC0415

        with _translate_errors():
            answer = self._client.get(
                path,
                cast_to=httpx2.Response,
                options=_no_retry(params=query, timeout=self._read_s),
            )
        return answer.content


def _no_retry(**more: Any) -> Any:  # noqa: ANN401 - the SDK's own options
    """Repeat nothing, and follow no redirect: the key would go to whatever host it names, whose word proves nothing."""
    return {"max_retries": 0, "follow_redirects": False, **more}


def _page(answer: bytes, known: Collection[str]) -> _Page:
    """Read a page of the list; one that goes on with what is known would go on for ever.

    Raises:
        ApiUnavailableError: it is none.
    """
    try:
        page = msgspec.json.decode(answer, type=_Page)
    except UNREADABLE_JSON as error:
        message = f"the list cannot be read: {type(error).__name__}"
        raise ApiUnavailableError(message) from None
    if page.has_more and (not page.data or page.data[-1].id in known):
        message = "the list does not go on"
        raise ApiUnavailableError(message)
    return page


class _translate_errors:  # noqa: N801 - reads as a statement
    """Turns the SDK's errors into ours, by what is to be done about them; theirs may quote a prompt, and end here."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        import anthropic  # noqa: PLC0415

        if isinstance(error, anthropic.NotFoundError):
            raise ApiNotFoundError from None
        if isinstance(error, anthropic.AuthenticationError | anthropic.PermissionDeniedError):
            raise ApiKeyRejectedError(error.status_code) from None
        if isinstance(error, anthropic.APIStatusError):
            message = f"status {error.status_code}"
            raise ApiUnavailableError(message) from None
        if isinstance(error, anthropic.APIError):
            raise ApiUnavailableError(type(error).__name__) from None


def _behind(blocks: Iterable[bytes], skip: int) -> Iterator[bytes]:
    """Leave out so many of the first bytes; the blocks that held them come empty, for who looks at the clock meanwhile."""
    for block in blocks:
        yield block[skip:]
        skip = max(skip - len(block), 0)


def _refuse_errors(status: int) -> None:
    """Turn a status that is no success into an error, by what is to be done about it."""
    if status == HTTPStatus.NOT_FOUND:
        raise ApiNotFoundError
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise ApiKeyRejectedError(status)
    if status != HTTPStatus.OK:
        message = f"status {status}"
        raise ApiUnavailableError(message)


def _classify_disconnect(error: Exception, body: _CountedBody) -> Verdict:
    """Say what a connection that broke proves."""
    import httpx2  # noqa: PLC0415

    cause = error.__cause__ or error
    never = isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    reason = type(cause).__name__
    return NotSent(reason) if never or not body.fully_sent else Ambiguous(reason)


def _content(answer: "httpx2.Response") -> bytes:
    import httpx2  # noqa: PLC0415

    try:
        return answer.read()
    except (httpx2.HTTPError, httpx2.StreamError):
        return b""
