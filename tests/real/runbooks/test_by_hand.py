"""The page of the requests proxy's keys, followed cold: each command of it, in order, by a shell against a cluster."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from playground.cluster import stateless
from playground.cluster.cluster import Cluster
from tests.real.control_plane.manifests import deployment

PAGE = Path(__file__).parents[3] / "docs" / "RUNBOOKS" / "requests-proxy-key-rotation.md"
SECRET, SIGNER, VERIFIER = "release-requests-proxy-admin", "jobs-manager", "requests-proxy"
TOOLS = ("kubectl", "openssl", "grep", "curl", "sed", "awk", "cut", "tr")


@dataclass(frozen=True)
class Part:
    """A numbered part of the page: its title and what is to be typed."""

    title: str
    commands: str


def parts(heading: str) -> list[Part]:
    """What stands under a heading of the page, in order."""
    text = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(rf"(?ms)^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", text)
    if "\n**" not in section:
        return [Part(heading, "\n".join(re.findall(r"(?s)```sh\n(.*?)```", section)))]
    found = []
    for title, body in re.findall(r"(?ms)^\*\*\d+\. (.*?)\*\*$(.*?)(?=^\*\*\d|\Z)", section):
        found.append(Part(title, "\n".join(re.findall(r"(?s)```sh\n(.*?)```", body))))
    return found


class Shell:
    """One bash, as a person has it open; every program that it starts writes down its words first."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self.words = folder / "words"
        self.words.touch()
        self.seen = ""
        self._errors = (folder / "errors").open("w+", encoding="utf-8")
        programs = folder / "bin"
        programs.mkdir()
        for name in TOOLS:
            real = shutil.which(name)
            assert real is not None, f"{name} is needed on the PATH"
            program = programs / name
            program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{self.words}"\nexec {real} "$@"\n')
            program.chmod(0o755)
        environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": f"{programs}:{os.environ['PATH']}"}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environ,
        )

    def type(self, commands: str) -> str:
        """What is shown; a command that fails fails the test."""
        shown, code = self.answer(commands)
        self._errors.flush()
        told = Path(self._errors.name).read_text(encoding="utf-8")[-2000:]
        assert code == 0, f"exit {code} of:\n{commands}\n{shown}\n{told}"
        return shown

    def answer(self, commands: str) -> tuple[str, int]:
        """What is shown, and how it ended."""
        end = uuid.uuid4().hex
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f'{commands}\necho "{end} $?"\n')
        self._bash.stdin.flush()
        shown: list[str] = []
        for line in self._bash.stdout:
            if end in line:
                before, _, code = line.partition(f"{end} ")
                self.seen += "".join([*shown, before])
                return "".join([*shown, before]), int(code)
            shown.append(line)
        raise AssertionError(f"the shell has ended in:\n{commands}")

    def close(self) -> None:
        """Close it."""
        assert self._bash.stdin is not None
        self._bash.stdin.close()
        self._bash.wait(10)
        self._errors.close()


@dataclass
class Installation:
    """The two deployments and their Secret, and what each deployment knows: the Secret when it was restarted last."""

    cluster: Cluster
    namespace: str
    known: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    restarts: dict[str, str] = field(default_factory=dict)

    def secret(self) -> dict[str, bytes]:
        found = self.cluster.api.get(f"/api/v1/namespaces/{self.namespace}/secrets/{SECRET}")
        return {name: base64.b64decode(value) for name, value in found["data"].items()}

    def look(self) -> None:
        """Whoever was restarted has read the Secret as it is now."""
        for name in (SIGNER, VERIFIER):
            found = self.cluster.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}")
            at = (found["spec"]["template"]["metadata"].get("annotations") or {}).get(
                "kubectl.kubernetes.io/restartedAt", ""
            )
            if name not in self.known or self.restarts.get(name) != at:
                self.known[name], self.restarts[name] = self.secret(), at

    def issue(self) -> str:
        """A token of the signer, by what it knows."""
        known = self.known[SIGNER]
        active = known["active"].decode()
        return stateless.sign(active, stateless.keys_of(known)[active], "one", 0.0, 1e9)

    def verdict(self, token: str) -> str:
        """What the verifier says to it, by what it knows."""
        return stateless.verify(token, stateless.keys_of(self.known[VERIFIER]), 1.0)


