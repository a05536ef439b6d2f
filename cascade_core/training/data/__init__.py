"""What a training learns from, as batches of one size.

`dataset`, `data_folders`, `captions` and `masks` read folders of pictures, `latent_files` and `latent_set` encoded
ones, `prompts` a text; `buckets` chooses sizes, `cache` and `texts` keep what is encoded once, `held_out` keeps some
apart, and `examples` makes the batches.
"""
