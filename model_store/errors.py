"""What can go wrong with a snapshot or a store, one class per thing a caller may want to handle."""


class StoreError(Exception):
    """Base of every error that this package raises on purpose; the message says what was expected, found, and where."""
