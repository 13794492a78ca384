"""What `helm upgrade` does to a Secret that was rotated in place, as the notes of the versioned Secret's runbook say.

`helm.sh/resource-policy: keep` keeps Helm from deleting an object, and from nothing else: what the chart still renders
is merged over what stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from playground.cluster.cluster import Cluster
from tests.real.deploy.conftest import Helm
from tests.real.kubernetes.conftest import Bench

SECRET, FIRST = "demo-requests-proxy-admin", "first-key-value-77aa"
RENDERED = """\
apiVersion: v1
kind: Secret
metadata:
  name: {{ .Release.Name }}-requests-proxy-admin
  annotations: {helm.sh/resource-policy: keep}
stringData:
  active: {{ .Values.active }}
  {{- range $version, $key := .Values.keys }}
  key.{{ $version }}: {{ $key }}
  {{- end }}
"""
GUARDED = (
    '{{- if not (lookup "v1" "Secret" .Release.Namespace (printf "%s-requests-proxy-admin" .Release.Name)) }}\n'
    f"{RENDERED}{{{{- end }}}}\n"
)
"""Rendered where there is none yet."""
BESIDE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: beside}
data: {level: {{ .Values.level | quote }}}
"""
VALUES = f"active: v1\nkeys: {{v1: {FIRST}}}\nlevel: info\n"

Upgrade = Callable[..., None]


@pytest.fixture
def bench(cluster: Cluster, namespace: str, tmp_path: Path) -> Bench:
    return Bench(cluster, namespace, cluster.kubeconfig(tmp_path / "kubeconfig"))


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """The chart of the requests proxy as far as it matters here, with the Secret rendered from values."""
    folder = tmp_path / "chart"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: requests-proxy\nversion: 1.0.0\n")
    (folder / "values.yaml").write_text(VALUES)
    (folder / "templates/secret.yaml").write_text(RENDERED)
    (folder / "templates/beside.yaml").write_text(BESIDE)
    return folder


@pytest.fixture
def upgrade(helm: Helm, bench: Bench, chart: Path) -> Iterator[Upgrade]:
    """Helm's `upgrade --install` of that chart."""
    where = ("--kubeconfig", bench.kubeconfig, "--namespace", bench.namespace)

    def run(*words: str) -> None:
        done = helm("upgrade", "--install", "demo", chart, *where, *words)
        assert done.returncode == 0, done.stderr

    yield run
    helm("uninstall", "demo", *where)


def rotate(bench: Bench) -> str:
    """The five steps, by the adapter that the runbook uses; returns the new key."""
    bench.do("add_key", secret=SECRET)
    bench.do("point_key", "keyturn-R-7-flip-0", secret=SECRET, version="v2", expected="v1")
    bench.do("remove_key", "keyturn-R-7-remove-0", secret=SECRET, version="v1")
    bench.do("purge_key", "keyturn-R-7-purge-0", secret=SECRET, version="v1")
    assert set(bench.data(SECRET)) == {"active", "key.v2"}
    return bench.data(SECRET)["key.v2"]


@pytest.mark.parametrize("words", ["", "--reset-values", "--set level=debug,active=v1,keys.v3=third"])
def test_a_secret_that_the_chart_renders_is_turned_back_by_every_upgrade(
    bench: Bench, upgrade: Upgrade, words: str
) -> None:
    upgrade()
    new = rotate(bench)
    assert "if its chart still renders this Secret, the next helm upgrade turns the rotation back" in managed_by(bench)
    upgrade(*words.split())
    left = bench.data(SECRET)
    assert left["active"] == "v1", "the pointer names the key that was retired"
    assert left["key.v1"] == FIRST, "which is back"
    assert left["key.v2"] == new, "what the chart does not know stays"


def test_forced_it_loses_the_new_key_too(bench: Bench, upgrade: Upgrade) -> None:
    upgrade()
    rotate(bench)
    upgrade("--force")
    assert bench.data(SECRET) == {"active": "v1", "key.v1": FIRST}


@pytest.mark.parametrize("how", ["rendered where there is none", "rendered no longer"])
def test_a_secret_that_the_chart_leaves_out_is_left_alone(
    bench: Bench, upgrade: Upgrade, chart: Path, how: str
) -> None:
    template = chart / "templates/secret.yaml"
    if how == "rendered where there is none":
        template.write_text(GUARDED)
        upgrade()
    else:
        upgrade()
        template.unlink()
    new = rotate(bench)
    for words in ((), ("--reset-values",), ("--set", "active=v9"), ("--force",)):
        upgrade(*words)
        assert bench.data(SECRET) == {"active": "v2", "key.v2": new}, words


def test_without_the_annotation_a_chart_that_leaves_it_out_deletes_it(
    bench: Bench, upgrade: Upgrade, chart: Path
) -> None:
    template = chart / "templates/secret.yaml"
    template.write_text(RENDERED.replace("annotations", "labels").replace("helm.sh/resource-policy: keep", "a: b"))
    upgrade()
    assert "deletes the Secret, which has no helm.sh/resource-policy: keep" in managed_by(bench)
    template.unlink()
    upgrade()
    assert SECRET not in names(bench)


def test_a_secret_that_nobody_manages_says_so(bench: Bench) -> None:
    bench.secret(SECRET, {"active": "v1", "key.v1": FIRST})
    assert managed_by(bench) == "nobody else"


def managed_by(bench: Bench) -> str:
    return str(bench.fact("managed_by", secret=SECRET))


def names(bench: Bench) -> set[str]:
    return {one["metadata"]["name"] for one in bench.api.get(f"/api/v1/namespaces/{bench.namespace}/secrets")["items"]}
