"""The pure parts by themselves: `pytest benchmarks/pure`; how long they take is shown and never asserted."""
