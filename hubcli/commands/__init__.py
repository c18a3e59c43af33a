"""One verb a file: takes values, returns values, never prints.

A file has the function of its name, such as `fetch.fetch`, with its options and its result; `hubcli` exports
most of them. How they do it stands in the rooms below.
"""
