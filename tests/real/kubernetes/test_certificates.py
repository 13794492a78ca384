"""Certificates by cert-manager's real controllers, and bundles of authorities."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.kubernetes.pem import blocks_of, serial_of
from bot.core.errors import Permanent
from playground.cluster.cluster import Cluster
from tests.real.kubernetes.conftest import Bench
from tests.stand_ins.authority import Authority

GROUP = "cert-manager.io/v1"


def make(bench: Bench, cert_manager: Cluster, issuer: str = "own", policy: str = "Always") -> None:
    about = {"name": "own", "namespace": bench.namespace}
    leaf = {"name": "shop", "namespace": bench.namespace}
    spec = {
        "secretName": "shop",
        "dnsNames": ["shop"],
        "issuerRef": {"name": issuer, "kind": "Issuer"},
        "privateKey": {"rotationPolicy": policy},
    }
    cert_manager.apply(
        {"apiVersion": GROUP, "kind": "Issuer", "metadata": about, "spec": {"selfSigned": {}}},
        {"apiVersion": GROUP, "kind": "Certificate", "metadata": leaf, "spec": spec},
    )


def test_a_certificate_is_renewed_once_and_followed(bench: Bench, cert_manager: Cluster) -> None:
    make(bench, cert_manager)
    bench.until("certificate_ready", certificate="shop")
    serial = bench.fact("certificate", certificate="shop")
    assert serial == serial_of(bench.data("shop")["tls.crt"])
    done = bench.do("renew_certificate", certificate="shop")
    assert done == {"certificate": "shop", "previous_serial": serial, "previous_revision": 1}
    bench.until("certificate_ready", certificate="shop", after_revision=done["previous_revision"])
    assert bench.do("renew_certificate", certificate="shop") == done
    now = bench.fact("certificate", certificate="shop")
    assert now != serial
    assert now == serial_of(bench.data("shop")["tls.crt"])
    found = bench.api.get(bench.path("certificates.cert-manager.io", "shop"))
    assert found["status"]["revision"] == 2, "once"
    left = bench.undo("renew_certificate", done, certificate="shop")
    assert left is not None
    assert "stays renewed" in left
    assert [one.version for one in bench.found("certificates")] == ["2"]
    assert bench.found("certificates")[0].expires_at is not None
    assert bench.found("tls_secrets") == [], "cert-manager renews it"


def test_a_renewal_that_would_keep_the_private_key_is_refused(bench: Bench, cert_manager: Cluster) -> None:
    make(bench, cert_manager, policy="Never")
    bench.until("certificate_ready", certificate="shop")
    with pytest.raises(Permanent, match="may keep its private key") as caught:
        bench.do("renew_certificate", certificate="shop")
    assert "rotationPolicy" in caught.value.hint
    assert bench.api.get(bench.path("certificates.cert-manager.io", "shop"))["status"]["revision"] == 1


def test_a_certificate_that_is_not_issued_says_so(bench: Bench, cert_manager: Cluster) -> None:
    make(bench, cert_manager, issuer="none")
    told = bench.check("certificate_ready", certificate="shop")
    assert told.passed is False
    with pytest.raises(Permanent, match="is not kept"):
        bench.fact("certificate", certificate="shop")
    path = bench.path("certificates.cert-manager.io", "shop")
    failed = {"type": "Issuing", "status": "False", "reason": "Failed", "message": "the issuer is not there"}

    def write() -> None:  # the controllers write there as well
        bench.api.merge(f"{path}/status", {"status": {"conditions": [failed]}})

    error = bench.fails("certificate_ready", before=write, certificate="shop")
    assert isinstance(error, Permanent)
    assert "the issuer is not there" in str(error)


@pytest.mark.parametrize("kind", ["configmap", "secret"])
def test_authorities_overlap_in_a_bundle(bench: Bench, kind: str) -> None:
    old, new = Authority("old").pem, Authority("new").pem
    text = f"# the old one\n{old}"
    if kind == "secret":
        bench.secret("trust", {"ca.crt": text})
    else:
        about = {"name": "trust", "namespace": bench.namespace}
        bench.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"ca.crt": text}})
    bench.secret("authority", {"ca.crt": new})

    def bundle() -> str:
        if kind == "secret":
            return bench.data("trust")["ca.crt"]
        return str(bench.api.get(bench.path("configmaps", "trust"))["data"]["ca.crt"])

    given: dict[str, Any] = {"bundle": f"{kind}/trust", "from_secret": "authority"}
    added = bench.do("trust_ca", **given)
    assert list(blocks_of(bundle())) == [next(iter(blocks_of(old))), added["fingerprint"]]
    assert bundle().startswith("# the old one\n"), "what else is in it stays"
    gone = {"bundle": f"{kind}/trust", "fingerprint": next(iter(blocks_of(old)))}
    bench.do("distrust_ca", "keyturn-R-7-distrust-0", **gone)
    assert list(blocks_of(bundle())) == [added["fingerprint"]]
    with pytest.raises(Permanent, match="only authority"):
        bench.do("distrust_ca", "keyturn-R-8-distrust-0", bundle=f"{kind}/trust", fingerprint=added["fingerprint"])
    bench.undo("distrust_ca", {}, "keyturn-R-7-distrust-0", **gone)
    bench.undo("trust_ca", {}, **given)
    assert list(blocks_of(bundle())) == [gone["fingerprint"]]


def test_an_authority_of_which_a_certificate_is_in_use_stays_trusted(bench: Bench) -> None:
    old, new = Authority("old").pem, Authority("new").pem
    bench.secret("trust", {"ca.crt": old})
    bench.secret("authority", {"ca.crt": new})
    bench.secret("shop", {"tls.crt": "x", "ca.crt": old})
    given: dict[str, Any] = {"bundle": "secret/trust", "from_secret": "authority", "secret": "shop"}
    added = bench.do("trust_ca", **given)
    bench.write("shop", {"ca.crt": new})
    left = bench.undo("trust_ca", added, **given)
    assert left is not None
    assert "a certificate of it may be in use" in left
    assert added["fingerprint"] in blocks_of(bench.data("trust")["ca.crt"])
    bench.write("shop", {"ca.crt": old})
    assert bench.undo("trust_ca", added, relied_on=True, **given) == left, "an issuance may be under way"
    assert bench.undo("trust_ca", added, **given) is None
    assert bench.data("trust")["ca.crt"] == old


def test_a_server_certificate_is_not_trusted_as_an_authority(bench: Bench) -> None:
    _, leaf = Authority("some").issue()
    bench.secret("trust", {"ca.crt": Authority("old").pem})
    bench.secret("leaf", {"ca.crt": leaf})
    with pytest.raises(Permanent, match="no certificate authority"):
        bench.do("trust_ca", bundle="secret/trust", from_secret="leaf")
