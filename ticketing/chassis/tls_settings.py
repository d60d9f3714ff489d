"""The settings of TLS, read from the environment and checked."""

from cryptography import x509

from ticketing.chassis.settings import Environment
from ticketing.chassis.tls import Identity, Tls


def read_tls(environment: Environment) -> Tls:
    """Read the settings of TLS and check the files that they name."""
    paths = {
        name: environment.optional_path(f"TICKETING_TLS_{name}") for name in ("CERTIFICATE", "KEY", "CLIENT_CA", "CA")
    }
    certificate, key = paths["CERTIFICATE"], paths["KEY"]
    if (certificate is None) != (key is None):
        environment.fault("TICKETING_TLS_CERTIFICATE", "and TICKETING_TLS_KEY belong together")
    identity = Identity(certificate, key) if certificate is not None and key is not None else None
    if paths["CLIENT_CA"] is not None and identity is None:
        environment.fault("TICKETING_TLS_CLIENT_CA", "is of no use without TICKETING_TLS_CERTIFICATE")
    try:
        if identity is not None:
            identity.read()
    except (OSError, ValueError) as error:
        environment.fault("TICKETING_TLS_CERTIFICATE", f"and TICKETING_TLS_KEY cannot be used: {error}")
    for name in ("CLIENT_CA", "CA"):
        try:
            if (path := paths[name]) is not None:
                x509.load_pem_x509_certificates(path.read_bytes())
        except (OSError, ValueError) as error:
            environment.fault(f"TICKETING_TLS_{name}", f"cannot be used: {error}")
    return Tls(identity, paths["CLIENT_CA"], paths["CA"])
