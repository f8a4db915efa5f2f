"""Intake, registry, review, programmes, payments; every page and API."""
