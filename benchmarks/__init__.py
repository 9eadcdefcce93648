"""What arshai_kit costs, as ratios to the same work written by hand with httpx and `json`: `python -m benchmarks`."""
