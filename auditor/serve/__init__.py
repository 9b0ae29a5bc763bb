"""The audit as a service: jobs by HTTP, workers that may die, webhooks, and pages for people.

Not: comparing tracks (``api``) and what the pages say of a result (``report``).
"""
