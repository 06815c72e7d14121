"""Access log writing, and which secret a connection was served with."""
