"""Finished runs, read back, and what is shown of them: tables, claims, figures, pages."""
