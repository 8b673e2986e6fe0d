"""What text there is and how its lines are read: declarations, verified downloads, archives, SGML."""
