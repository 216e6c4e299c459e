"""Adapters for the shared facts: ports, Redis, memory and the private Valkey. No decision is made here."""
