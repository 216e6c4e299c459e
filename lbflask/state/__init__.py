"""The shared facts. Redis hands out tickets, keeps flags and elects; what follows from them is decided elsewhere."""
