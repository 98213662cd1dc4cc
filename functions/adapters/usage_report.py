"""The adapter for Anthropic's usage and cost reports, which an admin key reads.

Like `Claude.results`, it does not use the SDK, which has no resource for these reports. The documentation calls them legacy
and supported; docs/decisions.md says why they are read and not their successors.
"""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from http import HTTPStatus
from urllib.parse import urlencode

import msgspec
import urllib3

from functions.adapters.anthropic_api import open_http
from functions.errors import UNREADABLE_JSON, KeyMissingError, LedgerCheckError
from functions.model.nouns import count_of
from functions.model.pricing import newest_price_list
from functions.model.usage_comparison import Figures, Period

USAGE, COST = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
MAX_DAYS = 31
"""The most days that a page of a report may have."""
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5.0, 10.0
MAX_BYTES = 32 << 20
"""The largest page that is read. A row is some 400 bytes: one for each day, workspace, model and kind of token."""
_BLOCK_BYTES = 1 << 16
DEFAULT_WORKSPACE = "default"
_SEARCHES = "server_tool_use.web_search_requests"


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0


class _ServerTools(msgspec.Struct):
    web_search_requests: int = 0


class _Usage(msgspec.Struct):
    uncached_input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation: _CacheCreation
    server_tool_use: _ServerTools | None = None
    workspace_id: str | None = None


class _Cost(msgspec.Struct):
    amount: Decimal  # in cents
    service_tier: str | None = None
    workspace_id: str | None = None


class _Day[Row](msgspec.Struct):
    results: list[Row]


class _Page[Row](msgspec.Struct):
    data: list[_Day[Row]]
    has_more: bool  # required: without it, a page does not prove that the report is complete
    next_page: str | None = None


