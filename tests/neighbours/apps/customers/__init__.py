"""The tenants' own Django app."""
