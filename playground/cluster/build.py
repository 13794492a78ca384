"""Builds the programs of a control plane from their Go modules, once per change, into a cache outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "tests" / "real" / "control_plane"
OLDEST = (1, 26)
RECIPE = "1"
"""Raised when the way of building changes though no source does."""

Say = Callable[[str], None]

PROGRAMS = {
    "servers": ("kubernetes", "."),
    "certificates": ("cert-manager", "."),
    "kwok": ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "helm": ("helm", "helm.sh/helm/v3/cmd/helm"),
}
"""Per module: the name of its program, and the package to build."""

COPIED = {
    "certificates": ("github.com/cert-manager/cert-manager", "crds/cert-manager", ("deploy/crds/*.yaml",)),
    "monitors": (
        "github.com/prometheus-operator/prometheus-operator",
        "crds/monitoring",
        (
            "example/prometheus-operator-crd/*_servicemonitors.yaml",
            "example/prometheus-operator-crd/*_prometheusrules.yaml",
        ),
    ),
    "kwok": (
        "sigs.k8s.io/kwok",
        "stages",
        ("kustomize/stage/node/fast/node-*.yaml", "kustomize/stage/pod/fast/pod-*.yaml"),
    ),
}
"""Per module: whose files are wanted as they are, where they go, and which they are."""


class Missing(Exception):
    """The programs are not there and cannot be built here; the text says what to do."""


@dataclass(frozen=True)
class Parts:
    """Where the built programs and the files that go with them lie."""

    folder: Path

    def program(self, name: str) -> Path:
        """The path of `kubernetes`, `kwok`, `helm` or `cert-manager`."""
        return self.folder / "bin" / name

    @property
    def stages(self) -> Path:
        """The folder of kwok's own stages."""
        return self.folder / "stages"

    def definitions(self, name: str) -> list[Path]:
        """The files that define the kinds of `cert-manager` or `monitoring`."""
        return sorted((self.folder / "crds" / name).glob("*.yaml"))


@dataclass(frozen=True)
class Go:
    """A Go that is new enough."""

    program: Path
    version: str

    def run(self, module: Path, *words: str, **more: str) -> str:
        """Run one of its commands in a module, offline of any workspace and with this very version."""
        variables = {
            "CGO_ENABLED": "0",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOFLAGS": "-mod=readonly -buildvcs=false",
        }
        done = subprocess.run(  # noqa: S603 - our own words
            [str(self.program), *words],
            cwd=module,
            env={**os.environ, **variables, **more},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Missing(f"go {' '.join(words[:2])} failed in {module}:\n{done.stderr[-3000:]}")
        return done.stdout


def find_go() -> Go | None:
    """The first Go that is new enough, on the path or where Go and Debian put theirs; None where there is none."""
    for place in _places():
        try:
            told = subprocess.run(  # noqa: S603 - asks for its version
                [place, "env", "GOVERSION"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"}
            ).stdout.strip()
        except OSError:
            continue
        found = re.match(r"go(\d+)\.(\d+)", told)
        if found and (int(found[1]), int(found[2])) >= OLDEST:
            return Go(Path(place), told.split()[0])
    return None


def how_to_get_go() -> str:
    """What to do where Go is missing or too old."""
    return (
        f"The control plane is built from Go modules, which needs Go {OLDEST[0]}.{OLDEST[1]} or newer on the PATH or "
        "in /usr/local/go. Debian's is too old: take golang of a newer release, or the Go project's own archive."
    )


def find(sources: Path = SOURCES) -> Parts | None:
    """What an earlier build left for these sources; with a Go at hand, only what that very Go built."""
    if not sources.is_dir():
        return None
    go = find_go()
    stem = _digest(sources)
    built = [_cache() / f"{stem}-{go.version}"] if go else sorted(_cache().glob(f"{stem}-go*"))
    return next((Parts(folder) for folder in built if (folder / "complete").exists()), None)


def can_build(sources: Path = SOURCES) -> bool:
    """Whether there is anything to build from, and something to build with."""
    return sources.is_dir() and find_go() is not None


def build(say: Say, sources: Path = SOURCES) -> Parts:
    """The programs, from the cache or built now: some five minutes on two cores. Raises `Missing`.

    Whoever comes second waits for the first. A build is made beside its place and renamed into it when complete.
    """
    if (parts := find(sources)) is not None:
        return parts
    if not sources.is_dir():
        raise Missing("The Go modules of the control plane come with a checkout of keyturn, not with its wheel.")
    go = find_go()
    if go is None:
        raise Missing(how_to_get_go())
    target = _cache() / f"{_digest(sources)}-{go.version}"
    with _locked(_cache(), say):
        if (parts := find(sources)) is not None:
            return parts
        for left in _cache().glob("unfinished-*"):  # whoever made it has died: nobody else holds the lock
            shutil.rmtree(left, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix="unfinished-", dir=_cache()))
        for module, (name, package) in PROGRAMS.items():
            say(f"building {name} with {go.version}")
            _compile(go, sources / module, package, fresh / "bin" / name)
        for module, (owner, place, patterns) in COPIED.items():
            say(f"taking {place} from {owner}")
            _copy(go, sources / module, owner, patterns, fresh / place)
        (fresh / "complete").touch()
        fresh.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        say(f"built in {target}")
    return Parts(target)


def _compile(go: Go, module: Path, package: str, program: Path) -> None:
    flags = ["-s", "-w"]
    if module.name == "servers":
        version = go.run(module, "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").strip()
        major, minor = version.removeprefix("v").split(".")[:2]
        for name, value in {"gitVersion": version, "gitMajor": major, "gitMinor": minor}.items():
            flags.append(f"-X k8s.io/component-base/version.{name}={value}")
    go.run(module, "build", "-trimpath", "-ldflags", " ".join(flags), "-o", str(program), package)


def _copy(go: Go, module: Path, owner: str, patterns: Sequence[str], place: Path) -> None:
    """Copy files of a required module; its zip is checked against go.sum as it is downloaded."""
    source: Mapping[str, str] = json.loads(go.run(module, "mod", "download", "-json", owner))
    place.mkdir(parents=True)
    for pattern in patterns:
        found = sorted(Path(source["Dir"]).glob(pattern))
        if not found:
            raise Missing(f"{owner} has no {pattern}: its layout has changed, and this recipe has to follow")
        for file in found:
            (place / file.name).write_bytes(file.read_bytes())


def _places() -> Iterator[str]:
    if (first := shutil.which("go")) is not None:
        yield first
    yield "/usr/local/go/bin/go"
    yield from (str(path) for path in sorted(Path("/usr/lib").glob("go-*/bin/go"), reverse=True))


def _digest(sources: Path) -> str:
    """Of everything that decides what is built, but for the version of Go."""
    taken = hashlib.sha256(RECIPE.encode())
    for module in sorted({*PROGRAMS, *COPIED}):
        for file in sorted(
            path for path in (sources / module).iterdir() if path.name in ("go.mod", "go.sum") or path.suffix == ".go"
        ):
            taken.update(f"{module}/{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return taken.hexdigest()[:20]


def _cache() -> Path:
    place = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(place) if Path(place).is_absolute() else Path.home() / ".cache"
    return root / "keyturn" / "control-plane"


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that builds")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
