"""Checks of a SavedModel: layout, integrity, Reusable SavedModel interface, security scan.

`integrity.ModelCheck` compares tensors with their checksums, `scan.scan_ops` and `file_scan.scan_files`
find what runs code or touches files and the network, `reusable.check_reusable` checks the interface. All
give `hubcli.issues.Issue`.
"""