@contextmanager
def health() -> Iterator[str]:
    """A health page of a dependant."""

    class Well(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Well)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def installed(cluster: Cluster, namespace: str) -> Installation:
    """As the chart leaves it: one version, which is active."""
    about = {"name": SECRET, "namespace": namespace, "annotations": {"helm.sh/resource-policy": "keep"}}
    first = base64.b64encode(os.urandom(64)).decode()
    cluster.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": about, "stringData": {"key.v1": first, "active": "v1"}}
    )
    for name in (SIGNER, VERIFIER):
        made = deployment(namespace, name, replicas=2)
        pod = made["spec"]["template"]
        pod["metadata"].setdefault("labels", {})["part"] = "requests-proxy"
        pod["spec"]["volumes"] = [{"name": "keys", "secret": {"secretName": SECRET}}]
        pod["spec"]["containers"][0]["env"] = [{"name": "tokenTtlSeconds", "value": "7776000"}]
        cluster.apply(made)
    for name in (SIGNER, VERIFIER):
        cluster.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=60s")
    found = Installation(cluster, namespace)
    found.look()
    return found


@pytest.fixture
def shell(installed: Installation, tmp_path: Path) -> Iterator[Shell]:
    """A shell in which the first block of the page has been filled in."""
    made = Shell(tmp_path, installed.cluster.kubeconfig(tmp_path / "kubeconfig"))
    with health() as page:
        filled = {
            "NAMESPACE": installed.namespace,
            "SECRET_NAME": SECRET,
            "WORKLOADS": f"deployment/{SIGNER} deployment/{VERIFIER}",
            "SELECTOR": "part=requests-proxy",
            "DEPENDANTS": page,
        }
        (begin,) = parts("In a shell")
        text = begin.commands
        for name, value in filled.items():
            text, count = re.subn(rf"(?m)^{name}='<[^>]*>'", f"{name}='{value}'", text)
            assert count == 1, name
        assert "'<" not in text, "the page asks for more than this test knows"
        made.type(text)
        yield made
    made.close()


def follow(shell: Shell, installed: Installation, listed: list[Part], live: list[str]) -> dict[str, str]:
    """Do the parts in order. Whatever token is alive is accepted at any time in between. Gives what each showed."""
    shown = {}
    for part in listed:
        if "rollout restart" in part.commands:
            time.sleep(1.1)  # kubectl refuses two restarts within a second, and nobody types as fast as we do
        if part.commands:
            shown[part.title] = shell.type(part.commands)
        installed.look()
        live.append(installed.issue())
        assert {installed.verdict(token) for token in live} == {stateless.VALID}, part.title
    return shown


def leaves_no_trace(shell: Shell, keys: set[bytes]) -> None:
    """No key, in no form, was a word of a program or was shown."""
    words = shell.words.read_text(encoding="utf-8")
    assert "patch" in words
    for key in keys:
        for form in (key.decode(), base64.b64encode(key).decode()):
            assert form not in words
            assert form not in shell.seen


