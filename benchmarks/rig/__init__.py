"""What the benchmarks share: the contract of a result, corpora, measured processes, peers' environments."""
