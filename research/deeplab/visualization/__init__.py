"""Drawing. Takes arrays and colors, and knows no dataset."""
