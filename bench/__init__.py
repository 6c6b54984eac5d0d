"""Measures fi-store against planted truth and against other packages; not part of the installed package."""
