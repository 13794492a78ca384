"""A small estate to rotate credentials in: an identity service, gateways and clients, with faults on demand."""

from playground.estate.clock import VirtualClock
from playground.estate.estate import Estate

__all__ = ["Estate", "VirtualClock"]
