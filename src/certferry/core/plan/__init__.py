"""From desired and observed state to ordered steps."""
