"""Servers, clients and reports that the tests, the benchmarks and the chaos scenarios share."""
