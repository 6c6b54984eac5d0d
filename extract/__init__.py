"""The only room that runs models: references, sequences, hooks, shards, generation, shams; writes to the store."""
