"""Delivery of alerts to a webhook: as signed JSON, or in the format of Alertmanager.

Invariant: an alert that begins or ends is posted until the receiver has accepted it.
"""
