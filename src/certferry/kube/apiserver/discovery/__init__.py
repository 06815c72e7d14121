"""Discovery documents and OpenAPI of the embedded API."""
