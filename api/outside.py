"""Call systems outside: bounded in time, tried again a little later, left alone while they fail.

One :class:`OutsideTransport` stands under every ``httpx`` client that an adapter is given. It resolves the
name itself and connects to no address that no hospital system has; it tries a reading request again after
faults that pass; and it keeps a circuit breaker for each origin: while that is open, nothing is sent, and the
adapter says *not obtainable* at once instead of after a timeout.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from types import MappingProxyType

import httpx
import msgspec
import stamina
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

__all__ = [
    "CircuitOpen",
    "ForbiddenAddress",
    "OutsideSettings",
    "OutsideTransport",
    "read_outside_settings",
]

_LOG = logging.getLogger("ruleward.outside")
_PASSING = frozenset({429, 502, 503, 504})
_FAULTS = frozenset({500, *_PASSING})
_READS = frozenset({"GET", "HEAD"})
_KNOWN_SECONDS = 30.0
_MOST_NAMES = 256

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[tuple[str, ...]]]


class OutsideSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a site may set about calls to systems outside."""

    attempts: int = 2
    """How often a reading request is sent in all, while its fault is one that passes."""

    wait_seconds: float = 0.05
    jitter_seconds: float = 0.15
    failures: int = 10
    """So many faults in a row open the breaker of an origin."""

    open_seconds: float = 10.0
    """How long nothing is sent then; afterwards one success closes it, one fault opens it again."""

    networks: tuple[str, ...] = ()
    """Networks that systems outside must lie in; none: any but loopback and link-local."""

    certificate: str | None = None
    key: str | None = None
    authority: str | None = None
    """Files (PEM): our certificate and key towards systems that ask for one; who may sign theirs."""


def read_outside_settings(environment: Mapping[str, str]) -> OutsideSettings:
    """Return the settings; raises ``ValueError`` that names the variable and how to mend it."""
    networks = tuple(part.strip() for part in environment.get("RULEWARD_OUTSIDE_NETWORKS", "").split(","))
    networks = tuple(filter(None, networks))
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ValueError(
                f"RULEWARD_OUTSIDE_NETWORKS: {network} is no network. Write one such as 10.20.0.0/16."
            ) from None
    certificate = environment.get("RULEWARD_OUTSIDE_CERTIFICATE") or None
    key = environment.get("RULEWARD_OUTSIDE_KEY") or None
    if (certificate is None) != (key is None):
        raise ValueError("RULEWARD_OUTSIDE_CERTIFICATE, RULEWARD_OUTSIDE_KEY: set both or none.")
    return OutsideSettings(
        networks=networks,
        certificate=certificate,
        key=key,
        authority=environment.get("RULEWARD_OUTSIDE_AUTHORITY") or None,
    )


class CircuitOpen(httpx.TransportError):
    """The system failed so often that it is left alone for a while."""


class ForbiddenAddress(httpx.TransportError):
    """The name leads to an address that no system outside has."""


class _PassingFault(httpx.TransportError):
    """An answer that says: later."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"answered {response.status_code}")
        self.response = response


class _Breaker:
    """The breaker of one origin, and since when it is open by the clock that never jumps."""

    def __init__(self, settings: OutsideSettings) -> None:
        self._settings = settings
        self._factory = self._new()
        self._stamp: float | None = None
        self._opened = 0.0
        self.open = False

    def _new(self) -> AsyncCircuitBreakerFactory:
        return AsyncCircuitBreakerFactory(self._settings.failures, self._settings.open_seconds)

    async def call(self, act: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Act unless the breaker is open; a fault, a status that is one, and giving up on it all count."""
        breaker = await self._factory.get_breaker("origin")
        try:
            async with breaker:
                response = await act()
                if response.status_code in _FAULTS:
                    raise _PassingFault(response)
                return response
        except _PassingFault as fault:
            return fault.response
        except OpenedState:
            if monotonic() - self._opened > self._settings.open_seconds:
                self._factory = self._new()  # the wall clock went back, and with it the end of the wait
            raise CircuitOpen("is left alone after faults in a row") from None
        finally:
            self._look(breaker.context.state, breaker.context.opened_at)

    def _look(self, state: str, stamp: float | None) -> None:
        if state == "opened" and stamp != self._stamp:
            self._stamp, self._opened = stamp, monotonic()
            if not self.open:
                _LOG.warning("a system outside fails: it is left alone for a while")
            self.open = True
        elif state == "closed" and self.open:
            _LOG.warning("a system outside answers again")
            self.open = False


