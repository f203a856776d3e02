"""Tests of `swplan.validation`."""
