"""A long run of mixed traffic through all failures, in which each byte is verified and memory must not grow."""
