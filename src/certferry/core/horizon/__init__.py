"""The renewals to come: who renews each certificate, when, and how lifetimes that get shorter change the load."""
