"""Mutual TLS: certificates that name a role, and who may call what.

Every certificate carries one URI, spiffe://sluis/ROLE/NAME (SPIFFE-ID style), in its subject
alternative name. A server maps method -> roles and denies everything else. A service's certificate
also carries the DNS name ROLE.sluis.internal, and clients trust that name, not the host's: a party
whose certificate names the same hosts is still not the service they mean to call.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.errors import KeysRefused

CA_DAYS: Final = 3650
LEAF_DAYS: Final = 397  # what browsers' CAs hold themselves to; renew yearly
_URI_PREFIX: Final = "spiffe://sluis/"
_ROLE_DOMAIN: Final = "sluis.internal"  # .internal is reserved: no resolver's, no other authority's
_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Longest answer that a client takes; services keep their pages well under it."""


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


class CertificateAuthority:
    """Issues the certificates of one deployment."""

    def __init__(self, now: dt.datetime) -> None:
        """Make a new authority with a fresh P-256 key."""
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Sluis certificate authority")
        self._certificate = (
            _builder(self._name, self._name, self._key.public_key(), now, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )

    @property
    def issued(self) -> Issued:
        """The authority's own certificate and key."""
        return Issued(_pem(self._certificate), _key_pem(self._key))

    def issue(self, role: str, name: str, hosts: Sequence[str] = ()) -> Issued:
        """A certificate for `role`; a server also needs the `hosts` it is reached by.

        Raises:
            KeysRefused: a host in the domain of roles: it would be a service that it is not.
        """
        for host in hosts:
            if f".{host.rstrip('.').casefold()}".endswith(f".{_ROLE_DOMAIN}"):
                raise KeysRefused(f"{host}: names in {_ROLE_DOMAIN} say a role; give another host")
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(f"{_URI_PREFIX}{role}/{name}")
        ]
        for host in hosts:
            try:
                names.append(x509.IPAddress(ipaddress.ip_address(host)))
            except ValueError:
                names.append(x509.DNSName(host))
        if hosts:
            names.append(x509.DNSName(role_name(role)))
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = (
            _builder(_name(f"{role} {name}"), self._name, key.public_key(), self._now, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Issued(_pem(certificate), _key_pem(key))


@dataclass(frozen=True)
class Identity:
    """The TLS files of one party: ca.pem, tls.pem, tls.key in its key folder."""

    folder: Path

    def channel(
        self, address: str, server_role: str, options: Sequence[tuple[str, Any]] = ()
    ) -> grpc.Channel:
        """A client's channel to a service that has `server_role`; connects lazily."""
        return grpc.secure_channel(
            address,
            self.channel_credentials(),
            options=[
                ("grpc.ssl_target_name_override", role_name(server_role)),
                ("grpc.max_receive_message_length", _ANSWER_BYTES),
                *options,
            ],
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a client. They hold for every service of the authority: `channel` asks for one."""
        ca, certificate, key = self._read()
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a server that lets nobody in without a certificate."""
        ca, certificate, key = self._read()
        return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)

    def _read(self) -> tuple[bytes, bytes, bytes]:
        try:
            return (
                (self.folder / "ca.pem").read_bytes(),
                (self.folder / "tls.pem").read_bytes(),
                (self.folder / "tls.key").read_bytes(),
            )
        except OSError as error:
            raise KeysRefused(
                f"{error.filename}: {error.strerror}. Give the key folder of this party; "
                "`sluis keys new` makes a working set"
            ) from error


def role_name(role: str) -> str:
    """The DNS name that only the certificates of services with this role carry."""
    return f"{role.replace('_', '-')}.{_ROLE_DOMAIN}"


def peer_name(context: Any) -> str:
    """The caller's URI, or "" without one."""
    for value in context.auth_context().get("x509_subject_alternative_name", ()):
        text = str(value.decode())
        if text.startswith(_URI_PREFIX):
            return text
    return ""


def peer_role(context: Any) -> str:
    """The caller's role, or "" without one."""
    return peer_name(context).removeprefix(_URI_PREFIX).partition("/")[0]


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: dt.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))  # clocks differ a little
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
