"""The xDS server: streams, subscriptions, acknowledgements, encoding."""
