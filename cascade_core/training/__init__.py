"""Training: a loop that is a generator, and a state from which it resumes exactly."""
