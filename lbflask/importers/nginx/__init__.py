"""nginx: files are parsed by crossplane, with what they include."""
