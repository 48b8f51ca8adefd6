"""End-to-end tests: real Envoy, real Pebble, real Valkey, real TLS clients."""
