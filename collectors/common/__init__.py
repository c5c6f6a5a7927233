"""What several collectors calculate with."""
