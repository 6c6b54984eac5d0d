"""The kinds of dictionaries: each learns directions from the rows of two models."""
