"""Recipes from data: what is measured, the plan that follows from it, and its flag files."""
