"""CAMMSR (arXiv 2603.04320, from its abstract): sequences of items that are category-guided mixtures of experts."""
