"""Values and decisions, without IO."""
