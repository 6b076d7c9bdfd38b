"""One derivation a file; the file's name is the derivation's name."""
