"""The HTTP interface that controls the simulator, under ``/_simulator/``.

GET  health                                 {"status": "ok"}
GET  accounting                             as `Simulator.accounting`
GET  billed                                 {"succeeded", "batches": {<id>: succeeded}}: `Simulator.billed`
GET  bill                                   {"usd", "batches": {<id>: usd}, "unpriced": {<model>: answers}}
GET  batches/<id>/billed                    the billed custom_ids, one per line, as text
GET  faults                                 all faults with their descriptions
POST faults                                 {"name", "times"?, …options}
POST reset
POST foreign                                {"count", "workspace"?, "ended"?}: {"id"}
POST batches/<id>/end|cancel|archive|delete
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import batched

import msgspec

from local.simulator.catalog import FAULTS, Option
from local.simulator.errors import ApiError, ControlError, invalid, not_found
from local.simulator.http import Call, Reply, json_reply
from local.simulator.simulator import Simulator

PREFIX = "/_simulator/"
_LIMIT_BYTES = 1 << 16
_BILLED = re.compile(r"batches/([^/]+)/billed")
_BATCH = re.compile(r"batches/([^/]+)/(end|cancel|archive|delete)")


class _Foreign(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    workspace: str = "default"
    ended: bool = True


class _Fault(msgspec.Struct):
    name: str
    times: int = 1


def reply(simulator: Simulator, call: Call) -> Reply:
    """Answer a control call.

    Raises:
        ApiError: the path or the action is invalid; the message says why.
    """
    path = call.path.removeprefix(PREFIX)
    content = call.body.read(_LIMIT_BYTES)
    try:
        return _read(simulator, path) if call.method == "GET" else _do(simulator, path, content)
    except (ControlError, msgspec.MsgspecError) as error:
        raise invalid(str(error)) from error


def _read(simulator: Simulator, path: str) -> Reply:
    if match := _BILLED.fullmatch(path):
        return _ids(simulator.billed_ids(match[1]))
    documents: dict[str, Callable[[], object]] = {
        "health": lambda: {"status": "ok"},
        "accounting": simulator.accounting,
        "faults": lambda: {name: fault.description for name, fault in FAULTS.items()},
        "billed": lambda: _billed(simulator.billed()),
        "bill": lambda: simulator.bill().to_json(),
    }
    if path not in documents:
        raise _no_such_path(path)
    return json_reply(documents[path]())


def _billed(counts: Mapping[str, int]) -> dict[str, object]:
    return {"succeeded": sum(counts.values()), "batches": counts}


def _ids(ids: Iterator[str]) -> Reply:
    """Stream the ids in blocks: a batch may have 100,000."""
    blocks = (
        "".join(f"{custom_id}\n" for custom_id in block).encode()
        for block in batched(ids, 1000, strict=False)
    )
    return Reply(blocks, kind="text/plain", framing="chunked")


def _do(simulator: Simulator, path: str, content: bytes) -> Reply:
    done: dict[str, object] = {"done": True}
    if path == "reset":
        simulator.reset()
    elif path == "faults":
        _arm(simulator, content)
    elif path == "foreign":
        foreign = msgspec.json.decode(content, type=_Foreign)
        done["id"] = simulator.add_foreign(foreign.count, foreign.workspace, ended=foreign.ended)
    elif match := _BATCH.fullmatch(path):
        _batch(simulator, match[1], match[2])
    else:
        raise _no_such_path(path)
    return json_reply(done)


def _arm(simulator: Simulator, content: bytes) -> None:
    fault = msgspec.json.decode(content, type=_Fault)
    options = msgspec.json.decode(content, type=dict[str, Option])
    chosen = {key: value for key, value in options.items() if key not in {"name", "times"}}
    simulator.arm(fault.name, fault.times, **chosen)


def _batch(simulator: Simulator, batch_id: str, verb: str) -> None:
    verbs = {
        "end": simulator.end,
        "cancel": simulator.cancel,
        "archive": simulator.archive,
        "delete": simulator.delete,
    }
    verbs[verb](batch_id)


def _no_such_path(path: str) -> ApiError:
    return not_found(f"the simulator's control has no {PREFIX}{path}")
