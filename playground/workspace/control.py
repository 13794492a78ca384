"""The control surface: the same actions over JSON, for the page and for other processes."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from playground.workspace.crowd import Rush
from playground.workspace.forms import NotAccepted
from playground.workspace.live import Live
from playground.workspace.places import NotVisible
from playground.workspace.records import Delivery, Execution, Message, View
from playground.workspace.sockets import Carried

if TYPE_CHECKING:
    from playground.workspace.workspace import Workspace

Json = dict[str, Any]


class PageControl:
    """Does what a page asks for, and tells it of every change."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._wake: set[asyncio.Event] = set()
        self._actions: dict[str, Callable[..., Any]] = {
            name: getattr(workspace, name)
            for name in (
                "type",
                "say",
                "click",
                "suggest",
                "fill",
                "submit",
                "close_view",
                "open_home",
                "shortcut",
                "run_step",
                "set_group",
                "disable_group",
                "grant_scopes",
                "revoke_scopes",
                "deactivate",
                "reactivate",
                "join",
                "leave",
                "archive",
                "rename",
                "delete_message",
                "later",
                "admit",
                "add_people",
            )
        } | {
            "steal": workspace.intruder.call,
            "copy_card": workspace.intruder.copy_card,
            "pretend_click": workspace.intruder.click,
            "replay": workspace.intruder.replay,
            "forge": workspace.intruder.forge,
            "rush_click": workspace.crowd.click,
            "rush_type": workspace.crowd.type,
        }

    async def act(self, action: str, options: Json) -> Json:
        """Do one thing by name; `fault` throws a switch. A person's own mistake is an answer, not an error."""
        if action == "fault":
            return self._fault(options)
        if action not in self._actions:
            return {"ok": False, "error": f"there is no action {action}"}
        do = self._actions[action]
        try:
            inspect.signature(do).bind(**options)
        except TypeError as error:
            return {"ok": False, "error": f"{action}: {error}"}
        try:
            # In a thread: an action waits for the app, and the app must be served meanwhile.
            result = await asyncio.to_thread(do, **options)
        except NotAccepted as refusal:
            return {"ok": False, "error": str(refusal), "errors": refusal.errors}
        except (NotVisible, LookupError, PermissionError, RuntimeError, ValueError, TimeoutError) as error:
            return {"ok": False, "error": str(error.args[0] if error.args else error)}
        return {"ok": True, "result": _shown(result)}

    def _fault(self, options: Json) -> Json:
        try:
            self._workspace.faults.apply(str(options.pop("what", "")), options)
        except (LookupError, TypeError) as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True}

    def wake(self) -> None:
        """Tell every open page that something changed."""
        for event in self._wake:
            event.set()

    async def live(self, websocket: WebSocket) -> None:
        """Send a page what it may see: everything once, then what changed."""
        await websocket.accept()
        try:
            user = self._workspace.state.user(websocket.query_params.get("user", ""))
        except KeyError:
            await websocket.close(1008)
            return
        changed = asyncio.Event()
        changed.set()
        self._wake.add(changed)
        live = Live(self._workspace.state, user)
        gone = asyncio.ensure_future(_until_gone(websocket))
        try:
            while not gone.done():
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                changed.clear()
                if not gone.done() and (news := live.news()):
                    await websocket.send_json(news)
        except (WebSocketDisconnect, RuntimeError):
            return
        finally:
            gone.cancel()
            self._wake.discard(changed)


async def _until_gone(websocket: WebSocket) -> None:
    try:
        while True:
            await websocket.receive_text()
    except WebSocketDisconnect:
        return


def _shown(result: Any) -> Any:
    if isinstance(result, Delivery):
        return {"type": result.type, "acked": result.acked, "error": result.error}
    if isinstance(result, Carried):
        return {"ok": result.ok, "status": result.status, "error": result.reason}
    if isinstance(result, Rush):
        return {
            "acked": result.acked,
            "errors": dict(result.errors),
            "seconds": result.seconds,
            "slowest": result.ack(),
        }
    if isinstance(result, list):
        return [_shown(one) for one in result]
    if isinstance(result, Execution):
        return {"id": result.id, "state": result.state, "outputs": result.outputs, "error": result.error}
    if isinstance(result, Message):
        return {"channel": result.channel, "ts": result.ts}
    if isinstance(result, View):
        return {"id": result.id}
    return result if isinstance(result, (dict, str, int, float, bool, type(None))) else None
