"""From documents to answers that say where they are from."""

__all__: list[str] = []
