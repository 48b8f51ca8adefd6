"""Programs that run as child processes beside the control plane: a store, a proxy, a test CA."""
