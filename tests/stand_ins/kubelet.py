"""What the API server asks for logs: a node's own server, which gives the lines that a test has written."""

from __future__ import annotations

import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from playground.cluster.cluster import Cluster
from tests.stand_ins.authority import Authority


class Kubelet:
    """Serves `/containerLogs/<namespace>/<pod>/<container>` on loopback, as a kubelet does."""

    def __init__(self) -> None:
        self.logs: dict[str, str] = {}
        """Lines by `<pod>/<container>`, and those of the container before by `<pod>/<container>/previous`."""
        self.asked: list[dict[str, list[str]]] = []
        owner = self

        class Logs(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                owner.asked.append(query)
                pod = "/".join(parts.path.split("/")[3:])
                text = owner.logs.get(pod + ("/previous" if "previous" in query else ""), "").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Logs)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pair.pem"
            file.write_text(Authority("kubelet").issue()[1])
            context.load_cert_chain(file)
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._http.server_address[1])
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="kubelet", daemon=True).start()

    def join(self, cluster: Cluster, name: str) -> None:
        """Make the node whose pods' logs are here, and have the API server find us."""
        cluster.api.create(self._node(name))
        path = f"/api/v1/nodes/{name}"
        cluster.wait(lambda: cluster.api.get(path)["status"].get("conditions"), f"node {name}")
        here = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": self._endpoints}
        cluster.api.merge(f"{path}/status", {"status": here})  # who plays the node has put its own there

    @property
    def _endpoints(self) -> dict[str, Any]:
        return {"kubeletEndpoint": {"Port": self.port}}

    def _node(self, name: str) -> dict[str, Any]:
        allocatable = {"cpu": "1000", "memory": "1Ti", "pods": "1000"}
        status = {
            "allocatable": allocatable,
            "capacity": allocatable,
            "daemonEndpoints": self._endpoints,
        }
        about = {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name},
        }
        taint = {"key": "tests", "value": name, "effect": "NoSchedule"}
        return {"apiVersion": "v1", "kind": "Node", "metadata": about, "spec": {"taints": [taint]}, "status": status}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
