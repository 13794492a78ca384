"""The ground that a bot is killed on: one namespace of a real cluster, whose rollouts take their real time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground.cluster.api import ApiError, Manifest
from playground.cluster.cluster import Cluster
from playground.estate import Estate
from playground.installation import text_of
from tests.kill.ground import JumpClock
from tests.kill.judge import Verdict, judge_bot
from tests.kill.scene import Scene
from tests.kill.stories import Story
from tests.real.callers import CLIENT, CREDENTIAL, NAMES, Callers, referred
from tests.real.callers import SECRET as CALLED
from tests.real.counters import Counters
from tests.real.rights import rules
from tests.real.shop import OTHER, SECRET, Shop

DAY = 86400
NOTES = "keyturn.dev/rotation"
OF_CONTROLLERS = ("deployment.kubernetes.io/revision",)
"""Annotations that the cluster itself writes, and may write otherwise than before."""


@dataclass(frozen=True)
class Before:
    """What there was before the run."""

    versioned: dict[str, bytes]
    called: dict[str, bytes]
    keys: list[dict[str, Any]]
    secrets: frozenset[str]


class ClusterScene:
    """The namespace's Secrets and Deployments as they stood; implements `Kept`."""

    def __init__(self, ground: ClusterGround, folder: Path) -> None:
        self._ground = ground
        self._estate = Scene(ground.estate, folder / "secrets")
        self._at = JumpClock(1.0).now()
        self._secrets = {each["metadata"]["name"]: _bare(each) for each in ground.secrets()}
        self._deployments = {each["metadata"]["name"]: _bare(each) for each in ground.shop.deployments()}
        self._rollouts = ground.rollouts()

    def set(self) -> float:
        """Make them so again, whoever has changed them, and wait for the pods; the time that it was then."""
        ground = self._ground
        self._estate.set()
        ground.shop.settle()
        for now in ground.secrets():
            if now["metadata"]["name"] not in self._secrets:
                ground.delete(now)
        for kept in self._secrets.values():
            ground.put(kept, ground.secret_path(kept["metadata"]["name"]))
        for name, kept in self._deployments.items():
            ground.put(kept, f"{ground.shop.deployments_path}/{name}")
        ground.shop.settle()
        ground.count_from(self._rollouts)
        return self._at


