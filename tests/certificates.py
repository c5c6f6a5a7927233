"""Certificates made by the program openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from api.security.certificate import CertificateFiles
from tests.servers import require


def make_certificate(folder: Path, *names: str, days: int = 30, name: str = "server") -> CertificateFiles:
    """A certificate that signs itself, for these names and addresses (default: 127.0.0.1), and its key."""
    made = CertificateFiles(folder / f"{name}.crt", folder / f"{name}.key")
    listed = ",".join(f"{'IP' if each[0].isdigit() else 'DNS'}:{each}" for each in names or ("127.0.0.1",))
    # Its name differs each time: a client looks an issuer up by name.
    options = ["-days", str(days), "-subj", f"/CN={name}", "-addext", f"subjectAltName={listed}"]
    command = [
        require("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]
    files = ["-nodes", "-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run([*command, *options, *files], check=True, capture_output=True, timeout=30)
    return made
