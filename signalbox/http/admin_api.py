"""What operators ask for: saved and running traces, diagrams. Served by Quart.

Traces need the admin token or a user's (`Authorization: Bearer`), or a session. Diagrams hold no
data and are open.
"""

from __future__ import annotations

import re
from typing import Any

from quart import Response, has_request_context, jsonify, request, websocket
from quart_trio import QuartTrio

from signalbox.actors.ports import Workers
from signalbox.actors.trace_hub import TraceHub
from signalbox.errors import StoreUnavailable
from signalbox.http.admin.access import AdminAccess
from signalbox.http.admin.problems import admin_required
from signalbox.http.paths import find_place
from signalbox.ids import is_uuid7
from signalbox.machines.diagram import MACHINES, render
from signalbox.persistence.stores import Store
from signalbox.persistence.views import trace_detail, trace_summary

MOST_TRACES = 500
USUAL_TRACES = 50
DIAGRAMS = {
    "mmd": ("mermaid", "text/plain; charset=utf-8"),
    "md": ("md", "text/markdown; charset=utf-8"),
    "svg": ("svg", "image/svg+xml"),
    "dot": ("dot", "text/vnd.graphviz; charset=utf-8"),
}
"""A file's extension → the format as `render` names it, and its content type."""


def add_admin_routes(
    app: QuartTrio,
    *,
    access: AdminAccess,
    store: Store,
    readers: Workers,
    hub: TraceHub,
) -> None:
    """Adds the routes to `app`. `readers` run the store's reads."""

    @app.get("/diagrams/<machine>.<extension>")
    async def diagram(machine: str, extension: str) -> Any:
        if machine not in MACHINES or extension not in DIAGRAMS:
            return not_there()
        format, content_type = DIAGRAMS[extension]
        return Response(render(machine, format), content_type=content_type)

    @app.get("/traces")
    async def traces() -> Any:
        if not await may_look(access):
            return unauthorised()
        try:
            limit = _limit(request.args.get("limit"))
            before = _trace_id(request.args.get("before"), "before")
            state = _state(request.args.get("state"))
        except ValueError as error:
            return problem(400, "invalid_value", str(error))

        def load() -> list[dict[str, Any]]:
            found = store.list_traces(limit=limit, before=before, state=state, model=request_model)
            return [trace_summary(trace) for trace in found]

        request_model = request.args.get("model")
        saved = await readers.run(load)
        under_way = [] if before or state or request_model else hub.under_way()
        return jsonify(under_way=under_way, traces=saved)

    @app.get("/traces/<trace_id>")
    async def trace(trace_id: str) -> Any:
        if not await may_look(access):
            return unauthorised()
        if not is_uuid7(trace_id):
            return problem(400, "invalid_value", "Expected a trace id, which is a UUIDv7.")
        saved = await readers.run(store.load_trace, trace_id)
        if saved is not None:
            return jsonify(trace_detail(saved))
        running = hub.current(trace_id)
        if running is not None:
            return jsonify(running)
        return problem(404, "trace_not_found", f"There is no trace {trace_id}.")

    @app.errorhandler(StoreUnavailable)
    async def database_away(error: StoreUnavailable) -> Any:
        return problem(503, "database_unavailable", str(error))

    @app.errorhandler(404)
    async def not_found(_: object) -> Any:
        return not_there()

    @app.errorhandler(405)
    async def not_allowed(error: Any) -> Any:
        answer, status = problem(405, "method_not_allowed", f"{request.method} is not possible.")
        answer.headers["allow"] = ", ".join(sorted(error.valid_methods or ()))
        return answer, status

    @app.errorhandler(500)
    async def crashed(_: object) -> Any:
        return problem(500, "internal_error", "The gateway itself failed; its log says where.")


async def may_look(access: AdminAccess) -> bool:
    """Whether somebody sends the current request who may look."""
    fields = [(name.lower(), value) for name, value in request.headers.items()]
    return await access.caller(fields) is not None


def not_there() -> tuple[Response, int]:
    path = (request if has_request_context() else websocket).path
    code = "not_found" if find_place(path.encode()) is None else "unsupported_endpoint"
    return problem(404, code, f"There is nothing at {path}.")


def problem(status: int, code: str, message: str) -> tuple[Response, int]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return jsonify(error={"message": message, "type": kind, "code": code, "param": None}), status


def unauthorised() -> tuple[Response, int]:
    error = admin_required().error
    answer, status = problem(error.status, error.code, error.message)
    answer.headers.extend(error.headers)
    return answer, status


def _limit(text: str | None) -> int:
    if text is None:
        return USUAL_TRACES
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MOST_TRACES:
        raise ValueError(f"limit: expected a whole number from 1 to {MOST_TRACES}")
    return int(text)


def _trace_id(text: str | None, name: str) -> str | None:
    if text is not None and not is_uuid7(text):
        raise ValueError(f"{name}: expected a trace id, which is a UUIDv7")
    return text


def _state(text: str | None) -> str | None:
    if text not in (None, "done", "failed"):
        raise ValueError("state: expected done or failed")
    return text
