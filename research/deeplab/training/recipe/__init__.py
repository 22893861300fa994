"""Recipes from data: measurements, the plan that follows from them, and its flag files."""
