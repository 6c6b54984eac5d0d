"""The only room that runs models: loads a pair, lets it answer and read prompts, and writes results to the store."""
