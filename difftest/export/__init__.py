"""From a case or a check to what somebody without this tool can run."""
