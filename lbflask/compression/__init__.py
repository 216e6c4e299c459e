"""Compression of content: zlib of the standard library, and the libraries of Brotli and Zstandard."""
