"""Datasets: readers of directories, splits, and the generated demo catalogue."""
