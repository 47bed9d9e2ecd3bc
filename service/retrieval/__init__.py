"""Candidate retrieval: which items are worth an exact score."""
