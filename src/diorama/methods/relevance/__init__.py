"""Relevance carried backward through any model, op by op: rules for weighted layers, and what all other ops do."""
