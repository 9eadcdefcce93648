"""One module a wire format: pure functions between records and JSON; only here are JSON key names known."""
