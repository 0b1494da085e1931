"""What the benchmarks share: a private server, workers, and the instruments to look at them."""
