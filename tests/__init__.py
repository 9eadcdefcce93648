"""The library's promises, and what proves them."""
