"""TLS of the client: whom it trusts, and why a certificate is not trusted."""

from __future__ import annotations

import os
import ssl

_PARTIAL_CHAIN = 0x80000  # ssl.VERIFY_X509_PARTIAL_CHAIN, which Python 3.9 does not name


def tls_context(ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext:
    """Trusts the certificates in ``ca_file``, or in the file ``DECAHERTZ_CA_FILE``, or those of the system.

    The file has certificates in PEM: of authorities, or the server's own. Raises ``ValueError`` if it cannot
    be read.
    """
    file, origin = ca_file, "ca_file"
    if file is None:
        file, origin = os.environ.get("DECAHERTZ_CA_FILE") or None, "DECAHERTZ_CA_FILE"
    try:
        context = ssl.create_default_context(cafile=file)
    except (OSError, ValueError) as error:
        is_no_pem = isinstance(error, (ssl.SSLError, ValueError))
        reason = "no certificate in PEM" if is_no_pem else getattr(error, "strerror", None)
        raise ValueError(f"{origin}: {file} cannot be used: {reason}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if file is not None:
        context.verify_flags |= _PARTIAL_CHAIN
    return context


def tls_failure(error: BaseException) -> str:
    """Explains a failed handshake, and what to do about it; empty for an error of another kind."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the server's certificate is not trusted: {error.verify_message}; name a file with the server's"
            " certificate or that of its authority as ca_file or DECAHERTZ_CA_FILE"
        )
    if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "the server does not speak TLS: use http:// instead of https://"
    return ""
