"""One worker's view of the shared facts: snapshot, tickets, in-flight counts, slots and limits."""
