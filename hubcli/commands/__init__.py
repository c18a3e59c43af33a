"""One verb a file: takes values, returns values, never prints."""
