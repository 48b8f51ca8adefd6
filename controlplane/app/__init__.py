"""The composition root: what each role is made of, and how its process lives."""
