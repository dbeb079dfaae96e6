"""Certificates of the tests: one authority per session, pairs for any names, client certificates."""

import datetime
import os
import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@lru_cache(maxsize=None)
def _rsa_key(number):
    """RSA keys are slow to make: a few are shared."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _new_key(kind, number=0):
    return _rsa_key(number) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def _key_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, as files and as bytes."""

    cert: Path
    key: Path
    cert_pem: bytes
    key_pem: bytes
    der: bytes

    @property
    def serial(self):
        return x509.load_der_x509_certificate(self.der).serial_number

    def install(self, cert_path, key_path):
        """Writes the pair elsewhere, each file in one rename, the key first."""
        for path, content in ((Path(key_path), self.key_pem), (Path(cert_path), self.cert_pem)):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.new")
            fresh.write_bytes(content)
            fresh.chmod(0o600)
            os.replace(fresh, path)


class Authority:
    """A certificate authority that lives in `folder`."""

    def __init__(self, folder, name="edgemux test CA"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._count = 0
        self._key = _new_key("ecdsa")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.utcnow()
        self._cert = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
            )
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._cert.public_bytes(serialization.Encoding.PEM)
        self.path = self.folder / "ca.pem"
        self.path.write_bytes(self.pem)

    def issue(self, *names, kind="ecdsa", days=90, client=False):
        """A pair for `names` (a client certificate's only name is its subject)."""
        self._count += 1
        key = _new_key(kind, self._count % 2)
        now = datetime.datetime.utcnow()
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:60])]))
            .issuer_name(self._cert.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if not client:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False
            )
        cert = builder.sign(self._key, hashes.SHA256())
        stem = self.folder / f"{self._count}-{names[0].replace('*', '_')}"
        cert_pem, key_pem = cert.public_bytes(serialization.Encoding.PEM), _key_pem(key)
        pair = Pair(
            cert=stem.with_name(stem.name + ".pem"),
            key=stem.with_name(stem.name + ".key"),
            cert_pem=cert_pem,
            key_pem=key_pem,
            der=cert.public_bytes(serialization.Encoding.DER),
        )
        pair.cert.write_bytes(cert_pem)
        pair.key.write_bytes(key_pem)
        pair.key.chmod(0o600)
        return pair

    def server_context(self, pair):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        return context

    def client_context(self, alpn=(), pair=None, version=None):
        """Trusts this authority and checks names; `version` pins one TLS version."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context
