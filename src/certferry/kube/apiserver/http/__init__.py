"""HTTP: requests, responses, lists and watches."""
