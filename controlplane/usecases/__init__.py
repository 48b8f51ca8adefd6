"""What Certplane does; IO goes through ports only."""
