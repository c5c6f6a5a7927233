"""Calculations shared by several collectors."""
