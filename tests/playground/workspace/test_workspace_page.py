"""The page in a real browser: a person reads, types, clicks, fills in a form, and becomes somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sample_app import Bot, card, web_client

from playground.workspace import Workspace
from tests.journeys.browser import CHROMIUM, FLAGS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, when this machine has it."""
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM on this machine: the page was NOT tested")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: the page was NOT tested")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, ws: Workspace) -> Iterator[Any]:
    """The page as alice sees it; nothing may be logged as an error."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(5000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto(ws.url)
    page.wait_for_selector("#composer-text")
    yield page
    context.close()
    assert problems == []


@pytest.mark.realparts
def test_a_request_is_made_approved_and_seen_by_everybody(page: Any, ws: Workspace, bot: Bot) -> None:
    page.fill("#composer-text", "/ro")
    page.wait_for_selector(".hint-row >> text=/rotate")
    page.press("#composer-text", "Tab")
    page.keyboard.type("start aegis/jwt")
    page.keyboard.press("Enter")
    page.wait_for_selector("article >> text=waiting for approval")
    assert page.get_by_role("button", name="Approve").count() == 0  # shown to approvers only
    page.get_by_role("button", name="Reject").click()
    page.wait_for_selector("article.mine-only >> text=You are not an approver.")
    page.click(".acting")
    page.get_by_role("option", name="Bob Berg").click()
    page.get_by_role("button", name="Approve").click()
    page.wait_for_selector("article >> text=approved by")
    page.wait_for_selector(".mention-me >> text=@bob")
    assert page.locator("article.mine-only").count() == 0
    assert ws.complaints == []


@pytest.mark.realparts
def test_a_modal_is_filled_in_by_keyboard(page: Any, ws: Workspace, bot: Bot) -> None:
    page.fill("#composer-text", "/rotate")
    page.press("#composer-text", "Enter")
    page.wait_for_selector("dialog.modal")
    page.get_by_role("combobox", name="Credential").press_sequentially("db")
    page.wait_for_selector("[role=option] >> text=aegis/db-password")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Request").click()
    page.wait_for_selector(".field-error >> text=Please complete this required field.")
    page.get_by_label("Reason").fill("because I say so")
    page.keyboard.press("Enter")
    page.wait_for_selector(".field-error >> text=Say please.")
    assert page.get_by_label("Reason").input_value() == "because I say so"
    page.get_by_label("Reason").fill("because, please")
    page.get_by_role("button", name="Request").click()
    page.wait_for_selector("article >> text=waiting for approval")
    assert ws.messages("ops")[0].text == "aegis/db-password is requested."
    assert page.locator("dialog").count() == 0
    page.fill("#composer-text", "/rotate")
    page.press("#composer-text", "Enter")
    page.wait_for_selector("dialog.modal")
    page.keyboard.press("Escape")
    ws.wait_for(lambda: not ws.views("alice"))


@pytest.mark.realparts
def test_hostile_text_dates_threads_and_the_home_tab(page: Any, ws: Workspace, bot: Bot) -> None:
    client = web_client(ws)
    evil = "<script>document.title='owned'</script> <javascript:alert(1)|x> &lt;!channel&gt; *bold*"
    ts = client.chat_postMessage(channel="C0OPS", text=evil)["ts"]
    text = page.wait_for_selector(f"article[data-ts='{ts}'] .text").inner_text()
    assert text == "<script>document.title='owned'</script> <javascript:alert(1)|x> <!channel> bold"
    assert page.title() == "keyturn playground"
    client.chat_update(channel="C0OPS", ts=ts, text="due <!date^1795190400^{date_num} {time_secs}|fallback>")
    page.wait_for_selector("time[title='fallback'] >> text=/2026-11-2\\d \\d\\d:\\d\\d:00/")
    client.chat_postMessage(channel="C0OPS", text="step one is done", thread_ts=ts)
    page.click(".replies")
    page.wait_for_selector("#thread article >> text=step one is done")
    page.fill("#thread textarea", "thanks")
    page.press("#thread textarea", "Enter")
    ws.wait_for(lambda: [one.text for one in ws.thread("ops", ts)] == ["step one is done", "thanks"])
    page.get_by_role("button", name="keyturn", exact=True).click()
    page.wait_for_selector(".home >> text=Good morning")


@pytest.mark.realparts
def test_an_app_that_is_not_there_is_announced(page: Any, ws: Workspace) -> None:
    web_client(ws).chat_postMessage(channel="C0OPS", text="card", blocks=card())
    page.fill("#composer-text", "/rotate help")
    page.press("#composer-text", "Enter")
    page.wait_for_selector("[role=alert] >> text=/rotate failed because the app did not respond")
    assert page.locator("#strip").is_hidden()


@pytest.mark.realparts
def test_a_private_channel_shows_topic_pins_and_bookmarks_to_its_members(page: Any, ws: Workspace) -> None:
    client = web_client(ws)
    room = client.conversations_create(name="inc-1", is_private=True)["channel"]["id"]
    client.conversations_setTopic(channel=room, topic="Revoking aegis/jwt")
    status = client.chat_postMessage(channel=room, text="2 of 5 replaced")["ts"]
    client.pins_add(channel=room, timestamp=status)
    client.bookmarks_add(channel_id=room, title="Runbook", type="link", link="https://example.com/runbook")
    page.get_by_role("button", name="general").click()
    assert page.get_by_role("button", name="inc-1").count() == 0
    client.conversations_invite(channel=room, users="U0ALICE")
    page.get_by_role("button", name="inc-1").click()
    page.wait_for_selector(".topic >> text=Revoking aegis/jwt")
    page.wait_for_selector(".bookmarks >> text=Runbook")
    page.get_by_role("button", name="2 of 5 replaced").click()
    client.chat_update(channel=room, ts=status, text="3 of 5 replaced")
    page.wait_for_selector(".pin >> text=3 of 5 replaced")
    client.conversations_kick(channel=room, user="U0ALICE")
    page.wait_for_selector("h1 >> text=ops")
    assert page.get_by_text("3 of 5 replaced").count() == 0
    assert page.get_by_role("button", name="inc-1").count() == 0


def test_only_this_page_may_act(ws: Workspace) -> None:
    def act(headers: dict[str, str], action: str = "say") -> httpx.Response:
        body = {"user": "alice", "channel": "ops", "text": "hi"}
        return httpx.post(f"{ws.url}control/{action}", json=body, headers=headers, trust_env=False)

    assert act({"origin": "https://evil.example"}).status_code == 403
    assert act({"host": "evil.example"}).status_code == 403
    assert act({"content-type": "text/plain"}).status_code == 415
    assert ws.messages("ops") == []
    assert act({}).json()["ok"]
    assert act({}, "close").json() == {"ok": False, "error": "there is no action close"}
    assert ws.messages("ops")[0].text == "hi"
    wrong = httpx.post(f"{ws.url}control/say", json={"user": "nobody", "channel": "ops", "text": "x"}, trust_env=False)
    assert wrong.json()["ok"] is False


def test_faults_can_be_thrown_over_the_control_surface(ws: Workspace) -> None:
    def fault(**options: Any) -> Any:
        return httpx.post(f"{ws.url}control/fault", json=options, trust_env=False).json()

    assert fault(what="web", method="auth.test", error="fatal_error") == {"ok": True}
    assert web_client(ws).api_call  # the client itself makes no call
    answer = httpx.post(f"{ws.api_url}auth.test", trust_env=False).json()
    assert answer == {"ok": False, "error": "fatal_error"}
    assert fault(what="earthquake")["ok"] is False
    assert fault(what="web", colour="red")["ok"] is False


def test_the_workspace_as_a_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    seed = tmp_path / "seed.yml"
    seed.write_text("users: [{name: zoe}]\nchannels: [{name: lobby, members: [zoe, keyturn]}]\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "playground.workspace", "--port", "0", "--seed", str(seed)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(5)]
        settings = dict(line.removeprefix("export ").split("=", 1) for line in lines[:4])
        headers = {"authorization": f"Bearer {settings['SLACK_BOT_TOKEN']}"}
        post = {"channel": "lobby", "text": "hello"}
        answer = httpx.post(f"{settings['SLACK_API_URL']}chat.postMessage", data=post, headers=headers, trust_env=False)
        assert answer.json()["ok"]
    finally:
        process.terminate()
        assert process.wait(10) == 0
        if process.stdout is not None:
            process.stdout.close()
