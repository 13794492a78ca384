"""The real process beside each faked pod: it starts and ends with its pod, and makes the pod Ready or not.

kwok's pods run nothing. Pods labelled `keyturn.test/consumer: signer` or `verifier` get a process of their own, which
is handed the Secret that the annotation `keyturn.test/secret` names *as it is at that moment*, as a kubelet does.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playground.cluster.api import Api, ApiError, Manifest, Unreachable
from playground.estate.clock import VirtualClock

CONSUMER_LABEL = "keyturn.test/consumer"
SECRET = "keyturn.test/secret"  # noqa: S105 - the name of an annotation
ROOT = Path(__file__).parents[2]
REST_SECONDS = 0.2
BACK_OFF = 1.0


class Pod:
    """One pod and its process."""

    def __init__(self, manifest: Manifest) -> None:
        about = manifest["metadata"]
        self.name, self.namespace, self.uid = str(about["name"]), str(about["namespace"]), str(about["uid"])
        self.role = str(about["labels"][CONSUMER_LABEL])
        self.secret = str(about.get("annotations", {}).get(SECRET, ""))
        self.manifest = manifest
        self.address: str | None = None
        """Where its process listens; None while it does not."""
        self.keys: list[str] = []
        self.active = ""
        self.leaving = False
        self.gone = threading.Event()
        self.process: subprocess.Popen[str] | None = None
        self.restarts = 0

    @property
    def ready(self) -> bool:
        """Whether a load balancer would send it requests."""
        return self.address is not None and not self.leaving and not self.gone.is_set()

    def describe(self) -> dict[str, Any]:
        """As JSON; names of keys only."""
        return {
            "role": self.role,
            "ready": self.ready,
            "keys": self.keys,
            "active": self.active,
            "restarts": self.restarts,
            "pid": self.process.pid if self.process else None,
        }


class Pods:
    """Follows the pods of one namespace and keeps their processes."""

    def __init__(self, api: Api, namespace: str, clock: VirtualClock, life: float) -> None:
        self._api, self._namespace, self._clock, self._life = api, namespace, clock, life
        self._pods: dict[str, Pod] = {}
        self._lock = threading.Lock()
        self._halt = threading.Event()
        self._threads = [threading.Thread(target=self._follow, name="pods", daemon=True)]
        self._threads[0].start()

    def all(self) -> list[Pod]:
        """Those that are there now."""
        with self._lock:
            return list(self._pods.values())

    def ready(self, role: str) -> list[Pod]:
        """Those that take requests."""
        return [pod for pod in self.all() if pod.role == role and pod.ready]

    def stop(self) -> None:
        """End every process, and wait for each."""
        self._halt.set()
        self._api.close()
        self._threads[0].join()
        for pod in self.all():
            self._end(pod)
        for thread in self._threads[1:]:
            thread.join()

    def _follow(self) -> None:
        """List, then watch from there; again from the list whenever the watch ends."""
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        while not self._halt.is_set():
            try:
                listed = self._api.get(path, labelSelector=CONSUMER_LABEL)
                present = {pod["metadata"]["uid"] for pod in listed["items"]}
                for pod in [each for each in self.all() if each.uid not in present]:
                    self._end(pod)
                for manifest in listed["items"]:
                    self._see(manifest | {"kind": "Pod"})
                version = listed["metadata"]["resourceVersion"]
                for word, manifest in self._api.watch(path, labelSelector=CONSUMER_LABEL, resourceVersion=version):
                    if word == "ERROR":
                        break
                    if word == "DELETED":
                        self._forget(manifest["metadata"]["uid"])
                    else:
                        self._see(manifest)
            except (ApiError, Unreachable, RuntimeError):
                self._halt.wait(REST_SECONDS)  # the API server is away; processes go on as pods do

    def _see(self, manifest: Manifest) -> None:
        uid, about = manifest["metadata"]["uid"], manifest["metadata"]
        with self._lock:
            pod = self._pods.get(uid)
        if pod is not None:
            pod.manifest = manifest
            pod.leaving = pod.leaving or "deletionTimestamp" in about
            return
        if manifest.get("status", {}).get("phase") != "Running" or "deletionTimestamp" in about or self._halt.is_set():
            return
        pod = Pod(manifest)
        with self._lock:
            self._pods[uid] = pod
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=self._live, args=(pod,), name=f"pod:{pod.name}", daemon=True))
        self._threads[-1].start()

    def _forget(self, uid: str) -> None:
        with self._lock:
            pod = self._pods.get(uid)
        if pod is not None:
            self._end(pod)

    def _end(self, pod: Pod) -> None:
        pod.gone.set()
        if pod.process is not None:
            pod.process.kill()
        with self._lock:
            self._pods.pop(pod.uid, None)

    def _live(self, pod: Pod) -> None:
        """The life of a pod's process: started, and started again with the Secret of that moment when it ends."""
        while not pod.gone.is_set():
            try:
                trouble = self._run(pod)
            except (ApiError, Unreachable) as error:
                trouble = f"CreateContainerConfigError: {error}"
            pod.address = None
            if pod.gone.is_set():
                return
            pod.restarts += 1
            self._report(pod, trouble)
            pod.gone.wait(BACK_OFF)

    def _run(self, pod: Pod) -> str:
        """Start the process and wait until it ends; returns why it is not running."""
        secret = self._api.get(f"/api/v1/namespaces/{pod.namespace}/secrets/{pod.secret}").get("data") or {}
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-m", "playground.cluster.consumer"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        pod.process = process
        with process:
            try:
                clock = {"rate": self._clock.rate, "anchor": self._clock.anchor, "life": self._life}
                print(json.dumps({"role": pod.role, "secret": secret, **clock}), file=process.stdin, flush=True)
                told = json.loads(process.stdout.readline() or "{}")
            except (OSError, ValueError):
                told = {}
            if "port" in told and not pod.gone.is_set():
                pod.keys = sorted(name.removeprefix("key.") for name in secret if name.startswith("key."))
                pod.active = _text(secret.get("active", ""))
                pod.address = f"http://127.0.0.1:{told['port']}"
                self._report(pod, None)
            if pod.gone.is_set():
                process.kill()
            process.wait()
        return f"CrashLoopBackOff: {told.get('failed', 'the process ended')}"

    def _report(self, pod: Pod, trouble: str | None) -> None:
        """Write the pod's status, as a kubelet would; repeated while the API server is away."""
        while not pod.gone.is_set():
            path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/status"
            try:
                self._api.merge(path, {"metadata": {"uid": pod.uid}, "status": _status(pod, trouble)})
                return
            except ApiError as error:
                if error.status in (404, 409, 422):
                    return  # the pod has gone, or another has its name
                pod.gone.wait(REST_SECONDS)
            except (Unreachable, RuntimeError):
                if self._halt.is_set():
                    return
                pod.gone.wait(REST_SECONDS)


def _status(pod: Pod, trouble: str | None) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    known = pod.manifest["status"].get("conditions", ())
    conditions = [each for each in known if each["type"] not in ("Ready", "ContainersReady")]
    holds = "False" if trouble else "True"
    conditions += [{"type": name, "status": holds, "lastTransitionTime": now} for name in ("ContainersReady", "Ready")]
    if trouble:
        reason, _, message = trouble.partition(": ")
        state: dict[str, Any] = {"waiting": {"reason": reason, "message": message[:500]}}
    else:
        state = {"running": {"startedAt": now}}
    containers = [
        {
            "name": each["name"],
            "image": each["image"],
            "imageID": "",
            "ready": not trouble,
            "restartCount": pod.restarts,
            "state": state,
        }
        for each in pod.manifest["spec"]["containers"]
    ]
    return {"conditions": conditions, "containerStatuses": containers}


def _text(coded: str) -> str:
    return base64.b64decode(coded).decode(errors="replace").strip()
