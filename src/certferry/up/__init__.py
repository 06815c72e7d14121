"""`certferry up`: starts, connects and supervises all programs of the embedded system as processes."""
