"""Nouns that every room shares: knobs, registries, keys, pictures, colours, provenance, errors. No torch here."""
