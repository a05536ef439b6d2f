"""What lies on disk: headers, what they say a file is, and the names of tensors in each layout. Knows no modules."""
