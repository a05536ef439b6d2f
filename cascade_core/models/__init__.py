"""The networks of Stable Cascade: what computes, and nothing about files, sampling or hosts."""
