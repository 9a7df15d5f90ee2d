"""mTLS between services: each side shows a certificate that the authority of the other has signed.

What is replaced on disk is taken up without a restart: by a server with the next
connection, by a client within LOOK_SECONDS. What cannot be used is logged and left there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc

from services.chassis.background import background, every
from services.chassis.log import Logger, get_logger
from services.chassis.pem import check_certificates, check_key
from services.chassis.settings import ServiceSettings
from services.chassis.wrapping import Running

LOOK_SECONDS = 10.0
"""How often a client looks for other certificates."""
CONNECT_SECONDS = 5.0
"""How long the first connection with them may take."""


@dataclass(frozen=True, slots=True)
class Pem:
    """What was in the files."""

    certificate: bytes
    key: bytes = field(repr=False)
    authority: bytes


@dataclass(frozen=True)
class Tls:
    """Where the certificate of a service is, its key, and the authority that it trusts."""

    certificate: Path
    key: Path
    authority: Path
    log: Logger

    def read(self) -> Pem:
        return Pem(self.certificate.read_bytes(), self.key.read_bytes(), self.authority.read_bytes())

    def replacement(self, used: Pem) -> Pem | None:
        """What is in the files now; None if that is what is used, cannot be used or is being written."""
        try:
            pem = self.read()
            if pem == used:
                return None
            check_certificates(self.certificate)
            check_key(self.key, self.certificate)
            check_certificates(self.authority)
            return pem if pem == self.read() else None
        except (OSError, ValueError) as error:
            self.log.warning("new certificates cannot be used", reason=str(error))
            return None


def tls_of(settings: ServiceSettings) -> Tls | None:
    """What the settings say of TLS; None if it is off."""
    certificate, key, authority = settings.tls_certificate, settings.tls_key, settings.tls_authority
    if certificate is None or key is None or authority is None:
        return None
    return Tls(certificate, key, authority, get_logger(settings.service))


def server_credentials(tls: Tls) -> grpc.ServerCredentials:
    """For a server that takes nobody without a certificate of the authority."""
    used = tls.read()

    def replacement() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        pem = tls.replacement(used)
        if pem is None:
            return None
        used = pem
        tls.log.info("new certificates", used_by="server")
        return _server_configuration(pem)

    return grpc.dynamic_ssl_server_credentials(
        _server_configuration(used),
        cast("Callable[[], grpc.ServerCertificateConfiguration]", replacement),
        require_client_authentication=True,
    )


def _server_configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.certificate)], pem.authority)


Connect: TypeAlias = "Callable[[grpc.ChannelCredentials], grpc.aio.Channel]"
Options: TypeAlias = Sequence[tuple[str, Any]]
Interceptors: TypeAlias = Sequence[grpc.aio.ClientInterceptor]


@asynccontextmanager
async def channel_to(
    target: str, service: str, tls: Tls | None, options: Options, interceptors: Interceptors
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a service, which with `tls` has to show a certificate of its name."""
    if tls is None:
        async with grpc.aio.insecure_channel(target, options=options, interceptors=interceptors) as plain:
            yield plain
        return
    named = [*options, ("grpc.default_authority", service)]

    def connect(credentials: grpc.ChannelCredentials) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(target, credentials, options=named, interceptors=interceptors)

    channel = RenewedChannel(tls, connect)
    try:
        async with background(every(LOOK_SECONDS, channel.renew, tls.log)):
            yield cast("grpc.aio.Channel", channel)
    finally:
        await channel.close()


class _Channel:
    """A channel with certificates that stay as they are."""

    def __init__(self, pem: Pem, connect: Connect) -> None:
        self.pem = pem
        self.channel = connect(grpc.ssl_channel_credentials(pem.authority, pem.key, pem.certificate))
        self.running = Running()

    async def call(self, path: str, arguments: Any, more: Any, request: Any, options: Any) -> Any:
        self.running.count += 1
        try:
            return await self.channel.unary_unary(path, *arguments, **more)(request, **options)
        finally:
            self.running.end()


class RenewedChannel:
    """Stands in for a channel: grpc.aio has no channel whose certificates can be replaced."""

    def __init__(self, tls: Tls, connect: Connect) -> None:
        self._tls = tls
        self._connect = connect
        self._used = _Channel(tls.read(), connect)

    def unary_unary(self, path: str, *arguments: Any, **more: Any) -> Callable[..., Any]:
        async def call(request: Any, **options: Any) -> Any:
            return await self._used.call(path, arguments, more, request, options)

        return call

    async def renew(self) -> None:
        """Has the next calls use what is on disk, as soon as that has led to a connection."""
        pem = self._tls.replacement(self._used.pem)
        if pem is None:
            return
        unused = _Channel(pem, self._connect)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await unused.channel.channel_ready()
            self._used, unused = unused, self._used
            self._tls.log.info("new certificates", used_by="client")
            await unused.running.idle()
        except TimeoutError:
            self._tls.log.warning("new certificates lead to no connection")
        finally:
            await unused.channel.close()

    async def close(self) -> None:
        await self._used.channel.close()
