"""How images come about: the process, its samplers, guidance, and the sampling of Stage C and Stage B."""