class UsageReport:
    """The reports of the organization.

    Args:
        base_url: the API's address.
        api_version: the header `anthropic-version`.
        read_key: returns the admin key.
        check_time: raises an error if there is no time for another request.
    """

    def __init__(
        self,
        *,
        base_url: str,
        api_version: str,
        read_key: Callable[[], str],
        check_time: Callable[[], None],
    ) -> None:
        self._base_url, self._api_version = base_url.rstrip("/"), api_version
        self._read_key, self._check_time = read_key, check_time

    @cached_property
    def _http(self) -> urllib3.PoolManager:
        return open_http(self._base_url, READ_TIMEOUT_S)

    @cached_property
    def _headers(self) -> dict[str, str]:
        key = self._read_key().strip()
        # Another key would not be a valid header value, and the error would quote it.
        if not (key.isascii() and key.isprintable() and key):
            message = "the admin secret contains no key; store an admin key from the Claude Console in it"
            raise KeyMissingError(message)
        return {
            "x-api-key": key,
            "anthropic-version": self._api_version,
            "user-agent": "claude-batch-relay",
        }

    def batches(self, period: Period, workspace: str) -> Figures:
        """Return what Message Batches used and cost in some days.

        Args:
            period: the days.
            workspace: the id of a workspace, or ``default``; empty for the whole organization.

        Raises:
            LedgerCheckError: a report cannot be read; the message says why.
            KeyMissingError: the secret contains no key, or cannot be read.
        """
        theirs, searches = Figures(), 0
        for usage in self._usage(period, workspace):
            created = usage.cache_creation
            theirs.add(
                Decimal(0),
                input=usage.uncached_input_tokens,
                output=usage.output_tokens,
                cache_read=usage.cache_read_input_tokens,
                cache_write=created.ephemeral_1h_input_tokens + created.ephemeral_5m_input_tokens,
            )
            searches += (usage.server_tool_use or _ServerTools()).web_search_requests
        for cost in self._costs(period, workspace):
            theirs.add(cost.amount / 100)
        if searches:
            # The cost report does not say which searches are of batches.
            price = newest_price_list().each[_SEARCHES]
            theirs.add(searches * Decimal(str(price)))
            theirs.notes.append(
                f"theirs includes {count_of(searches, 'web search')} at ${price} each"
            )
        return theirs

    def _usage(self, period: Period, workspace: str) -> Iterator[_Usage]:
        """Yield what batches used, by day and workspace."""
        query = {"service_tiers[]": "batch", "group_by[]": "workspace_id"}
        for row in self._rows(USAGE, query, period, _Page[_Usage]):
            if _is_in(row.workspace_id, workspace):
                yield row

    def _costs(self, period: Period, workspace: str) -> Iterator[_Cost]:
        """Yield what the tokens of batches cost. Only a report grouped by description tells them from other requests."""
        groups = ["description", "workspace_id"] if workspace else ["description"]
        for row in self._rows(COST, {"group_by[]": groups}, period, _Page[_Cost]):
            if row.service_tier == "batch" and _is_in(row.workspace_id, workspace):
                yield row

    def _rows[Row](
        self,
        path: str,
        query: Mapping[str, str | list[str]],
        period: Period,
        page_type: type[_Page[Row]],
    ) -> Iterator[Row]:
        """Yield the rows of a report.

        Raises:
            LedgerCheckError: a page cannot be read, or the next page would be this one again.
        """
        parameters = {
            "starting_at": f"{period.start}T00:00:00Z", "ending_at": f"{period.end}T00:00:00Z",
            "bucket_width": "1d", "limit": str(MAX_DAYS), **query,
        }  # fmt: skip
        next_page = None
        while True:
            try:
                page = msgspec.json.decode(self._get(path, parameters), type=page_type)
            except UNREADABLE_JSON as error:
                message = f"Anthropic's report is unreadable ({type(error).__name__})"
                raise LedgerCheckError(message) from None
            for day in page.data:
                yield from day.results
            if not page.has_more:
                return
            if page.next_page is None or page.next_page == next_page:
                message = "Anthropic's report is incomplete: its next page is missing"
                raise LedgerCheckError(message)
            next_page = parameters["page"] = page.next_page

    def _get(self, path: str, parameters: Mapping[str, str | list[str]]) -> bytes:
        self._check_time()
        url = f"{self._base_url}{path}?{urlencode(parameters, doseq=True)}"
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        try:  # no redirects: one would send the key to another host
            answer = self._http.request(
                "GET", url, headers=self._headers, preload_content=False, redirect=False, retries=False, timeout=timeout,
            )  # fmt: skip
            try:
                _raise_for_status(answer.status, self._base_url)
                body = self._read(answer)
            finally:
                answer.close()
        # As in `Claude.results`, urllib3 raises ValueError for a negative chunk size.
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            message = f"{self._base_url} does not answer with a report ({type(error).__name__})"
            raise LedgerCheckError(message) from None
        return body

    def _read(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """Read a page as it arrives, because the timeout is that of a single read.

        Raises:
            LedgerCheckError: the page is too large, or the time is over.
        """
        body = bytearray()
        while block := answer.read1(_BLOCK_BYTES, decode_content=True):
            self._check_time()
            body += block
            if len(body) > MAX_BYTES:
                message = f"Anthropic's report has more than {MAX_BYTES >> 20} MiB a page; leave out workspaceId"
                raise LedgerCheckError(message)
        return bytes(body)


def _is_in(workspace_id: str | None, workspace: str) -> bool:
    """Return whether a row belongs to a workspace. The default workspace has no id."""
    return workspace in {"", workspace_id or DEFAULT_WORKSPACE}


def _raise_for_status(status: int, base_url: str) -> None:
    """Raise the error that belongs to a status other than 200.

    Raises:
        LedgerCheckError: the message says what to do.
    """
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        message = (
            f"Anthropic rejects the admin key (status {status}); store an admin key (sk-ant-admin…) in the secret of "
            "adminSecretName: an API key may not read reports"
        )
    elif status == HTTPStatus.NOT_FOUND:
        message = f"{base_url} has no usage report (status 404); only Anthropic's own API has one: leave out adminSecretName"
    else:
        message = f"{base_url} answers with status {status} instead of a report"
    if status != HTTPStatus.OK:
        raise LedgerCheckError(message)
