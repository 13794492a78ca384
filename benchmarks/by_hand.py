"""The calls of a fleet's replacement without keyturn: a thread pool, a shell loop, and xargs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

CURL = """\
call() { curl -sS -o /dev/null -X "$1" ${3:+-H 'Content-Type: application/json' --data "$3"} "$URL/$2"; }
make_key() { call POST keys '{"marker":"by-hand"}'; }
stop_key() { call POST keys/key-0/disable; }
remove_key() { call DELETE keys/key-0; }
consumer() {
  call PATCH "consumers/$1" '{"key":"key-1"}'
  call POST "consumers/$1/restart"
  call GET "consumers/$1"
}
"""
TOOLS = """\
kube() { kubectl --kubeconfig /dev/null --server "$URL" "$@" > /dev/null; }
iam() { aws --no-sign-request --region us-east-1 --endpoint-url "$URL" iam "$@" > /dev/null; }
make_key() { iam create-access-key --user-name by-hand; }
stop_key() { iam update-access-key --user-name by-hand --access-key-id AKIA000000000000TEST --status Inactive; }
remove_key() { iam delete-access-key --user-name by-hand --access-key-id AKIA000000000000TEST; }
consumer() {
  echo '{"key":"key-1"}' | kube replace --raw "/consumers/$1" -f -
  echo '{}' | kube create --raw "/consumers/$1/restart" -f -
  kube get --raw "/consumers/$1"
}
"""


def has_tools() -> bool:
    """Whether the command lines that people use are here: AWS's and Kubernetes'."""
    return all(shutil.which(tool) for tool in ("aws", "kubectl"))


def threads(url: str, names: list[str], at_once: int) -> None:
    """The bare fan-out in this process: one HTTP client, so many threads, and no record of anything."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:

        def send(method: str, path: str, body: dict[str, str] | None = None) -> None:
            http.request(method, path, json=body).raise_for_status()

        def consumer(name: str) -> None:
            send("PATCH", f"/consumers/{name}", {"key": "key-1"})
            send("POST", f"/consumers/{name}/restart")
            send("GET", f"/consumers/{name}")

        send("POST", "/keys", {"marker": "by-hand"})
        send("POST", "/keys/key-0/disable")
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(consumer, names))
        send("DELETE", "/keys/key-0")


def loop(tools: str) -> Callable[[str, list[str]], None]:
    """One call after the other in a shell."""
    return _shell(tools, 'for name in $NAMES; do consumer "$name"; done')


def xargs(tools: str) -> Callable[[str, list[str]], None]:
    """Eight consumers at a time."""
    return _shell(tools, 'printf "%s\\n" $NAMES | xargs -P8 -I{} sh -c \'. "$TOOLS"; consumer {}\'')


def _shell(tools: str, consumers: str) -> Callable[[str, list[str]], None]:
    def run(url: str, names: list[str]) -> None:
        script = f'set -e\n. "$TOOLS"\nmake_key\nstop_key\n{consumers}\nremove_key\n'
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
            file.write(tools)
            file.flush()
            environ = {**os.environ, "URL": url, "NAMES": " ".join(names), "TOOLS": file.name}
            subprocess.run(["sh", "-c", script], env=environ, check=True, stdin=subprocess.DEVNULL)

    return run
