"""An admission policy: of Secrets, whoever rotates tokens may create empty anchors alone.

Roles cannot limit `create` to a name, a type or a content. Without this, who may create a Secret may create one that
the cluster fills with a token of any account of the namespace. The chart has the same policy in
`templates/admission.yaml`; a test keeps them equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

GROUP = "admissionregistration.k8s.io"
POLICY = "ValidatingAdmissionPolicy"
TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secrets
VALIDATIONS = (
    (
        "request.operation != 'CREATE' || (object.type == 'Opaque'"
        " && object.metadata.name.matches('^keyturn-token-.+-[1-3]$')"
        " && (!has(object.data) || size(object.data) == 0))",
        "keyturn may create empty Secrets of type Opaque named keyturn-token-ACCOUNT-1 to -3, and no others",
    ),
    (
        f"object.type != '{TOKEN_TYPE}'",
        "keyturn may not touch Secrets into which the cluster writes tokens",
    ),
)
"""CEL, and what is said where it does not hold."""


def policy(account: str, home: str) -> Iterator[str]:
    """The lines of the policy and its binding, for this service account and nobody else."""
    name, user = json.dumps(f"{home}-{account}-secrets"), f"system:serviceaccount:{home}:{account}"
    whom = json.dumps(f"request.userInfo.username == '{user}'")
    yield from ("---", f"apiVersion: {GROUP}/v1", f"kind: {POLICY}", "metadata:", f"  name: {name}", "spec:")
    yield from ("  failurePolicy: Fail", "  matchConstraints:", "    resourceRules:")
    yield '      - {apiGroups: [""], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [secrets]}'
    yield from ("  matchConditions:", "    - name: rotations")
    yield f"      expression: {whom}"
    yield "  validations:"
    for expression, message in VALIDATIONS:
        yield f"    - expression: {json.dumps(expression)}"
        yield f"      message: {json.dumps(message)}"
    yield from ("---", f"apiVersion: {GROUP}/v1", f"kind: {POLICY}Binding", "metadata:", f"  name: {name}")
    yield from ("spec:", f"  policyName: {name}", "  validationActions: [Deny]")
