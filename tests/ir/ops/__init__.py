"""Tests of the rules: one grid of cases over every registered primitive."""
