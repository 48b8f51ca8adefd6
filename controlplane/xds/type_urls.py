"""Type URLs of the resources that Certplane serves (xDS page, "Resource Types")."""

SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 (a type, not a password)
"""A TLS certificate with its private key. The only type that is served; every other one belongs to another control plane."""
