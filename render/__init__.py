"""From the store to tables, charts and reports; needs no model and concludes nothing of its own."""
