"""Benchmarks, each on a private, durable PostgreSQL with real workers: ``python -m benchmarks --help``."""
