"""Uses of exports: predictions with them, clients of their servers, video, checks."""
