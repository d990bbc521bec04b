"""Several servers of one policy: which server a trajectory's requests go to, and which are left out for a while.

Each trajectory ranks the servers by a hash (rendezvous hashing, Thaler and Ravishankar 1998) and goes to the first one
that is not left out. All states of a trajectory use the prefix cache of one server. Every process computes the same
ranking. If a server drops out, only its trajectories move. A server that fails `FAILURES` times in a row is left out,
longer each time, until it lists its models again (the circuit breaker of Nygard, "Release It!").
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pivotmine.escape import public_address

FAILURES = 3
"""Failures in a row after which a server is left out."""
FIRST_OUTAGE_S, LONGEST_OUTAGE_S = 2.0, 60.0
"""How long it is left out at first, and at most: the time doubles with every outage until it samples again."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
"""Pause before a request is sent again, at first and at most: it doubles with every try, times a random 0.5 to 1."""
STICKY_WAIT_S = 10.0
"""If a busy server demands a longer wait, the others take its trajectories until then."""

_log = logging.getLogger("pivotmine")


@dataclass(slots=True, eq=False)
class Server:
    url: str
    """May contain a password: show `name` instead."""
    client: Any = None
    model: str = ""
    """The policy's name on this server."""
    fields: dict[str, Any] | None = None
    """The fields of every request to this server; None if not known yet."""
    failures: int = 0
    """In a row."""
    outages: int = 0
    """In a row, without an answer between them."""
    is_in: bool = True
    retry_at: float = 0.0
    """When to ask for its models again, if it is left out."""
    busy_until: float = 0.0
    """It wants no requests before this time."""
    trouble: str = ""
    """The message of its last failure."""

    @property
    def name(self) -> str:
        """Its public address."""
        return public_address(self.url)


class Fleet:
    """The servers and their state; times are in seconds, as `now` counts them."""

    def __init__(self, urls: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        self.servers = [Server(url) for url in dict.fromkeys(urls)]
        self._now = now
        self._all_down_since: float | None = None

    def choose(self, key: str) -> tuple[Server | None, float]:
        """The server of a trajectory and how long to wait before using it. If no server takes requests now: None, and
        how long to wait before choosing again."""
        now = self._now()
        ranked = sorted(self.servers, key=lambda server: _rank(key, server.url), reverse=True)
        found = next((s for s in ranked if s.is_in and s.busy_until - now <= STICKY_WAIT_S), None)
        if found is not None:
            self._all_down_since = None
            return found, max(0.0, found.busy_until - now)
        self._all_down_since = now if self._all_down_since is None else self._all_down_since
        return None, max(0.0, min(s.busy_until - STICKY_WAIT_S if s.is_in else s.retry_at for s in ranked) - now)

    def seconds_all_down(self) -> float:
        """How long no server has taken requests."""
        return 0.0 if self._all_down_since is None else self._now() - self._all_down_since

    def due(self) -> list[Server]:
        """The servers to ask for their models now; each is returned once per outage."""
        now = self._now()
        found = [server for server in self.servers if not server.is_in and server.retry_at <= now]
        for server in found:
            server.retry_at = float("inf")
        return found

    def answered(self, server: Server) -> None:
        """Note that it answered a request."""
        server.failures = server.outages = 0

    def failed(self, server: Server, words: str) -> None:
        """Note that a request failed. Failures while the server is left out do not lengthen its outage."""
        server.trouble = words
        server.failures += 1
        if server.is_in and server.failures >= FAILURES:
            self.leave_out(server, words)

    def leave_out(self, server: Server, words: str) -> None:
        """Send it nothing for a while, longer after each outage."""
        longest = min(LONGEST_OUTAGE_S, FIRST_OUTAGE_S * 2**server.outages)
        outage_s = longest * random.uniform(0.5, 1.0)
        server.is_in, server.outages, server.trouble = False, server.outages + 1, words
        server.retry_at = self._now() + outage_s
        _log.warning("server %s is left out for %.0f s: %s", server.name, outage_s, words)

    def take_back(self, server: Server) -> None:
        """Use it again, since it lists its models; after one more failure it is left out for longer."""
        server.is_in, server.failures = True, FAILURES - 1
        _log.warning("server %s is back", server.name)

    def busy(self, server: Server, wait_s: float, words: str) -> None:
        """Note that it demanded a wait, which is not a failure."""
        server.busy_until, server.trouble = max(server.busy_until, self._now() + wait_s), words

    def troubles(self) -> str:
        """The last failure of every server that has one."""
        return "; ".join(f"{server.name}: {server.trouble}" for server in self.servers if server.trouble)


def pause_s(num_tries: int) -> float:
    """Seconds to wait after so many failed tries."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (num_tries - 1)) * random.uniform(0.5, 1.0)


def _rank(key: str, url: str) -> bytes:
    return hashlib.blake2b(f"{key}\0{url}".encode(), digest_size=8).digest()
