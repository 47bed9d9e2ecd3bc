"""MAGNET (arXiv 2602.20723): a dual-view base, structured experts over its parts, and an entropy-triggered router."""
