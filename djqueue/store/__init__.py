"""The only place that writes task state: one verb a file, its SQL above its function."""
