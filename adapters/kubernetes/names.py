"""Types of the parameters: names as Kubernetes allows them, so that none can become a path or a query of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from adapters._fields import Name
from bot.contracts.adapter import Model

LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
OBJECT = r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?"

Namespace = Annotated[str, Field(pattern=rf"^{LABEL}$")]
ObjectName = Annotated[str, Field(pattern=rf"^{OBJECT}$")]
Workload = Annotated[str, Field(pattern=rf"^(?:deployment|statefulset|daemonset)/{OBJECT}$")]
"""`deployment/name`, `statefulset/name` or `daemonset/name`."""

Bundle = Annotated[str, Field(pattern=rf"^(?:configmap|secret)/{OBJECT}$")]
"""`configmap/name` or `secret/name`."""

DataKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$")]
"""The name of an entry of a Secret or ConfigMap."""

Prefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,189}$")]
"""What stands before the version in the names of a Secret's entries."""

Version = Annotated[str, Field(pattern=r"^v[1-9][0-9]{0,8}$")]
Container = Annotated[str, Field(pattern=rf"^{LABEL}$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,199}$")]
Selector = Annotated[str, Field(pattern=r"^[A-Za-z0-9(!][A-Za-z0-9._/=!,() -]{0,500}$")]
"""Labels, as kubectl takes them: `app=checkout,tier!=batch`."""


class InCluster(Model):
    """A cluster of the configuration."""

    cluster: Name = "default"


class InNamespace(InCluster):
    """A namespace in it."""

    namespace: Namespace
