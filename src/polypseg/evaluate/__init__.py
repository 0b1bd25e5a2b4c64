"""Scoring predictions against references, summing the scores up, and comparing evaluations."""
