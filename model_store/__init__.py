"""The contract between trainer and service: snapshot format, store, reference scoring. No torch, no web."""
