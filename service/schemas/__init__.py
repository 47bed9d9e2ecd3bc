"""Requests and responses of the HTTP interface, as pydantic models with descriptions and examples."""
