"""From a fitted model to a published snapshot: arrays, serving graphs, what is measured on them, publication."""
