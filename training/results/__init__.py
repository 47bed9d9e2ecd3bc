"""Published figures: finished runs as committed JSON, and the page of tables that is made of it."""
