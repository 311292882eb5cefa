"""The deletion service: requests, the ledger, gates, evidence, and what must be purged."""
