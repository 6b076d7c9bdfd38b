"""File formats, one a file: the file's name is the suffix."""
