"""Files below a directory: opened without a way out of it, read in bounded pieces, small ones held in memory."""