def test_who_follows_the_page_rotates_the_key_and_no_token_is_refused(shell: Shell, installed: Installation) -> None:
    live: list[str] = []
    first = installed.secret()
    looked = follow(shell, installed, parts("Look it up by hand"), live)
    assert looked["Version in use"].strip() == "v1"
    assert looked["Token life"].strip() == "7776000"
    assert sorted(line.split()[0] for line in looked["Used by"].splitlines()) == [
        f"Deployment/{SIGNER}",
        f"Deployment/{VERIFIER}",
    ]
    follow(shell, installed, parts("Rotate by hand"), live)
    second = installed.secret()
    assert set(second) == {"active", "key.v1", "key.v2"}
    assert (second["active"], second["key.v1"]) == (b"v2", first["key.v1"])
    assert len(base64.b64decode(second["key.v2"])) == 64
    assert stateless.kid_of(installed.issue()) == "v2"
    assert stateless.verify(live[0], stateless.keys_of(second), 1.0) == stateless.VALID

    # ninety days later every token of v1 has expired
    alive = [token for token in live if stateless.kid_of(token) == "v2"]
    follow(shell, installed, parts("Retire by hand"), alive)
    third = installed.secret()
    assert set(third) == {"active", "key.v2"}
    assert third["key.v2"] == second["key.v2"]
    assert installed.verdict(live[0]) == stateless.UNKNOWN_KID
    leaves_no_trace(shell, {first["key.v1"], second["key.v2"]})


def flipped(shell: Shell, installed: Installation) -> list[str]:
    """Tokens that live when the signer runs with the new version."""
    live: list[str] = []
    follow(shell, installed, parts("Look it up by hand"), live)
    forward = parts("Rotate by hand")
    until = next(i for i, part in enumerate(forward) if part.title.startswith("The signer runs"))
    follow(shell, installed, forward[: until + 1], live)
    return live


def test_who_rolls_back_by_the_page_signs_with_the_old_key_again(shell: Shell, installed: Installation) -> None:
    live = flipped(shell, installed)
    assert stateless.kid_of(installed.issue()) == "v2"
    follow(shell, installed, parts("Roll back by hand"), live)
    assert stateless.kid_of(installed.issue()) == "v1"
    assert set(installed.secret()) == {"active", "key.v1", "key.v2"}  # tokens of v2 are alive, and accepted


def test_who_rolls_back_without_the_old_key_restarts_nothing(shell: Shell, installed: Installation) -> None:
    live = flipped(shell, installed)
    overwritten = {"key.v1": None, "key.v2": None, "key.v9": base64.b64encode(os.urandom(64)).decode()}
    installed.cluster.api.merge(f"/api/v1/namespaces/{installed.namespace}/secrets/{SECRET}", {"data": overwritten})
    before = dict(installed.restarts)
    (back,) = parts("Roll back by hand")
    assert shell.answer(back.commands)[1] != 0
    installed.look()
    assert installed.restarts == before, "what runs holds the last copies of the keys"
    assert {installed.verdict(token) for token in live} == {stateless.VALID}


@pytest.mark.parametrize("what", ["the patch is refused", "no workload is named"])
def test_who_cannot_take_the_old_key_out_restarts_nothing(shell: Shell, installed: Installation, what: str) -> None:
    follow(shell, installed, parts("Look it up by hand"), [])
    follow(shell, installed, parts("Rotate by hand"), [])
    before, held = dict(installed.restarts), installed.secret()
    shell.type("NEW=v9" if what == "the patch is refused" else "WORKLOADS=")
    (remove,) = (part for part in parts("Retire by hand") if part.title.startswith("Take the old version out"))
    shown, code = shell.answer(f"({remove.commands})")  # an unset variable ends the shell
    assert code != 0, shown
    installed.look()
    assert installed.restarts == before
    assert installed.secret() == held


def test_two_people_who_follow_the_page_at_once_make_no_second_new_key(shell: Shell, installed: Installation) -> None:
    follow(shell, installed, parts("Look it up by hand"), [])
    forward = parts("Rotate by hand")
    shell.type(forward[0].commands)
    made = installed.secret()["key.v2"]
    again, code = shell.answer(forward[0].commands)
    assert code != 0, again
    assert installed.secret()["key.v2"] == made
    assert set(installed.secret()) == {"active", "key.v1", "key.v2"}
    flip = next(part for part in forward if part.title.startswith("Name the new version"))
    shell.type(flip.commands)
    assert shell.answer(flip.commands)[1] != 0  # the pointer is not what it was when the page was begun