async def _resolve(host: str, port: int) -> tuple[str, ...]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))


def _new_transport(context: ssl.SSLContext) -> httpx.AsyncBaseTransport:
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False)


class OutsideTransport(httpx.AsyncBaseTransport):
    """The transport under every client for systems outside."""

    def __init__(
        self,
        settings: OutsideSettings,
        resolve: Resolve = _resolve,
        new_transport: Callable[[ssl.SSLContext], httpx.AsyncBaseTransport] = _new_transport,
    ) -> None:
        self._settings, self._resolve, self._new_transport = settings, resolve, new_transport
        self._networks: tuple[Network, ...] = tuple(map(ipaddress.ip_network, settings.networks))
        self._context = _context(settings)
        self._pools: dict[str, httpx.AsyncBaseTransport] = {}
        self._breakers: dict[str, _Breaker] = {}
        self._known: dict[tuple[str, int], tuple[float, str]] = {}

    @property
    def states(self) -> Mapping[str, bool]:
        """Return origin -> whether its breaker is open, for ``/ready`` and the metrics."""
        return MappingProxyType({origin: one.open for origin, one in self._breakers.items()})

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raises ``httpx.TransportError`` when there is no answer."""
        origin = f"{request.url.scheme}://{request.url.netloc.decode()}"
        breaker = self._breakers.setdefault(origin, _Breaker(self._settings))
        attempts = self._settings.attempts if request.method in _READS else 1
        async for trial in stamina.retry_context(
            on=_passes, attempts=attempts, timeout=None, wait_initial=self._settings.wait_seconds,
            wait_max=1.0, wait_jitter=self._settings.jitter_seconds,
        ):  # fmt: skip
            with trial:
                response = await breaker.call(lambda: self._send(origin, request))
                if response.status_code in _PASSING and trial.num < attempts:
                    await response.aclose()
                    raise _PassingFault(response)
                return response
        raise AssertionError("the last attempt answers or raises")

    async def _send(self, origin: str, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        address = await self._address(host, port)
        pool = self._pools.get(origin)
        if pool is None:  # one an origin: a connection proven for one name never serves another
            pool = self._pools[origin] = self._new_transport(self._context)
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,  # Host keeps the name
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        return await pool.handle_async_request(pinned)

    async def _address(self, host: str, port: int) -> str:
        """Return an address of the name that may be called; it is the one that is connected to."""
        known = self._known.get((host, port))
        if known is not None and monotonic() < known[0]:
            return known[1]
        try:
            found = await self._resolve(host, port)
        except OSError:
            raise httpx.ConnectError("its name leads nowhere") from None
        for address in found:
            if not self._may_call(ipaddress.ip_address(address.partition("%")[0]), host):
                _LOG.error("a listed system's name leads to an address that may not be called")
                raise ForbiddenAddress("its name leads to an address that may not be called")
        if not found:
            raise httpx.ConnectError("its name leads nowhere")
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        self._known[host, port] = (monotonic() + _KNOWN_SECONDS, found[0])
        return found[0]

    def _may_call(self, address: Address, host: str) -> bool:
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address.is_link_local or address.is_multicast or address.is_unspecified:
            return False
        if self._networks:
            return any(address in network for network in self._networks)
        # A site that lists its own machine says so by that name; no other name may lead there.
        return not address.is_loopback or _is_loopback(host)

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _passes(error: Exception) -> bool:
    """Say whether a fault may be gone in a moment; a timeout has used up the time that there was."""
    faults = (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, _PassingFault)
    return isinstance(error, faults)


def _context(settings: OutsideSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # hospital systems of some age speak no other
    if settings.certificate is not None and settings.key is not None:
        context.load_cert_chain(settings.certificate, settings.key)
    return context
