"""Faults on demand: eight answers a call can get, switches, and the HTTP side of both."""

import threading
import time

import httpx
import pytest

from playground.estate import Estate
from playground.estate.faults import Faults

WEB = httpx.Client(trust_env=False, timeout=5, limits=httpx.Limits(max_keepalive_connections=0))


def rotate(admin: httpx.Client, marker: str = "m") -> httpx.Response:
    return admin.post("/keys/rotate", json={"marker": marker})


def count(admin: httpx.Client) -> int:
    return len(admin.get("/keys").json()["keys"])


@pytest.mark.parametrize(("kind", "worked"), [("drop", False), ("lose", True)])
def test_a_cut_connection_may_have_worked_or_not(still: Estate, admin: httpx.Client, kind: str, worked: bool) -> None:
    before = count(admin)
    still.identity.faults.add(kind, "*/rotate")
    with pytest.raises(httpx.RemoteProtocolError):
        rotate(admin)
    assert count(admin) == before + worked
    assert rotate(admin).status_code == (200 if worked else 201)


@pytest.mark.parametrize("status", [409, 500, 503])
def test_an_error_answer_does_no_work(still: Estate, admin: httpx.Client, status: int) -> None:
    before = count(admin)
    still.identity.faults.add("status", "/api/v1/admin/keys/*", "POST", times=2, status=status)
    assert [rotate(admin).status_code for _ in range(3)] == [status, status, 201]
    assert count(admin) == before + 1
    assert still.identity.calls["POST /api/v1/admin/keys/rotate"] == 1


def test_throttling_and_garbage(still: Estate, admin: httpx.Client) -> None:
    still.identity.faults.add("throttle", "*/rotate", retry_after=7)
    still.identity.faults.add("garbage", "*/rotate")
    slow = rotate(admin)
    assert (slow.status_code, slow.headers["Retry-After"], slow.json()["error"]) == (429, "7", "rate_limited")
    garbage = rotate(admin)
    assert garbage.status_code == 200
    with pytest.raises(ValueError):
        garbage.json()


def test_a_hanging_call_ends_when_cleared(still: Estate, admin: httpx.Client) -> None:
    fault = still.identity.faults.add("hang", "*/rotate", times=None)
    with pytest.raises(httpx.ReadTimeout):
        admin.post("/keys/rotate", json={}, timeout=0.2)
    healer = threading.Timer(0.2, still.identity.faults.clear)
    healer.start()
    with pytest.raises(httpx.RemoteProtocolError):
        rotate(admin)
    healer.join()
    assert fault.fired == 2


def test_stopping_does_not_wait_for_a_hanging_call(still: Estate, admin: httpx.Client) -> None:
    still.identity.faults.add("hang", times=None)
    with pytest.raises(httpx.ReadTimeout):
        admin.get("/keys", timeout=0.1)
    started = time.monotonic()
    still.identity.stop()
    assert time.monotonic() - started < 2


def test_promotion_can_fail_until_healed(still: Estate, admin: httpx.Client) -> None:
    new = rotate(admin).json()["kid"]
    old = still.signing_kid()
    still.identity.faults.turn("promote_fails")
    assert admin.post(f"/keys/{new}/promote").status_code == 500
    assert still.signing_kid() == old
    still.heal()
    assert admin.post(f"/keys/{new}/promote").status_code == 200


def test_the_database_can_be_away(still: Estate, admin: httpx.Client) -> None:
    still.identity.faults.turn("database_down")
    assert admin.get("/keys").json()["error"] == "database_unavailable"
    assert admin.get("/health").json()["database"] is False


def test_faults_over_http(still: Estate) -> None:
    with httpx.Client(base_url=still.gateways[0].address) as http:
        assert http.post("/faults", json={"switch": "lagging"}).json()["switches"]["lagging"] is True
        assert http.post("/faults", json={"kind": "status", "path": "/stats", "status": 500}).status_code == 200
        assert http.get("/stats").status_code == 500
        assert http.get("/faults").json()["faults"][0]["fired"] == 1
        assert http.delete("/faults").json() == {
            "faults": [],
            "switches": {"lagging": False, "slow_cache": 1.0, "ignores_removal": False, "reject_admin": False},
        }
        for bad in (
            {"switch": "nothing"},
            {"switch": "lagging", "value": 3},
            {"kind": "nothing"},
            {"kind": "drop", "surprise": 1},
            {"kind": "status", "status": 200},
            {"path": "/x"},
            {"kind": "drop", "times": True},
        ):
            assert http.post("/faults", json=bad).status_code == 422, bad
        foreign = http.post("/faults", content=b'{"switch": "lagging"}', headers={"Content-Type": "text/plain"})
        assert foreign.status_code == 415


def test_faults_over_http_are_off_unless_asked_for() -> None:
    with Estate.start(rate=1, gateways=1, clients=0, expose_faults=False) as estate:
        for service in estate.services:
            assert WEB.get(f"{service.address}/faults").status_code == 404


def test_each_call_takes_one_fault() -> None:
    faults = Faults({"on": False})
    faults.add("drop", "/a/*", "POST")
    faults.add("status", "/a/b", skip=1)
    assert faults.take("GET", "/a/c") is None
    taken = [faults.take("POST", "/a/b") for _ in range(3)]
    assert [fault.kind if fault else None for fault in taken] == ["drop", None, "status"]
    with pytest.raises(ValueError, match="no fault"):
        faults.add("explode")


def test_broken_requests_are_refused_without_harm(still: Estate) -> None:
    import socket

    def send(raw: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", still.identity.port), timeout=5) as peer:
            peer.sendall(raw)
            return peer.recv(65536).split(b"\r\n")[0]

    post = b"POST /oauth2/token HTTP/1.1\r\nHost: x\r\n"
    assert b" 400 " in send(post + b"Content-Length: -1\r\n\r\n")
    assert b" 413 " in send(post + b"Content-Length: 999999999\r\n\r\n")
    assert b" 411 " in send(post + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert b" 422 " in send(post + b"Content-Length: 2\r\nConnection: close\r\n\r\n\xff\xfe")
    assert b" 501 " in send(b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n")
