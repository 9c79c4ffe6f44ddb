"""Who is calling: users, passwords, sessions, API tokens (contracts A1 to A5)."""
