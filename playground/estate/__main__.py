"""Runs a program of the estate as a process: `python -m playground.estate identity|gateway|clients|all`."""

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path

from playground.estate.clients import Clients
from playground.estate.clock import VirtualClock
from playground.estate.estate import APPLICATIONS, Estate, Ground
from playground.estate.gateway import Gateway
from playground.estate.identity import Identity


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line. Tokens and keys are files in the directory, never arguments."""
    parser = argparse.ArgumentParser(prog="python -m playground.estate", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--directory", type=Path, required=True, help="tokens, keys, database and secret files")
    common.add_argument("--rate", type=float, default=1440.0, help="virtual seconds per real second")
    common.add_argument("--anchor", type=float, default=None, help="unix time at which virtual and real time agree")
    common.add_argument("--faults", action="store_true", help="serve /faults, for tests and the playground only")
    common.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    words = parser.add_subparsers(dest="program", required=True)
    identity = words.add_parser("identity", parents=[common], help="the identity service; seeds the directory")
    everything = words.add_parser("all", parents=[common], help="all of them in one process")
    for word in (identity, everything):
        word.add_argument("--token-life", type=float, default=3600.0, help="virtual seconds")
        word.add_argument("--jwks-max-age", type=float, default=900.0, help="virtual seconds")
        word.add_argument("--applications", default=",".join(APPLICATIONS), help="who gets an API key")
    everything.add_argument("--gateways", type=int, default=3)
    gateway = words.add_parser("gateway", parents=[common], help="one gateway")
    gateway.add_argument("--name", default="gateway-1")
    gateway.add_argument("--identity", required=True, help="address of the identity service")
    clients = words.add_parser("clients", parents=[common], help="the clients")
    clients.add_argument("--identity", required=True, help="address of the identity service")
    clients.add_argument("--gateways", required=True, help="addresses of the gateways, with commas")
    for word in (clients, everything):
        word.add_argument("--count", type=int, default=12, help="how many clients")
        word.add_argument("--calls-per-second", type=float, default=20.0, help="of all clients, in real time")
    return parser.parse_args(arguments)


def launch(options: argparse.Namespace) -> Identity | Gateway | Clients | Estate:
    """Start the program that the options name."""
    anchor = time.time() if options.anchor is None else options.anchor
    if options.program == "all":
        return Estate.start(
            rate=options.rate,
            anchor=anchor,
            gateways=options.gateways,
            clients=options.count,
            calls_per_second=options.calls_per_second,
            applications=options.applications.split(","),
            token_life=options.token_life,
            jwks_max_age=options.jwks_max_age,
            directory=options.directory,
            ports=[options.port],
            expose_faults=options.faults,
        )
    clock, ground = VirtualClock(options.rate, anchor), Ground(options.directory)
    if options.program == "identity":
        identity = Identity(
            clock,
            ground.directory,
            ground.kek_file,
            ground.admission(),
            port=options.port,
            token_life=options.token_life,
            jwks_max_age=options.jwks_max_age,
            expose_faults=options.faults,
        ).start()
        ground.seed(identity, options.applications.split(","))
        return identity
    if options.program == "gateway":
        return Gateway(
            options.name,
            clock,
            options.identity,
            ground.admission(),
            port=options.port,
            expose_faults=options.faults,
        ).start()
    return Clients(
        clock,
        options.identity,
        options.gateways.split(","),
        ground.secrets_directory,
        count=options.count,
        calls_per_second=options.calls_per_second,
        port=options.port,
        expose_faults=options.faults,
    ).start()


def main(arguments: list[str]) -> int:
    """Start, say where on one line of JSON, serve until told to end."""
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    program = launch(parse(arguments))
    ready = program.describe() if isinstance(program, Estate) else {"name": program.name, "address": program.address}
    print(json.dumps({"ready": True, **ready}), flush=True)
    told.wait()
    program.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
