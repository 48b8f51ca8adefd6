"""In-memory implementations of ports, with the semantics that the ports promise."""
