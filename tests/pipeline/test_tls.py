"""Certificates that name a role, and the role that a server reads from them."""

from __future__ import annotations

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from pipeline.errors import KeysRefused
from pipeline.rpc.tls import (
    CA_DAYS,
    LEAF_DAYS,
    CertificateAuthority,
    Identity,
    Issued,
    peer_name,
    peer_role,
    role_name,
)

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
HOSTS = ("localhost", "verification.example.org", "127.0.0.1", "::1")


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    """A certificate authority."""
    return CertificateAuthority(NOW)


@pytest.fixture(scope="module")
def server(authority) -> x509.Certificate:
    """The certificate of a verification service."""
    return certificate(authority.issue("verification", "service", HOSTS))


@pytest.fixture(scope="module")
def client(authority) -> x509.Certificate:
    """The certificate of a provider's scan."""
    return certificate(authority.issue("emitter", "scan"))


def certificate(issued: Issued) -> x509.Certificate:
    """The certificate of what was issued."""
    return x509.load_pem_x509_certificate(issued.certificate)


def policy(authority: CertificateAuthority, now: dt.datetime = NOW) -> PolicyBuilder:
    """How a peer that trusts this authority verifies, at a moment."""
    return PolicyBuilder().store(Store([certificate(authority.issued)])).time(now)


def extension(of: x509.Certificate, kind: type):
    """One extension."""
    return of.extensions.get_extension_for_class(kind)


# --- the chain --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_a_server_is_verified_by_every_host_it_was_issued_for(authority, server, host):
    """Names and addresses of the service hold on its certificate."""
    try:
        subject = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    chain = policy(authority).build_server_verifier(subject).verify(server, [])
    assert chain == [server, certificate(authority.issued)]


@pytest.mark.parametrize(
    "subject",
    [
        x509.DNSName("example.org"),
        x509.DNSName("a.localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.2")),
    ],
    ids=str,
)
def test_a_server_is_not_verified_by_another_host(authority, server, subject):
    """A host the certificate does not name is another host."""
    with pytest.raises(VerificationError):
        policy(authority).build_server_verifier(subject).verify(server, [])


def test_a_client_is_verified_by_its_role(authority, client):
    """A client's one name is the URI of its role."""
    verified = policy(authority).build_client_verifier().verify(client, [])
    assert [name.value for name in verified.subjects] == ["spiffe://sluis/emitter/scan"]


def test_a_client_is_no_server_and_a_server_no_client(authority, client, server):
    """A stolen client key cannot stand in for the service, nor the other way round."""
    with pytest.raises(VerificationError):
        policy(authority).build_client_verifier().verify(server, [])
    for subject in (x509.DNSName("scan"), x509.DNSName("localhost")):
        with pytest.raises(VerificationError):
            policy(authority).build_server_verifier(subject).verify(client, [])


def test_a_service_is_verified_by_its_role_and_by_no_other(authority, server):
    """The name of a role stands on that role's certificates alone, whatever hosts they share."""
    vault = certificate(authority.issue("vault", "vault", HOSTS))
    for one, role, other in ((server, "verification", "vault"), (vault, "vault", "verification")):
        verify = policy(authority).build_server_verifier(x509.DNSName(role_name(role)))
        assert verify.verify(one, [])[0] == one
        with pytest.raises(VerificationError):
            policy(authority).build_server_verifier(x509.DNSName(role_name(other))).verify(one, [])


@pytest.mark.parametrize(
    "host",
    ["verification.sluis.internal", "Verification.Sluis.Internal.", "*.sluis.internal",
     "sluis.internal"],
)  # fmt: skip
def test_no_host_may_bear_the_name_of_a_role(authority, host):
    """Else whoever orders a certificate for the vault could have one for verification."""
    with pytest.raises(KeysRefused, match="say a role"):
        authority.issue("vault", "vault", ("localhost", host))


def test_another_authority_vouches_for_nobody_here(client):
    """A certificate of another deployment is refused, though it bears the same names."""
    with pytest.raises(VerificationError):
        policy(CertificateAuthority(NOW)).build_client_verifier().verify(client, [])


def test_the_authority_signs_what_it_issues(authority, client, server):
    """Both signatures hold under the authority's key, and under no other."""
    ca = certificate(authority.issued)
    other = certificate(CertificateAuthority(NOW).issued)
    for one in (client, server, ca):
        assert one.verify_directly_issued_by(ca) is None
        with pytest.raises(InvalidSignature):
            one.verify_directly_issued_by(other)


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        (NOW, True),
        (NOW - dt.timedelta(minutes=4), True),
        (NOW - dt.timedelta(minutes=6), False),
        (NOW + dt.timedelta(days=LEAF_DAYS), True),
        (NOW + dt.timedelta(days=LEAF_DAYS, seconds=1), False),
        (NOW + dt.timedelta(days=CA_DAYS), False),
    ],
)
def test_a_certificate_holds_for_its_days(authority, client, moment, holds):
    """From a little before it was made, as clocks differ, to the last of its days."""
    verifier = policy(authority, moment).build_client_verifier()
    if holds:
        verifier.verify(client, [])
    else:
        with pytest.raises(VerificationError):
            verifier.verify(client, [])


