"""Seconds and accuracy side by side with other packages that do the same work."""
