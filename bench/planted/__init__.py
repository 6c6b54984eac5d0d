"""Measures what fi-store finds where the truth is known, because it was planted."""
