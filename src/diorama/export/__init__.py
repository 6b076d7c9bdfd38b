"""Pictures on paper and in files: figures, films, pages of their own, plain data. Knows marks, not methods."""
