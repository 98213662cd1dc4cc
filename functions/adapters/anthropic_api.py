"""The adapter for the Message Batches API. No request is repeated that may cost money.

It uses the SDK's client for everything but results, which are downloaded with urllib3.

`import anthropic` takes a second, so the first request imports it: a poll with nothing open never does.
The SDK's own log stays disabled, because at DEBUG it writes whole prompts.
"""

import hashlib
import ssl
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import truststore
import urllib3
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from functions.adapters.api_calls import ApiCall, recorded
from functions.adapters.secret import is_key
from functions.errors import (
    UNREADABLE_JSON,
    ApiKeyRejectedError,
    ApiNotFoundError,
    ApiUnavailableError,
    DownloadError,
    KeyMissingError,
    RelayError,
)
from functions.model import timestamps
from functions.model.api_results import MAX_COUNT
from functions.model.create_response import (
    Ambiguous,
    MessageBatch,
    NotSent,
    Verdict,
    classify,
    request_id_of,
)

if TYPE_CHECKING:
    import anthropic
    import httpx2

PATH = "/v1/messages/batches"
PAGE = 1000
CONNECT_TIMEOUT_S, READ_S = 10.0, 60.0
CANCEL_TIMEOUT_S = 5.0
"""Read timeout of a cancel, in seconds. It is short because the next listing shows its effect."""
COUNT_PATH, COUNT_TIMEOUT_S = "/v1/messages/count_tokens", 10.0
COUNTED = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control",
)  # fmt: skip
"""The members of params that `count_tokens` accepts."""
COUNTED_AT_ONCE = 8
"""Requests whose tokens are counted at once. Each has a connection, which is kept for the next one."""
BLOCK = 1 << 18
_MICROSECOND = timedelta(microseconds=1)
KEY_MAX_AGE_S = 300.0
"""Seconds after which the secret is read again. It may have a new key while the old one still works."""


class _TokenCount(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]


class _Page(msgspec.Struct):
    data: list[MessageBatch]
    has_more: bool  # required: without it, a page does not prove that the list is complete


