"""From claims to desired listeners, certificates, pools and forwarding: one module per step."""
