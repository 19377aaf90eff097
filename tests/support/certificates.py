"""Certificates that end when a test wants them to."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def make_certificate(life: datetime.timedelta) -> bytes:
    """Return a self-signed certificate as PEM.

    Args:
        life: How long from now it lasts; negative where it has ended.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=2)).not_valid_after(now + life)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