@dataclass
class _CountedBody:
    """A request body that counts the bytes sent. The API cannot accept a body cut off before its last byte."""

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
        base_url: the API's address.
        api_version: the header `anthropic-version`; create uses the job's version instead.
        read_key: returns the key; its argument is True to bypass the cache.
        create_timeout_s: how long sending one batch may take.
        read_s: the read timeout of all other calls.
        clock: returns seconds, to compute the key's age.
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
        self._fresh, self._key_read_at = False, clock()

    @cached_property
    def _key(self) -> str:
        key, self._key_read_at = self._read_key(self._fresh).strip(), self._clock()
        if not is_key(key):
            raise KeyMissingError
        return key

    @property
    def _client(self) -> "anthropic.Anthropic":
        """The SDK's client under the current key. It outlives a key: opening one reads all certificates, in 25 ms."""
        self._sdk.api_key = self._key
        return self._sdk

    @cached_property
    def _sdk(self) -> "anthropic.Anthropic":
        import anthropic  # noqa: PLC0415 - takes a second; most polls do not need it

        headers = {"anthropic-version": self._api_version}
        return anthropic.Anthropic(
            api_key=self._key, base_url=self._base_url, max_retries=0, default_headers=headers
        )

    @cached_property
    def _http(self) -> urllib3.PoolManager:
        """The HTTP connections without the SDK."""
        return open_http(self._base_url, self._read_s)

    @property
    def fingerprint(self) -> str:
        """The first 12 hex digits of the key's SHA-256, which distinguish keys without storing one.

        Raises:
            KeyMissingError: the secret contains no key.
        """
        return hashlib.sha256(self._key.encode()).hexdigest()[:12]

    def reload_key_if_stale(self) -> None:
        """Reload the key if it is older than `KEY_MAX_AGE_S`, so that all functions soon use the same one."""
        if self._clock() - self._key_read_at >= KEY_MAX_AGE_S:
            self.reload_key()

    def reload_key(self) -> None:
        """Read the key again before the next request, because the current one is missing or rejected."""
        self.__dict__.pop("_key", None)
        self._fresh = True

    def create(
        self, blocks: Iterable[bytes], size: int, api_version: str, betas: Sequence[str] = ()
    ) -> Verdict:
        """Create a Message Batch from a finished body. This method never retries.

        Args:
            blocks: the body, ``{"requests":[…]}``.
            size: its length in bytes.
            api_version: the job's `anthropic-version`.
            betas: the values of `anthropic-beta`.
        """
        import anthropic  # noqa: PLC0415 - as above
        import httpx2  # noqa: PLC0415

        body = _CountedBody(blocks, size)
        headers = {
            "Content-Length": str(size),
            "Content-Type": "application/json",
            "anthropic-version": api_version,
        } | ({"anthropic-beta": ",".join(betas)} if betas else {})
        timeout = httpx2.Timeout(self._create_timeout_s, connect=CONNECT_TIMEOUT_S)
        with recorded("create", self._url(PATH)) as call:
            try:
                answer = self._client.post(
                    PATH, content=body, cast_to=httpx2.Response,
                    options=_no_retry(headers=headers, timeout=timeout),
                )  # fmt: skip
            except anthropic.APIStatusError as error:
                call.answered(error.status_code, error.response.headers)
                verdict = classify(
                    error.status_code, error.response.headers, _read_body(error.response)
                )
                # The response came before the body was fully sent: nothing was accepted.
                return (
                    verdict
                    if body.fully_sent or not isinstance(verdict, Ambiguous)
                    else NotSent(verdict.reason)
                )
            except (anthropic.APIError, httpx2.HTTPError) as error:
                call.problem = type(error).__name__
                return _classify_disconnect(error, body)
            call.answered(answer.status_code, answer.headers)
        return classify(answer.status_code, answer.headers, answer.content)

    def count_tokens(
        self, params: bytes, api_version: str, betas: Sequence[str] = ()
    ) -> int | None:
        """Return the input tokens of a request, by the free endpoint. Return None if the API refuses the request.

        Like `results`, this does not use the SDK, whose import takes a second.

        Args:
            params: the params of the request, as JSON. Members that the endpoint does not have are left out.
            api_version: the job's `anthropic-version`.
            betas: the values of `anthropic-beta`.

        Raises:
            ApiUnavailableError: no response, or an inconclusive one.
            ApiKeyRejectedError: the API rejects the key, or the key may not count.
        """
        members = msgspec.json.decode(params, type=dict[str, msgspec.Raw])
        body = {name: members[name] for name in COUNTED if name in members}
        headers = {
            "x-api-key": self._key,
            "anthropic-version": api_version,
            "content-type": "application/json",
            "user-agent": "claude-batch-relay",
        } | ({"anthropic-beta": ",".join(betas)} if betas else {})
        url = self._url(COUNT_PATH)
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=COUNT_TIMEOUT_S)
        with recorded("count_tokens", url) as call:
            try:
                answer = self._http.request(
                    "POST", url, body=msgspec.json.encode(body), headers=headers, redirect=False, retries=False, timeout=timeout,
                )  # fmt: skip
            # As in `results`, urllib3 raises ValueError for a negative chunk size.
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                raise ApiUnavailableError(type(error).__name__) from None
            call.answered(answer.status, answer.headers)
        if answer.status in {
            HTTPStatus.BAD_REQUEST,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        }:
            return None
        _raise_for_status(answer.status, answer.headers)
        try:
            return msgspec.json.decode(answer.data, type=_TokenCount).input_tokens
        except UNREADABLE_JSON as error:
            raise ApiUnavailableError(type(error).__name__) from None

    def list_batches(
        self, since: datetime, has_time: Callable[[], bool] = lambda: True
    ) -> tuple[list[MessageBatch], datetime]:
        """List the batches created since a time, newest first, until the time is used up.

        Args:
            since: the earliest creation time.
            has_time: returns whether another page may be requested.

        Returns:
            The batches, and the time since which the list is complete.

        Raises:
            ApiUnavailableError: the API did not return a readable list.
            ApiKeyRejectedError: the API rejects the key.
        """
        batches: list[MessageBatch] = []
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            answer = self._get("list_batches", PATH, query)
            page = _read_page(answer, known={batch.id for batch in batches})
            batches += [
                batch for batch in page.data if timestamps.parse(batch.created_at) >= since
            ]
            older = page.data and timestamps.parse(page.data[-1].created_at) < since
            if older or not page.has_more:
                return batches, since
            if not has_time():
                # The next page may have batches created at the same time as the last one.
                return batches, timestamps.parse(page.data[-1].created_at) + _MICROSECOND
            query["after_id"] = page.data[-1].id

    def retrieve(self, batch_id: str) -> MessageBatch | None:
        """Read one batch. Return None for a 404, which alone proves nothing.

        Raises:
            ApiUnavailableError: no response, or an inconclusive one.
            ApiKeyRejectedError: the API rejects the key.
        """
        try:
            answer = self._get("retrieve", f"{PATH}/{batch_id}", {})
            batch = msgspec.json.decode(answer, type=MessageBatch)
        except ApiNotFoundError:
            return None
        except UNREADABLE_JSON as error:
            raise ApiUnavailableError(type(error).__name__) from None
        if batch.id != batch_id:
            message = "the response describes another batch"
            raise ApiUnavailableError(message)
        return batch

    def cancel(self, batch_id: str) -> bool:
        """Request that a batch be canceled.

        Returns:
            True if the response shows the batch as canceling or ended.

        Raises:
            ApiNotFoundError: a 404, which proves nothing.
            ApiUnavailableError: no response, or an inconclusive one (400, 409, 5xx).
            ApiKeyRejectedError: the API rejects the key.
        """
        import httpx2  # noqa: PLC0415

        path = f"{PATH}/{batch_id}/cancel"
        with recorded("cancel", self._url(path)) as call, _translate_errors(call):
            answer = self._client.post(
                path,
                cast_to=httpx2.Response,
                options=_no_retry(timeout=min(self._read_s, CANCEL_TIMEOUT_S)),
            )
            call.answered(answer.status_code, answer.headers)
        try:
            batch = msgspec.json.decode(answer.content, type=MessageBatch)
        except UNREADABLE_JSON:
            return False
        return batch.id == batch_id and not batch.running

    def results(self, batch_id: str, start: int = 0) -> Generator[bytes]:
        """Stream a batch's results in blocks of up to 256 KiB, from the byte `start` on.

        The request has a `Range` header if `start` is not 0. The API's documentation does not mention ranges. If
        the response is complete, its first `start` bytes are skipped.

        The SDK is not used: importing it takes more memory and time than the rest of `collect`. Its HTTP client
        reads at a third of the speed.

        Raises:
            ApiNotFoundError: a 404, which proves nothing: existing batches get it too.
            ApiUnavailableError: no response, or a status other than 200.
            ApiKeyRejectedError: the API rejects the key.
            DownloadError: the connection failed during the download.
        """
        headers = {
            "x-api-key": self._key,
            "anthropic-version": self._api_version,
            "user-agent": "claude-batch-relay",
        } | ({"range": f"bytes={start}-"} if start else {})
        url = self._url(f"{PATH}/{batch_id}/results")
        with recorded("results", url) as call:
            try:
                answer = self._http.request(
                    "GET",
                    url,
                    headers=headers,
                    preload_content=False,
                    redirect=False,
                    retries=False,
                )
            except urllib3.exceptions.HTTPError as error:
                raise ApiUnavailableError(type(error).__name__) from None
            call.answered(answer.status, answer.headers)
            try:
                if start and answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return
                partial = start > 0 and answer.status == HTTPStatus.PARTIAL_CONTENT
                if not partial:
                    _raise_for_status(answer.status, answer.headers)
                yield from _skip_bytes(
                    answer.stream(BLOCK, decode_content=True), 0 if partial else start
                )
            # urllib3 raises ValueError for a negative chunk size.
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                message = f"the download of {batch_id}'s results failed: {type(error).__name__}"
                raise DownloadError(message) from None
            finally:
                answer.close()  # do not read the rest
                self._http.clear()  # an idle connection would be stale by the next download

    def _get(self, name: str, path: str, query: dict[str, Any]) -> bytes:
        import httpx2  # noqa: PLC0415

        with recorded(name, self._url(path)) as call, _translate_errors(call):
            answer = self._client.get(
                path,
                cast_to=httpx2.Response,
                options=_no_retry(params=query, timeout=self._read_s),
            )
            call.answered(answer.status_code, answer.headers)
        return answer.content

    def _url(self, path: str) -> str:
        return self._base_url.rstrip("/") + path


