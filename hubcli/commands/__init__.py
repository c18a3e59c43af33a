"""One verb a file: takes values, returns values, never prints.

`fetch.fetch`, `ls.ls`, `inspect.inspect`, `verify.verify`, `export.export`,
`finetune_export.finetune_export`, `gc.gc`, `rm.rm`, `pin.pin` and `doctor.doctor`, each with its options
and its result. How they do it stands in the rooms below.
"""
