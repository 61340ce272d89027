"""What every HTTP API here does alike: problems, API keys, writes and their outcomes, pages, the application."""
