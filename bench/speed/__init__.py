"""Compares seconds and accuracy with other packages that do the same work."""
