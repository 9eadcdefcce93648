"""Soak, load and the laws with many examples; run by `tox -e long`."""
