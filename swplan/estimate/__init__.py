"""Prices strategies: ways to run a program that a person would name, thousands at once, without a search for each."""
