"""Write answers as OpenAI's endpoints return them. The shapes are those of openai-python 3.57."""

from collections.abc import Callable, Mapping
from typing import Any

from functions.exports.openai.answer import Answer, Tokens, ToolCall, members
from functions.translations.openai.endpoints import Endpoint

type Body = dict[str, Any]

_FINISH_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of an answer that is incomplete, and the reason that responses give."""
_CHOICES = ("none", "auto", "required")


def body_of(endpoint: Endpoint, request: Mapping[str, Any], answer: Answer, created: int) -> Body:
    """Return the body of a response.

    Args:
        endpoint: the endpoint that the row is for.
        request: the body of the row.
        answer: Claude's answer.
        created: its time, in seconds since 1970.
    """
    return _BODIES[endpoint](request, answer, created)


def _chat(request: Mapping[str, Any], answer: Answer, created: int) -> Body:
    message: Body = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
    message["annotations"] = []
    finish_reason = _finish_reason(answer)
    if answer.calls and request.get("functions") and not request.get("tools"):
        message["function_call"] = _function(answer.calls[0])
        finish_reason = "function_call" if finish_reason == "tool_calls" else finish_reason
    elif answer.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": _function(call)}
            for call in answer.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    metadata = _metadata(request)
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion",
        "created": created,
        "model": answer.model,
        "choices": [choice],
        "usage": _usage(answer.tokens),
        "service_tier": None,
        "system_fingerprint": None,
    } | ({"metadata": metadata} if metadata else {})


def _completion(_request: Mapping[str, Any], answer: Answer, created: int) -> Body:
    finish_reason = _finish_reason(answer)
    choice = {
        "index": 0,
        "text": answer.text or "",
        "logprobs": None,
        "finish_reason": "stop" if finish_reason == "tool_calls" else finish_reason,
    }
    return {
        "id": f"cmpl-{answer.id}",
        "object": "text_completion",
        "created": created,
        "model": answer.model,
        "choices": [choice],
        "usage": _usage(answer.tokens),
    }


def _response(request: Mapping[str, Any], answer: Answer, created: int) -> Body:
    reason = _INCOMPLETE.get(_finish_reason(answer))
    status = "incomplete" if reason else "completed"
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": _metadata(request),
        "model": answer.model,
        "output": _output(answer, status),
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "temperature": None,
        "tool_choice": _tool_choice(request.get("tool_choice")),
        "tools": _tools(request.get("tools")),
        "top_p": None,
        "usage": _response_usage(answer.tokens),
    }


_BODIES: dict[Endpoint, Callable[[Mapping[str, Any], Answer, int], Body]] = {
    Endpoint.CHAT: _chat,
    Endpoint.COMPLETIONS: _completion,
    Endpoint.RESPONSES: _response,
}


def _finish_reason(answer: Answer) -> str:
    return _FINISH_REASONS.get(answer.stop_reason, "stop")


def _function(call: ToolCall) -> Body:
    return {"name": call.name, "arguments": call.arguments}


def _output(answer: Answer, status: str) -> list[Body]:
    content: list[Body] = []
    if answer.text is not None:
        content.append({"type": "output_text", "text": answer.text, "annotations": []})
    if answer.refusal is not None:
        content.append({"type": "refusal", "refusal": answer.refusal})
    message = {"type": "message", "id": answer.id, "role": "assistant", "status": status}
    calls: list[Body] = [
        {"type": "function_call", "id": f"fc_{call.id}", "call_id": call.id, "status": "completed"}
        | _function(call)
        for call in answer.calls
    ]
    return ([message | {"content": content}] if content else []) + calls


def _metadata(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a row, whose values must be strings."""
    metadata = members(request.get("metadata"))
    return {name: value for name, value in metadata.items() if isinstance(value, str)}


def _tool_choice(choice: object) -> str | Body:
    if isinstance(choice, str):
        return choice if choice in _CHOICES else "auto"
    name = members(choice).get("name")
    if members(choice).get("type") == "function" and isinstance(name, str):
        return {"type": "function", "name": name}
    return "auto"


def _tools(tools: object) -> list[Body]:
    listed = [members(tool) for tool in tools] if isinstance(tools, list) else []
    return [
        {
            "type": "function",
            "name": tool["name"],
            "parameters": members(tool.get("parameters")) or None,
            "strict": tool.get("strict") is True,
        }
        for tool in listed
        if tool.get("type") == "function" and isinstance(tool.get("name"), str)
    ]


def _usage(tokens: Tokens) -> Body:
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.answer,
        "total_tokens": tokens.prompt + tokens.answer,
        "prompt_tokens_details": {
            "cached_tokens": tokens.cache_reads,
            "cache_write_tokens": tokens.cache_writes,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": tokens.thinking,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _response_usage(tokens: Tokens) -> Body:
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {
            "cached_tokens": tokens.cache_reads,
            "cache_write_tokens": tokens.cache_writes,
        },
        "output_tokens": tokens.answer,
        "output_tokens_details": {"reasoning_tokens": tokens.thinking},
        "total_tokens": tokens.prompt + tokens.answer,
    }
