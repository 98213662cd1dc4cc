"""Build the system prompt and the turns of a request."""

import re
from typing import Any

from functions.model.capabilities import Capabilities
from functions.translations.contract import NotTranslatableError
from functions.translations.openai.changes import Changes
from functions.translations.openai.content import Block

_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")


class Conversation:
    """Holds the system prompt and the turns, of user and assistant alternately.

    Consecutive messages of one role become one turn. Results of tool calls come first in their turn.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._system: list[Block] = []
        self._turns: list[tuple[str, list[Block]]] = []
        self._ids: dict[str, str] = {}
        self._uses: dict[str, int] = {}
        self._tools: dict[str, None] = {}

    def add_system(self, blocks: list[Block]) -> None:
        """Add to the system prompt, which precedes all turns."""
        if self._turns and blocks:
            self._changes.note("hoisted_system")
        self._system += blocks

    def add(self, role: str, blocks: list[Block], field: str) -> None:
        """Add a message. It must not be empty.

        Args:
            role: user or assistant.
            blocks: its content.
            field: where it is in the body.
        """
        if not blocks:
            sentence = f'"{field}" is empty; remove it or write its content'
            raise NotTranslatableError(code="empty_message", sentence=sentence)
        if not self._turns or self._turns[-1][0] != role:
            self._turns.append((role, []))
        self._turns[-1][1].extend(blocks)

    def call(self, call_id: str, tool: str, arguments: dict[str, Any]) -> Block:
        """Build the content block of a tool call. Its id is made unique and fit for the API.

        Args:
            call_id: the id in the body, which `result` names again.
            tool: the name of the tool.
            arguments: its input.
        """
        self._ids[call_id] = own = self._unique(_NOT_IN_AN_ID.sub("_", call_id))
        self._tools[tool] = None
        return {"type": "tool_use", "id": own, "name": tool, "input": arguments}

    def result(self, call_id: str, content: list[Block], field: str) -> Block:
        """Build the content block of a tool call's result."""
        if call_id not in self._ids:
            sentence = f'"{field}" is the result of a tool call that no message before it makes'
            raise NotTranslatableError(code="tool_result_unmatched", sentence=sentence)
        block = {"type": "tool_result", "tool_use_id": self._ids[call_id]}
        return block | {"content": _plain(content)} if content else block

    @property
    def tools_called(self) -> list[str]:
        """The names of the tools that the conversation calls, in order."""
        return [*self._tools]

    def params(self, model: Capabilities, *, structured: bool) -> dict[str, Any]:
        """Return `system` and `messages`.

        Args:
            model: what the model accepts.
            structured: True if the answer must follow a schema, which excludes a prefill.
        """
        self._check_order()
        self._check_tool_calls()
        if self._turns[-1][0] == "assistant":
            self._check_prefill(allowed=model.prefill and not structured)
        messages = [
            {"role": role, "content": _plain(_results_first(blocks))}
            for role, blocks in self._turns
        ]
        if not self._system:
            return {"messages": messages}
        return {"system": self._system_prompt(), "messages": messages}

    def _unique(self, base: str) -> str:
        """Return an id that no other call has: the base, or the base with a number."""
        own = base
        while own in self._uses:
            self._uses[base] += 1
            own = f"{base}_{self._uses[base]}"
        self._uses[own] = 1
        return own

    def _system_prompt(self) -> str | list[Block]:
        if any("cache_control" in block for block in self._system):
            return self._system
        return "\n".join(block["text"] for block in self._system)

    def _check_order(self) -> None:
        if not self._turns or self._turns[0][0] != "user":
            sentence = "the conversation does not begin with a user message; add one"
            raise NotTranslatableError(code="no_user_message", sentence=sentence)

    def _check_tool_calls(self) -> None:
        """Reject a conversation in which a call lacks its result, or the reverse. The API would."""
        pending = set[str]()
        for role, blocks in self._turns:
            answered = {block["tool_use_id"] for block in blocks if "tool_use_id" in block}
            if answered != pending and role == "user":
                sentence = "a tool call and its result must be in consecutive messages"
                raise NotTranslatableError(code="tool_result_unmatched", sentence=sentence)
            pending = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if pending:
            sentence = "the conversation ends with a tool call; add the result of the call"
            raise NotTranslatableError(code="tool_call_unanswered", sentence=sentence)

    def _check_prefill(self, *, allowed: bool) -> None:
        """Reject a beginning of the answer, unless allowed; the API refuses spaces at its end."""
        if not allowed:
            sentence = (
                "the last message is from the assistant, and this model cannot continue it; end with a user "
                "message"
            )
            raise NotTranslatableError(code="prefill_unsupported", sentence=sentence)
        last = self._turns[-1][1][-1]
        last["text"] = last["text"].rstrip()


def _results_first(blocks: list[Block]) -> list[Block]:
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _plain(blocks: list[Block]) -> str | list[Block]:
    """Return a single text as a string."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        only: str = blocks[0]["text"]
        return only
    return blocks
