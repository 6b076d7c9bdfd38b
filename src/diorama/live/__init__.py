"""Runs views as jobs in worker processes and streams their pictures to whoever looks; knows no transport."""
