"""Which texts there are and how their lines are read: declarations, verified downloads, archives, SGML."""
