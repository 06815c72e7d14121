"""Authentication and authorization: users, tokens, access keys and request signatures."""
