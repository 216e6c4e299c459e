"""What must hold for any input of the parsers. A property takes one input, and fails by any exception."""
