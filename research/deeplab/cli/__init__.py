"""How scripts run: flags, help and errors."""
