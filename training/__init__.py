"""Offline: dataset → features → graph → model → evaluation → snapshot. Torch lives only here."""