def open_http(base_url: str, read_s: float) -> urllib3.PoolManager:
    """Open HTTP connections with the SDK's certificates, and the proxies of boto3.

    Args:
        base_url: the address that a proxy may be configured for.
        read_s: the read timeout in seconds.
    """
    options: Any = {
        "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=read_s),
        "ssl_context": truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "maxsize": COUNTED_AT_ONCE,
    }
    proxies = ProxyConfiguration(get_environ_proxies(base_url))
    proxy = proxies.proxy_url_for(base_url)
    if proxy is None:
        return urllib3.PoolManager(**options)
    headers = proxies.proxy_headers_for(proxy)
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)


def _no_retry(**more: Any) -> Any:  # noqa: ANN401 - the SDK's own options
    """Return request options without retries or redirects: a redirect would send the API key to another host."""
    return {"max_retries": 0, "follow_redirects": False, **more}


def _read_page(answer: bytes, known: Collection[str]) -> _Page:
    """Read a page of the list.

    Raises:
        ApiUnavailableError: the page is unreadable, or the next page would repeat known batches forever.
    """
    try:
        page = msgspec.json.decode(answer, type=_Page)
    except UNREADABLE_JSON as error:
        message = f"the list of batches is unreadable: {type(error).__name__}"
        raise ApiUnavailableError(message) from None
    if page.has_more and (not page.data or page.data[-1].id in known):
        message = "the next page of the list would repeat known batches"
        raise ApiUnavailableError(message)
    return page


