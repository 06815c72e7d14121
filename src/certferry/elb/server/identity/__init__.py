"""Who may do what: users, tokens, access keys, and how a request proves them."""
