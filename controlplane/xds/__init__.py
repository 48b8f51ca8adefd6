"""The xDS transport protocol, sans-IO."""