class _translate_errors:  # noqa: N801 - reads as a statement
    """Translates the SDK's errors into ours, by the reaction they need. Theirs may quote a prompt, so drop them."""

    def __init__(self, call: ApiCall) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        import anthropic  # noqa: PLC0415

        if isinstance(error, anthropic.APIStatusError):
            self._call.answered(error.status_code, error.response.headers)
            raise _error_of(error.status_code, error.response.headers) from None
        if isinstance(error, anthropic.APIError):
            raise ApiUnavailableError(type(error).__name__) from None


def _skip_bytes(blocks: Iterable[bytes], skip: int) -> Iterator[bytes]:
    """Drop the first `skip` bytes. Blocks inside them are yielded empty, so that callers can check the time."""
    for block in blocks:
        yield block[skip:]
        skip = max(skip - len(block), 0)


def _raise_for_status(status: int, headers: Mapping[str, str]) -> None:
    """Raise the error that belongs to a status other than 200."""
    if status != HTTPStatus.OK:
        raise _error_of(status, headers)


def _error_of(status: int, headers: Mapping[str, str]) -> RelayError:
    """Return the error that belongs to a status other than 200, by the reaction that it needs."""
    if status == HTTPStatus.NOT_FOUND:
        return ApiNotFoundError()
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return ApiKeyRejectedError(status)
    request_id = request_id_of(headers)
    return ApiUnavailableError(
        f"status {status}" + (f" (request {request_id})" if request_id else "")
    )


def _classify_disconnect(error: Exception, body: _CountedBody) -> Verdict:
    """Return what a failed connection proves."""
    import httpx2  # noqa: PLC0415

    cause = error.__cause__ or error
    not_connected = isinstance(
        cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
    )
    reason = type(cause).__name__
    return NotSent(reason) if not_connected or not body.fully_sent else Ambiguous(reason)


def _read_body(answer: "httpx2.Response") -> bytes:
    import httpx2  # noqa: PLC0415

    try:
        return answer.read()
    except (httpx2.HTTPError, httpx2.StreamError):
        return b""
