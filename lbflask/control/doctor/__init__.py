"""Diagnosis of the fleet, with advice: one module for each subject, and `diagnosis`, which composes them."""
