"""Measurements of the networks beside other implementations, on the processor or the GPU at hand."""
