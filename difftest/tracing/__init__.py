"""Why two sides part: both run again with tracing, and the two stories side by side."""
