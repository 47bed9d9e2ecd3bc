"""Graphs over users and items: normalisation, content neighbours, pseudo-edges; each exactly once."""
