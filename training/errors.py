"""What can go wrong offline, one class per thing a caller may want to handle."""


class TrainingError(Exception):
    """Base of every error that the trainer raises on purpose; the message says what was expected, found, and where."""
