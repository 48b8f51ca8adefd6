"""gRPC and HTTP servers: thin translations to use cases."""
