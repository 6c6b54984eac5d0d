"""From activations in the store to tested, named results in the store; never runs a language model."""
