"""HTTP: requests, responses, lists, watches."""
