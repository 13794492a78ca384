"""Which lines of a log tell that somebody was not let in."""

from __future__ import annotations

from adapters.kubernetes.logs import refuses


def test_lines_that_tell_of_a_refusal() -> None:
    for fields in ({"status": 401}, {"status": "403"}, {"msg": "authentication failed"}, {"error": "Unauthorized"}):
        assert refuses(fields)
    for fields in ({"status": 200}, {"count": 401}, {"msg": "401 items sold"}, {"level": "error"}):
        assert not refuses(fields)
