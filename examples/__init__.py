"""Programs that show how rabbitjobs is used; each of them runs as a test."""
