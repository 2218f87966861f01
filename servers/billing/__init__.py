"""Invoices, payments, refunds and the approvals they need: the billing server."""
