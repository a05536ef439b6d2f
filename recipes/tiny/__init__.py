"""The recipe of the built-in weights: their training, and the judging of their pictures."""