class ClusterGround:
    """Implements `Ground`: a Secret with versions, its signer and verifier, and what a rotation asks besides."""

    def __init__(self, folder: Path, cluster: Cluster, namespace: str) -> None:
        self._folder = folder
        self.cluster, self.namespace = cluster, namespace
        self.counters = Counters()
        self.estate = Estate.start(
            clock=JumpClock(1.0), gateways=0, clients=0, applications=(CLIENT,), directory=folder / "estate"
        )
        self.callers = Callers(cluster, namespace, self.estate)
        self.callers.lay_out()
        self.shop = Shop(cluster, namespace)
        self.shop.lay_out()
        account = cluster.account(
            namespace,
            "keyturn",
            rules(namespace, self.shop.credential(self.counters), self.callers.credential(self.counters)),
        )
        token = cluster.token(account, DAY)
        self._kubeconfig = cluster.kubeconfig(folder / "kubeconfig", token=token)
        self._base: Counter[str] = Counter()
        self.count_from(Counter())

    # --- what the harness asks ----------------------------------------------------------------------------------------

    def settings(self, story: Story) -> str:
        """The text of `keyturn.yml`."""
        changes = {"clock": {"rate": 1.0}, **story.settings}
        settings = self.shop.settings(self._kubeconfig, self.counters, self.estate)
        settings["credentials"].append(self.callers.credential(self.counters))
        settings["cadences"]["api-key"] = "90d"
        settings["adapters"]["clients"] = {"populations": {"apps": {"url": f"{self.counters.url}/clients"}}}
        return text_of(settings | changes)

    def keep(self, folder: Path) -> ClusterScene:
        """Taken while no bot is at work; its last rollout is waited for."""
        self.shop.settle()
        return ClusterScene(self, folder)

    def live(self) -> None:
        """Time jumps over what a rollout takes, so it is waited for."""
        self.shop.settle()

    def look(self) -> Before:
        """What a verdict compares with."""
        names = frozenset(each["metadata"]["name"] for each in self.secrets())
        return Before(self.shop.data(), self.callers.data(), self.callers.keys(), names)

    def judge(self, database_url: str, story: Story, before: Before) -> Verdict:
        """What a run has left."""
        verdict = judge_bot(database_url, story)
        self.shop.settle()
        after = self.look()
        if story.credential == CREDENTIAL:
            verdict.problems += judge_versions(before.called, after.called, story)
            verdict.problems += self._judge_callers(before, after)
            verdict.problems += [] if after.versioned == before.versioned else ["another Secret was changed"]
        else:
            verdict.problems += judge_versions(before.versioned, after.versioned, story)
            verdict.problems += [] if after.called == before.called else ["another Secret was changed"]
        verdict.problems += self._judge_notes(story)
        strange = after.secrets ^ before.secrets
        if strange:
            verdict.problems.append(f"Secrets that came or went: {sorted(strange)}")
        verdict.done.update(self.rollouts())
        return verdict

    def stop(self) -> None:
        """The namespace is its owner's to delete."""
        self.estate.stop()
        self.counters.close()

    # --- the namespace ------------------------------------------------------------------------------------------------

    def secrets(self) -> list[Manifest]:
        """Its Secrets."""
        found: list[Manifest] = self.cluster.api.get(f"/api/v1/namespaces/{self.namespace}/secrets")["items"]
        return found

    def secret_path(self, name: str) -> str:
        """Where one of them lives."""
        return f"/api/v1/namespaces/{self.namespace}/secrets/{name}"

    def delete(self, secret: Manifest) -> None:
        """Delete one of them."""
        self.cluster.api.delete(self.secret_path(secret["metadata"]["name"]))

    def put(self, kept: Manifest, path: str) -> None:
        """Replace an object, or make it again when it is gone; what is as it was is left alone."""
        api = self.cluster.api
        try:
            now = api.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            api.create(kept)
            return
        if _bare(now) != kept:
            api.replace(kept)

    def rollouts(self) -> Counter[str]:
        """How often each Deployment has been rolled out since the run began."""
        return Counter({name: made - self._base[name] for name, made in self.shop.generations().items()})

    def count_from(self, rollouts: Counter[str]) -> None:
        """So often they have been, as things stand now."""
        self._base = Counter({name: made - rollouts[name] for name, made in self.shop.generations().items()})

    def _judge_notes(self, story: Story) -> list[str]:
        """keyturn's own notes speak of nothing that is gone."""
        name = CALLED if story.credential == CREDENTIAL else SECRET
        (secret,) = (each for each in self.secrets() if each["metadata"]["name"] == name)
        notes = secret["metadata"].get("annotations", {}).get(NOTES, "")
        gone = [] if story.keeps_old else ['"key.v1"', '"retired.v1"']
        return [f"the notes still speak of {name}" for name in gone if name in notes]

    def _judge_callers(self, before: Before, after: Before) -> list[str]:
        """One living key at the issuer, the one in the Secret, to which every caller refers."""
        problems = []
        left = [key["id"] for key in after.keys]
        if len(left) != 1 or left == [key["id"] for key in before.keys] or not after.keys[0]["enabled"]:
            problems.append(f"keys of the client: {left}")
        self.callers.log_in(after.called.get("key.v2", b"").decode())  # refused keys raise
        callers = [each for each in self.shop.deployments() if each["metadata"]["name"] in NAMES]
        references = [referred(each) for each in callers]
        if references != [{"name": CALLED, "key": "key.v2"}] * len(NAMES):
            problems.append(f"the callers refer to {references}")
        return problems


def judge_versions(before: dict[str, bytes], after: dict[str, bytes], story: Story) -> list[str]:
    """Exactly the versions that are to be there, the pointer at the right one, and everything else as it was."""
    problems = []
    # A version that has signed stays after a rollback, so that what it signed is accepted until it expires.
    expected = {"key.v1", "key.v2", "active", OTHER} if story.keeps_old else {"key.v2", "active", OTHER}
    if set(after) != expected:
        problems.append(f"the Secret holds {sorted(after)}")
    active = b"v1" if story.keeps_old else b"v2"
    if after.get("active") != active:
        problems.append(f"active is {after.get('active')!r}")
    if after.get(OTHER) != before[OTHER]:
        problems.append(f"{OTHER} was changed")
    if story.keeps_old and after.get("key.v1") != before["key.v1"]:
        problems.append("the old key is another one")
    if after.get("key.v2") in (None, b"", before["key.v1"]):
        problems.append("the new key is none")
    return problems


def _bare(found: Manifest) -> Manifest:
    """An object as one would write it."""
    about = found["metadata"]
    notes = {name: text for name, text in about.get("annotations", {}).items() if name not in OF_CONTROLLERS}
    kept = {name: about[name] for name in ("name", "namespace", "labels") if name in about}
    made = {name: value for name, value in found.items() if name not in ("metadata", "status")}
    made.setdefault("apiVersion", "apps/v1" if "spec" in made else "v1")
    made.setdefault("kind", "Deployment" if "spec" in made else "Secret")
    return {**made, "metadata": {**kept, "annotations": notes}}
