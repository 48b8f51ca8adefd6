"""The demonstration: Certplane with an Envoy, a CA and a customer's domain on one machine."""