def test_the_authority_outlives_what_it_issues(authority):
    """The authority's own certificate holds for its ten years."""
    ca = certificate(authority.issued)
    assert ca.not_valid_before_utc <= NOW
    assert ca.not_valid_after_utc == NOW + dt.timedelta(days=CA_DAYS)
    assert LEAF_DAYS <= 398 < CA_DAYS


# --- what stands in a certificate -------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "name"), [("emitter", "scan"), ("reviewer", "reviewer-1"), ("verification", "service")]
)
def test_a_certificate_names_one_role(authority, role, name):
    """The subject alternative name holds one URI, of the role and the name given."""
    issued = certificate(authority.issue(role, name, ("localhost",)))
    names = extension(issued, x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == [f"spiffe://sluis/{role}/{name}"]


def test_hosts_stand_as_what_they_are(server, client):
    """Names are DNS names, addresses are addresses, and a client has neither."""
    names = extension(server, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "localhost", "verification.example.org", "verification.sluis.internal",
    ]  # fmt: skip
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    names = extension(client, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == []
    assert names.get_values_for_type(x509.IPAddress) == []


def test_a_leaf_may_sign_handshakes_and_no_certificates(server, client):
    """Key usage is digital signature alone, and nobody but the authority is one."""
    for one in (server, client):
        usage = extension(one, x509.KeyUsage)
        assert usage.critical
        assert usage.value.digital_signature
        assert not usage.value.key_cert_sign
        assert not usage.value.crl_sign
        assert not usage.value.key_encipherment
        constraints = extension(one, x509.BasicConstraints)
        assert constraints.critical
        assert not constraints.value.ca


def test_a_leaf_has_the_one_purpose_it_is_for(server, client):
    """A server's certificate is for servers, a client's for clients."""
    assert list(extension(server, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert list(extension(client, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_authority_signs_certificates_and_makes_no_other_authority(authority):
    """The authority's certificate allows no authority below it, and no handshakes."""
    ca = certificate(authority.issued)
    constraints = extension(ca, x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = extension(ca, x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature


def test_every_certificate_has_its_own_key_and_serial_number(authority):
    """Two certificates of one role share nothing but the role."""
    issued = [authority.issue("reviewer", "reviewer-1") for _ in range(2)]
    one, two = (certificate(i) for i in issued)
    assert one.serial_number != two.serial_number
    assert one.public_key() != two.public_key()


def test_a_key_belongs_to_its_certificate(authority):
    """What is issued as a pair is one, on the curve P-256."""
    for issued in (authority.issued, authority.issue("emitter", "scan")):
        key = serialization.load_pem_private_key(issued.key, None)
        assert isinstance(key.curve, ec.SECP256R1)
        assert key.public_key() == certificate(issued).public_key()


def test_an_identity_makes_credentials_of_what_was_issued(tmp_path, authority):
    """A party's folder gives gRPC what it takes, as client and as server."""
    issued = authority.issue("verification", "service", ("localhost",))
    (tmp_path / "ca.pem").write_bytes(authority.issued.certificate)
    (tmp_path / "tls.pem").write_bytes(issued.certificate)
    (tmp_path / "tls.key").write_bytes(issued.key)
    assert Identity(tmp_path).channel_credentials() is not None
    assert Identity(tmp_path).server_credentials() is not None


# --- who is calling ---------------------------------------------------------------------------


class Call:
    """A gRPC context of a caller whose certificate has these alternative names."""

    def __init__(self, *names: str, other: dict[str, list[bytes]] | None = None) -> None:
        """Remember the names."""
        self._values = dict(other or {})
        if names:
            self._values["x509_subject_alternative_name"] = [name.encode() for name in names]

    def auth_context(self) -> dict[str, list[bytes]]:
        """As gRPC gives it."""
        return self._values


@pytest.mark.parametrize(
    ("names", "role"),
    [
        (["spiffe://sluis/emitter/scan"], "emitter"),
        (["spiffe://sluis/reviewer/reviewer-1"], "reviewer"),
        (["localhost", "127.0.0.1", "spiffe://sluis/verification/service"], "verification"),
        (["spiffe://elsewhere/emitter/scan", "spiffe://sluis/reviewer/r"], "reviewer"),
    ],
)
def test_the_caller_is_who_its_certificate_says(names, role):
    """The one URI of this deployment's kind gives name and role, wherever it stands."""
    assert peer_role(Call(*names)) == role
    assert peer_name(Call(*names)) == names[-1]


@pytest.mark.parametrize(
    "call",
    [
        Call(),
        Call("localhost"),
        Call("emitter"),
        Call("spiffe://elsewhere/emitter/scan"),
        Call("https://sluis/emitter/scan"),
        Call("spiffe://sluis.example/emitter/scan"),
        Call("x.spiffe://sluis/emitter/scan"),
        Call(other={"x509_common_name": [b"spiffe://sluis/emitter/scan"]}),
        Call(other={"x509_common_name": [b"emitter scan"]}),
    ],
)
def test_a_caller_without_a_role_has_none(call):
    """Other names, other deployments and a mere common name give no role at all."""
    assert peer_name(call) == ""
    assert peer_role(call) == ""


@pytest.mark.parametrize("uri", ["spiffe://sluis/", "spiffe://sluis//scan"])
def test_a_uri_without_a_role_gives_none(uri):
    """An empty role is no role that a method could be open to."""
    assert peer_role(Call(uri)) == ""
