"""Everything clever: values in, values out. No clock, environment, log, network or await."""
