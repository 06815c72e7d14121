"""Page requests, templates, lists, errors, formatting."""
