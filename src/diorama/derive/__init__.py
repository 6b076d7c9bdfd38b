"""Derivations: long work on a scene that is kept, gone on with after a stop, and shared by views and processes."""
