"""The ports' implementations on real libraries."""
