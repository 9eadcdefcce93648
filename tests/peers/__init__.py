"""Other people's software as witnesses; run by `tox -e peers`."""
