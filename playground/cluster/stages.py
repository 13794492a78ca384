"""How the faked pods behave: Ready at once, or as an annotation says, so that a rollout can be made to fail.

kwok plays the kubelet: it moves a pod along stages. Ours come on top of its own, which are kept for pods that are not
told to behave otherwise. `keyturn.test/behaves` on the pod template is one of `BEHAVIOURS`; a namespace's annotation
`keyturn.test/pods-behave.<app>` says the same for pods labelled `app: <app>` that come from then on, by an admission
policy, so that the template, whose change would itself be a rollout, stays as it is.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from playground.cluster.build import Parts

BEHAVES = "keyturn.test/behaves"
PODS_BEHAVE = "keyturn.test/pods-behave."
DELAY = "keyturn.test/ready-after"
"""A slow pod's annotation: after how long it becomes Ready, such as `1500ms`."""
LINGERS = "keyturn.test/lingers"
"""Any pod's annotation: how long it takes to go once it is deleted, such as `2s`."""

CONSUMER = "consumer"
BEHAVIOURS = ("crash", "image", "unready", "slow", "complete", CONSUMER)
"""crash: CrashLoopBackOff; image: ImagePullBackOff; unready: runs and never becomes Ready; slow: Ready after a delay;
complete: ends with success (for Jobs and single pods: a Deployment puts another in its place at once); consumer: runs,
and becomes Ready when somebody beside kwok says so."""

_RUNNING = ("running:", "  startedAt: {{ Now | Quote }}")
_WAITING = {
    "crash": ("CrashLoopBackOff", "back-off restarting failed container"),
    "image": ("ImagePullBackOff", "back-off pulling image: not found"),
}


def compose(parts: Parts) -> str:
    """All stages as one YAML text: kwok's own, narrowed to pods that are not told otherwise, and ours."""
    stages: list[dict[str, Any]] = []
    for file in sorted(parts.stages.glob("*.yaml")):
        stage = yaml.safe_load(file.read_text())
        if stage["metadata"]["name"] == "pod-ready":
            stage["spec"]["selector"]["matchExpressions"].append(_told("DoesNotExist"))
        if stage["metadata"]["name"] == "pod-delete":
            stage["spec"]["delay"] = {
                "durationMilliseconds": 0,
                "durationFrom": {"expressionFrom": f'.metadata.annotations["{LINGERS}"]'},
            }
        stages.append(stage)
        if stage["metadata"]["name"] == "pod-ready":
            stages.append(_slow(stage))
    stages += [_stage(name, _waiting(*_WAITING[name]), "Pending") for name in _WAITING]
    stages += [_stage(name, _status(_RUNNING, ready=False), "Running") for name in ("unready", CONSUMER)]
    stages.append(_stage("complete", _status(_completed(), ready=False), "Succeeded"))
    return "---\n".join(json.dumps(stage) + "\n" for stage in stages)  # JSON is YAML


def policy() -> list[dict[str, Any]]:
    """The admission policy that hands a namespace's wish to the pods that come."""
    key = f'"{PODS_BEHAVE}" + object.metadata.labels["app"]'
    wishes = "namespaceObject.metadata.annotations"
    told = f"has({wishes}) && {key} in {wishes}"
    wish = f'Object{{metadata: Object.metadata{{annotations: {{"{BEHAVES}": {wishes}[{key}]}}}}}}'
    match = {
        "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    }
    labelled = 'has(object.metadata.labels) && "app" in object.metadata.labels'
    patch = f"({told}) ? {wish} : Object{{}}"  # what is matched knows nothing of the namespace, only the mutation does
    kind, name = "admissionregistration.k8s.io/v1", "pods-behave"
    return [
        {
            "apiVersion": kind,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": match,
                "matchConditions": [{"name": "labelled", "expression": labelled}],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": patch}}],
            },
        },
        {
            "apiVersion": kind,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    ]


def _told(operator: str, *values: str) -> dict[str, Any]:
    expression: dict[str, Any] = {"key": f'.metadata.annotations["{BEHAVES}"]', "operator": operator}
    return expression | ({"values": list(values)} if values else {})


def _slow(ready: dict[str, Any]) -> dict[str, Any]:
    expressions = [each for each in ready["spec"]["selector"]["matchExpressions"] if BEHAVES not in each["key"]]
    spec = ready["spec"] | {
        "selector": {"matchExpressions": [*expressions, _told("In", "slow")]},
        "delay": {
            "durationMilliseconds": 1000,
            "durationFrom": {"expressionFrom": f'.metadata.annotations["{DELAY}"]'},
        },
    }
    return ready | {"metadata": {"name": "pod-slow"}, "spec": spec}


def _stage(name: str, template: str, phase: str) -> dict[str, Any]:
    expressions = [
        {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
        {"key": ".status.containerStatuses", "operator": "DoesNotExist"},
        _told("In", name),
    ]
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"pod-{name}"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {"matchExpressions": expressions},
            "next": {"statusTemplate": f"{template}\nphase: {phase}\n"},
        },
    }


def _waiting(reason: str, message: str) -> str:
    return _status(("waiting:", f"  reason: {reason}", f"  message: {message!r}"), ready=False)


def _completed() -> tuple[str, ...]:
    times = ("  startedAt: {{ Now | Quote }}", "  finishedAt: {{ Now | Quote }}")
    return ("terminated:", "  exitCode: 0", "  reason: Completed", *times)


def _status(state: tuple[str, ...], *, ready: bool) -> str:
    """A template of a pod's status with every container in the same state."""
    lines = ["conditions:"]
    for condition in ("Initialized", "Ready", "ContainersReady"):
        holds = condition == "Initialized" or ready
        lines += [f"- type: {condition}", f'  status: "{holds}"', "  lastTransitionTime: {{ Now | Quote }}"]
        lines += [] if holds else ["  reason: ContainersNotReady", "  message: containers with unready status"]
    lines += ["containerStatuses:", "{{ range .spec.containers }}", "- name: {{ .name | Quote }}"]
    lines += ["  image: {{ .image | Quote }}", f"  ready: {str(ready).lower()}", "  restartCount: 0", "  state:"]
    lines += [f"    {line}" for line in state]
    return "\n".join([*lines, "{{ end }}", "startTime: {{ Now | Quote }}"])
