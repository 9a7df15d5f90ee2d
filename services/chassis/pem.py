"""PEM files of TLS: whether they can be used."""

import ssl
from pathlib import Path


def check_certificates(file: Path) -> None:
    """Raises ValueError unless the file can be read and holds certificates."""
    try:
        file.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise ValueError("there is no certificate in it") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None


def check_key(file: Path, certificate: Path | None) -> None:
    """Raises ValueError unless the file can be read and holds the key of the certificate, if there is one."""
    try:
        file.read_bytes()
        if certificate is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, file, password="")
    except ssl.SSLError:
        raise ValueError("it is not the key of the certificate, unencrypted") from None
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
