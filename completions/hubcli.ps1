# hubcli completion for PowerShell 5.1 and later.
# Written by `python -m tools.make_completions`: change tools/templates, then run it.

Register-ArgumentCompleter -Native -CommandName 'hubcli' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    Set-StrictMode -Off
    $ordinal = [System.StringComparison]::Ordinal

    $commands = @(
        , @('search', 'Find SavedModels on Kaggle or on another host')
        , @('versions', 'List the versions of a model, and which are cached')
        , @('info', 'Show description, license and usage of a model')
        , @('fetch', 'Fetch models into the cache and print their paths')
        , @('inspect', 'Show signatures, functions and variables of a model')
        , @('run', 'Run a signature or function of a model')
        , @('verify', 'Check models against their checksums')
        , @('export', 'Export a model as a directory, an archive, LiteRT or ONNX')
        , @('finetune-export', 'Export a fine-tuned model as a drop-in replacement')
        , @('publish', 'Publish a model on Kaggle, in a directory or in a bucket')
        , @('ls', 'List cached models')
        , @('gc', 'Remove leftovers, and models by age, size or free space')
        , @('rm', 'Remove models from the cache')
        , @('pin', 'Protect models from gc')
        , @('unpin', 'Remove the protection of pinned models')
        , @('push', 'Push models to a shared tier')
        , @('tier', 'List, verify, clean up or measure a shared tier')
        , @('doctor', 'Diagnose download and load problems')
    )

    # By command: the names of each option, and what it does.
    $options = @{
        '' = @(
            @('--version', 'Print the version'),
            @('-V', 'Print the version'),
            @('--install-completion', 'Install completion for the current shell, or for SHELL'),
            @('--show-completion', 'Print the completion script of the current shell, or of SHELL'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors')
        )
        'search' = @(
            @('--owner', 'Show only models of this publisher'),
            @('--framework', 'Show only models of tensorFlow2 or tensorFlow1. [default: both]'),
            @('--max-size', 'Show only models up to this size'),
            @('--sort', 'Sort by hotness, downloads, votes, created, updated, name or size. [default: hotness; name with --host]'),
            @('--limit', 'Show at most N models'),
            @('--host', 'Search the index of this host or directory instead of Kaggle'),
            @('--refresh', 'Ask the host again, even if a recent answer is cached'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'versions' = @(
            @('--limit', 'Show at most N versions'),
            @('--refresh', 'Ask the host again, even if a recent answer is cached'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'info' = @(
            @('--refresh', 'Ask the host again, even if a recent answer is cached'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'fetch' = @(
            @('--requirement', 'Fetch the handles listed in FILE, one per line. Repeatable'),
            @('-r', 'Fetch the handles listed in FILE, one per line. Repeatable'),
            @('--jobs', 'Models to fetch in parallel. [default: 2]'),
            @('--lock', 'Write a lock file'),
            @('--locked', 'Fetch exactly what the lock file records (--lock FILE or -r FILE)'),
            @('--dry-run', 'Show what would be fetched, with sizes, without fetching'),
            @('--from', 'Import a local archive or directory as HANDLE'),
            @('--sha256', 'Expected SHA-256 of the archive'),
            @('--force', 'Fetch again and replace the cached model'),
            @('--refresh', 'Check for a newer version'),
            @('--pin', 'Protect the model from gc'),
            @('--kagglehub', 'Make models from Kaggle available to kagglehub'),
            @('--mirror', 'Use URL as a mirror for handles with PREFIX. Repeatable. [env: HUBCLI_MIRRORS]'),
            @('--tier', 'Shared tier to ask before the origin. Repeatable. [env: HUBCLI_TIERS]'),
            @('--require-tier', 'Fail if a shared tier fails, instead of skipping it'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--connections', 'Parallel connections for a large archive. [default: 8]'),
            @('--retries', 'Retries after a transient error. [default: 5]'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--min-rate', 'Minimum rate in bytes per second, averaged over 60s; 0: no minimum. [default: 1KiB] [env: HUBCLI_MIN_RATE]'),
            @('--lock-timeout', 'Fail after waiting this long for another process without progress. [default: 10m]'),
            @('--max-unpacked', 'Total size of all files'),
            @('--max-members', 'Number of files and directories'),
            @('--max-path-length', 'Length of a path in bytes'),
            @('--max-depth', 'Depth of directories'),
            @('--max-headers', 'Total size of extension headers'),
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--anonymous', 'Read buckets without credentials. [env: HUBCLI_BUCKET_ANONYMOUS=1]'),
            @('--requester-pays', 'Read requester-pays buckets, and pay for the traffic. [env: HUBCLI_BUCKET_REQUESTER_PAYS=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'inspect' = @(
            @('--signatures', 'Show signatures'),
            @('--functions', 'Show functions and their traces'),
            @('--variables', 'Show all variables'),
            @('--assets', 'Show assets'),
            @('--ops', 'Show ops and how often each occurs'),
            @('--tree', 'Show the object tree with parameter counts'),
            @('--depth', 'With --tree: maximum depth'),
            @('--all', 'Include submodules; do not abbreviate'),
            @('--tag-set', 'Tags of the MetaGraph to inspect'),
            @('--fetch', 'Fetch the model into the cache if it is not cached'),
            @('--svg', 'Also save the output as SVG'),
            @('--check', 'Check for the Reusable SavedModel interface'),
            @('--scan', 'Scan for ops and files that run code or access files or the network'),
            @('--fail-on', 'With --scan: minimum severity that fails: info, low, medium, high or critical. [default: high]'),
            @('--diff', 'Compare with another model, values included'),
            @('--for', 'Check whether these can load the model, such as tensorflow>=2.12, serving==2.19, session, litert, cpu, keras3-layer or hub.KerasLayer'),
            @('--try', 'With --for litert: run the converter too; needs TensorFlow'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--min-rate', 'Minimum rate in bytes per second, averaged over 60s; 0: no minimum. [default: 1KiB] [env: HUBCLI_MIN_RATE]'),
            @('--anonymous', 'Read buckets without credentials. [env: HUBCLI_BUCKET_ANONYMOUS=1]'),
            @('--requester-pays', 'Read requester-pays buckets, and pay for the traffic. [env: HUBCLI_BUCKET_REQUESTER_PAYS=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'run' = @(
            @('--signature', 'A signature. [default: serving_default, or the only one]'),
            @('--function', 'A traced function, such as __call__ or encoder.__call__'),
            @('--arg', 'A Python argument that chooses a trace of the function. Repeatable'),
            @('--tag-set', 'Tags of the MetaGraph to run'),
            @('--input', 'JSON, text, @FILE or @- (standard input). Repeat to stack a batch'),
            @('-i', 'JSON, text, @FILE or @- (standard input). Repeat to stack a batch'),
            @('--request', 'TensorFlow Serving predict request; prints the response of TensorFlow Serving'),
            @('--batch-size', 'Rows per run. [default: 32 for a stream, else all]'),
            @('--image-size', 'Resize images where the signature has no fixed size'),
            @('--scale', 'Range of image values. [default: 0,1]'),
            @('--output', 'Write .npz, .npy, .json, .jsonl, .csv, or a directory of .npy files'),
            @('-o', 'Write .npz, .npy, .json, .jsonl, .csv, or a directory of .npy files'),
            @('--force', 'Overwrite the file of --output'),
            @('--json-lines', 'Print one JSON object a row'),
            @('--top', 'Show the K classes with the largest values'),
            @('--labels', 'With --top: file with the class names, one per line'),
            @('--repeat', 'Measure latency, throughput and memory over N runs'),
            @('--dry-run', 'Check the inputs without TensorFlow'),
            @('--runner', 'Run with TensorFlow''s C library or its Python package'),
            @('--timeout', 'Fail if loading or a run takes longer. [default: 1h]'),
            @('--unsafe', 'Run the model even if the scan finds unsafe ops'),
            @('--anonymous', 'Read buckets without credentials. [env: HUBCLI_BUCKET_ANONYMOUS=1]'),
            @('--requester-pays', 'Read requester-pays buckets, and pay for the traffic. [env: HUBCLI_BUCKET_REQUESTER_PAYS=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'verify' = @(
            @('--repair', 'Fetch corrupt models again'),
            @('--quick', 'Skip the graph, and SHA-256 of shards; check tensor checksums only'),
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--anonymous', 'Read buckets without credentials. [env: HUBCLI_BUCKET_ANONYMOUS=1]'),
            @('--requester-pays', 'Read requester-pays buckets, and pay for the traffic. [env: HUBCLI_BUCKET_REQUESTER_PAYS=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'export' = @(
            @('--format', 'Output format; default: by the name of DEST'),
            @('--force', 'Overwrite DEST'),
            @('--layout', 'serving: DEST/<name>/<version>/. hub: DEST/<publisher>/<model>/<version>, an archive'),
            @('--name', 'Model name; default: from the handle. With hub: PUBLISHER/MODEL'),
            @('--version', 'Version; default: from the handle'),
            @('--output-layer', 'Last layer of the exported part. Repeatable'),
            @('--input-layer', 'First layer of the exported part. Repeatable'),
            @('--custom-objects', 'Python file or module with the model''s custom classes'),
            @('--unsafe', 'Trust the model: run code in a Keras model, convert despite the scan'),
            @('--dry-run', 'Show what the export would lose without writing it'),
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--anonymous', 'Read buckets without credentials. [env: HUBCLI_BUCKET_ANONYMOUS=1]'),
            @('--requester-pays', 'Read requester-pays buckets, and pay for the traffic. [env: HUBCLI_BUCKET_REQUESTER_PAYS=1]'),
            @('--signature', 'Keep this signature and drop the others. Repeatable'),
            @('--drop-signature', 'Drop this signature. Repeatable'),
            @('--rename-signature', 'Rename a signature. Repeatable'),
            @('--allow-none', 'Allow an export without signatures'),
            @('--clear-devices', 'Remove device names from the graph'),
            @('--serving', 'Keep only what the signatures need to be served'),
            @('--half', 'Store float32 weights in half the bytes'),
            @('--tolerance', 'Largest error allowed, relative to an output''s largest value. [default: 0.01 with --half]'),
            @('--warmup', 'Write warmup requests: those in FILE, or N sampled ones'),
            @('--add-defaults', 'Default of a signature input. Repeatable'),
            @('--no-compare', 'Do not run the export to compare it with SOURCE'),
            @('--quantize', 'Store the weights of a .tflite file in fewer bits'),
            @('--representative', 'Inputs to calibrate --quantize int8 on: npz, npy, JSON Lines or CSV. Repeatable'),
            @('--select-tf-ops', 'Allow TensorFlow ops in a .tflite file'),
            @('--opset', 'ONNX opset, 9 to 18. [default: 18]'),
            @('--inputs', 'Inputs to compare the outputs on. Repeatable. [default: sampled]'),
            @('--timeout', 'Limit for the conversion, and for each run. [default: 1h, 2m a run]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'finetune-export' = @(
            @('--method', 'resave: save with TensorFlow. rewrite: replace values only. auto: what preserves all'),
            @('--force', 'Overwrite DEST'),
            @('--allow-unchanged', 'Export even if no trainable value changed'),
            @('--allow-nan', 'Allow NaN and infinite values'),
            @('--weights', 'A checkpoint, a SavedModel, .weights.h5, .h5, .keras, .npz or .safetensors'),
            @('--root', 'Object or layer in the file that is the model'),
            @('--map', 'Mapping of variables to values: lines `variable = key`, or JSON'),
            @('--dry-run', 'Show the mapping of values to variables without exporting'),
            @('--train', 'Function that trains the loaded object: FILE.py:function or package.module:function'),
            @('--arg', 'Argument of the function; VALUE is JSON or text. Repeatable'),
            @('--strategy', 'Distribution strategy; with TF_CONFIG on several machines, the chief writes'),
            @('--tag-set', 'Tags of the MetaGraph to train'),
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--anonymous', 'Read buckets without credentials. [env: HUBCLI_BUCKET_ANONYMOUS=1]'),
            @('--requester-pays', 'Read requester-pays buckets, and pay for the traffic. [env: HUBCLI_BUCKET_REQUESTER_PAYS=1]'),
            @('--signature', 'Keep this signature and drop the others. Repeatable'),
            @('--drop-signature', 'Drop this signature. Repeatable'),
            @('--rename-signature', 'Rename a signature. Repeatable'),
            @('--allow-none', 'Allow an export without signatures'),
            @('--clear-devices', 'Remove device names from the graph'),
            @('--serving', 'Keep only what the signatures need to be served'),
            @('--half', 'Store float32 weights in half the bytes'),
            @('--tolerance', 'Largest error allowed, relative to an output''s largest value. [default: 0.01 with --half]'),
            @('--warmup', 'Write warmup requests: those in FILE, or N sampled ones'),
            @('--add-defaults', 'Default of a signature input. Repeatable'),
            @('--no-compare', 'Do not run the export to compare it with SOURCE'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'publish' = @(
            @('--license', 'License of the model; required for a new variation'),
            @('--title', 'Title of a new model'),
            @('--notes', 'Notes of the version'),
            @('--description', 'Markdown text for a new model and a new variation'),
            @('--framework', 'tensorFlow2 or tensorFlow1, if HANDLE has no framework'),
            @('--public', 'Let everyone download the model. [default: private]'),
            @('--no-wait', 'Do not wait for processing, and skip the comparison'),
            @('--wait', 'Wait for processing at most this long'),
            @('--restart', 'Discard an earlier upload, even one with unknown outcome'),
            @('--check', 'Only check the model against the checklist for publishers'),
            @('--card', 'Only print a model card to fill in, as Markdown'),
            @('--dry-run', 'Show what would be created without sending it'),
            @('--unsafe', 'Publish despite findings of the scan'),
            @('--yes', 'Publish without asking'),
            @('-y', 'Publish without asking'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'ls' = @(
            @('--sort', 'Sort by name, size, fetched or used'),
            @('--filter', 'Filter such as ''size>1GB'', ''used>30d'', ''kind=TF2'' or ''state!=ok''. Repeatable'),
            @('--limit', 'Show at most N models'),
            @('--path', 'Print only the path of the model or the cache'),
            @('--size', 'Print only the total size (with -q: in bytes)'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'gc' = @(
            @('--older-than', 'Remove models not used for this long'),
            @('--max-size', 'Remove least recently used models until the cache is at most this large'),
            @('--min-free', 'Remove least recently used models until this much disk space is free'),
            @('--keep-versions', 'Keep the newest N versions of each model'),
            @('--broken', 'Remove models that fail verification'),
            @('--grace', 'Never remove anything used within this time'),
            @('--keep-partial', 'Keep partial downloads for this long'),
            @('--dry-run', 'Show what would be removed, without removing it'),
            @('--yes', 'Remove models without asking'),
            @('-y', 'Remove models without asking'),
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'rm' = @(
            @('--force', 'Remove pinned models too'),
            @('--dry-run', 'Show what would be removed, without removing it'),
            @('--yes', 'Remove models without asking'),
            @('-y', 'Remove models without asking'),
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'pin' = @(
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'unpin' = @(
            @('--no-sync', 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'push' = @(
            @('--all', 'Push all cached models that came from a host'),
            @('--lock', 'Push exactly what the lock file records'),
            @('--tier', 'Shared tier to use. [env: HUBCLI_TIERS]'),
            @('--force', 'Upload again, and replace other archives of the handle'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'tier' = @(
            @('--tier', 'Shared tier to use. [env: HUBCLI_TIERS]'),
            @('--older-than', 'Remove models not used for this long'),
            @('--max-count', 'Remove least recently used models beyond N'),
            @('--max-size', 'Remove least recently used models until the archives are at most this large'),
            @('--keep', 'Keep what the lock file names. Repeatable'),
            @('--grace', 'Never remove anything used or written within this time. [default: 1d]'),
            @('--dry-run', 'Show what would be removed, without removing it'),
            @('--yes', 'Remove models without asking'),
            @('-y', 'Remove models without asking'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--timeout', 'Fail after this long without data. [default: 30s]'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
        'doctor' = @(
            @('--network', 'Check hosts and shared tiers over the network'),
            @('--python', 'Check the packages of this interpreter or virtual environment'),
            @('--fix', 'Remove leftovers of interrupted exports'),
            @('--mirror', 'Use URL as a mirror for handles with PREFIX. Repeatable. [env: HUBCLI_MIRRORS]'),
            @('--cacert', 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'),
            @('--timeout', 'With --network: fail after this long without data'),
            @('--json', 'Print JSON'),
            @('--quiet', 'Print only paths or handles'),
            @('-q', 'Print only paths or handles'),
            @('--offline', 'Never use the network. [env: HUBCLI_OFFLINE=1]'),
            @('--cache-dir', 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'),
            @('--color', 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'),
            @('--no-color', 'Same as --color never'),
            @('--no-progress', 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'),
            @('--debug', 'Show tracebacks of errors'),
            @('--help', 'Show this message and exit'),
            @('-h', 'Show this message and exit')
        )
    }

    # What may stand behind an option; no entry for what takes no value.
    $values = @{
        ' --install-completion' = @{ Words = @('bash', 'zsh', 'fish', 'powershell', 'pwsh') }
        ' --show-completion' = @{ Words = @('bash', 'zsh', 'fish', 'powershell', 'pwsh') }
        ' --cache-dir' = @{ Words = @(); Directories = $true }
        ' --color' = @{ Words = @('auto', 'always', 'never') }
        'search --owner' = @{ Words = @() }
        'search --framework' = @{ Words = @('tensorFlow2', 'tensorFlow1') }
        'search --max-size' = @{ Words = @() }
        'search --sort' = @{ Words = @('hotness', 'downloads', 'votes', 'created', 'updated', 'name', 'size') }
        'search --limit' = @{ Words = @() }
        'search --host' = @{ Words = @(); Directories = $true }
        'search --timeout' = @{ Words = @() }
        'search --cacert' = @{ Words = @(); Files = $true }
        'search --cache-dir' = @{ Words = @(); Directories = $true }
        'search --color' = @{ Words = @('auto', 'always', 'never') }
        'versions --limit' = @{ Words = @() }
        'versions --timeout' = @{ Words = @() }
        'versions --cacert' = @{ Words = @(); Files = $true }
        'versions --cache-dir' = @{ Words = @(); Directories = $true }
        'versions --color' = @{ Words = @('auto', 'always', 'never') }
        'info --timeout' = @{ Words = @() }
        'info --cacert' = @{ Words = @(); Files = $true }
        'info --cache-dir' = @{ Words = @(); Directories = $true }
        'info --color' = @{ Words = @('auto', 'always', 'never') }
        'fetch --requirement' = @{ Words = @('-'); Files = $true }
        'fetch -r' = @{ Words = @('-'); Files = $true }
        'fetch --jobs' = @{ Words = @() }
        'fetch --lock' = @{ Words = @(); Files = $true }
        'fetch --from' = @{ Words = @('-'); Files = $true; Directories = $true }
        'fetch --sha256' = @{ Words = @() }
        'fetch --mirror' = @{ Words = @('https://tfhub.dev=', 'https://www.kaggle.com/models=') }
        'fetch --tier' = @{ Words = @('s3://', 'gs://', 'az://', 'https://'); Directories = $true }
        'fetch --cacert' = @{ Words = @(); Files = $true }
        'fetch --connections' = @{ Words = @() }
        'fetch --retries' = @{ Words = @() }
        'fetch --timeout' = @{ Words = @() }
        'fetch --min-rate' = @{ Words = @() }
        'fetch --lock-timeout' = @{ Words = @() }
        'fetch --max-unpacked' = @{ Words = @() }
        'fetch --max-members' = @{ Words = @() }
        'fetch --max-path-length' = @{ Words = @() }
        'fetch --max-depth' = @{ Words = @() }
        'fetch --max-headers' = @{ Words = @() }
        'fetch --cache-dir' = @{ Words = @(); Directories = $true }
        'fetch --color' = @{ Words = @('auto', 'always', 'never') }
        'inspect --depth' = @{ Words = @() }
        'inspect --tag-set' = @{ Words = @('serve', 'train', 'serve,gpu', 'serve,tpu') }
        'inspect --svg' = @{ Words = @(); Files = $true }
        'inspect --fail-on' = @{ Words = @('info', 'low', 'medium', 'high', 'critical') }
        'inspect --diff' = @{ Words = @(); Handles = $true; Files = $true }
        'inspect --for' = @{ Words = @('tensorflow', 'serving', 'session', 'litert', 'cpu', 'keras3-layer', 'hub.KerasLayer') }
        'inspect --timeout' = @{ Words = @() }
        'inspect --min-rate' = @{ Words = @() }
        'inspect --cache-dir' = @{ Words = @(); Directories = $true }
        'inspect --color' = @{ Words = @('auto', 'always', 'never') }
        'run --signature' = @{ Words = @(); Model = 'signatures' }
        'run --function' = @{ Words = @(); Model = 'functions' }
        'run --arg' = @{ Words = @() }
        'run --tag-set' = @{ Words = @('serve', 'train', 'serve,gpu', 'serve,tpu') }
        'run --input' = @{ Words = @(); Model = 'inputs' }
        'run -i' = @{ Words = @(); Model = 'inputs' }
        'run --request' = @{ Words = @('-'); Files = $true }
        'run --batch-size' = @{ Words = @() }
        'run --image-size' = @{ Words = @() }
        'run --scale' = @{ Words = @() }
        'run --output' = @{ Words = @(); Files = $true; Directories = $true }
        'run -o' = @{ Words = @(); Files = $true; Directories = $true }
        'run --top' = @{ Words = @() }
        'run --labels' = @{ Words = @(); Files = $true }
        'run --repeat' = @{ Words = @() }
        'run --runner' = @{ Words = @('auto', 'c', 'python') }
        'run --timeout' = @{ Words = @() }
        'run --cache-dir' = @{ Words = @(); Directories = $true }
        'run --color' = @{ Words = @('auto', 'always', 'never') }
        'verify --cache-dir' = @{ Words = @(); Directories = $true }
        'verify --color' = @{ Words = @('auto', 'always', 'never') }
        'export --format' = @{ Words = @('dir', 'tar', 'tar.gz', 'tflite', 'onnx') }
        'export --layout' = @{ Words = @('plain', 'serving', 'hub') }
        'export --name' = @{ Words = @() }
        'export --version' = @{ Words = @() }
        'export --output-layer' = @{ Words = @() }
        'export --input-layer' = @{ Words = @() }
        'export --custom-objects' = @{ Words = @(); Files = $true }
        'export --signature' = @{ Words = @(); Model = 'signatures' }
        'export --drop-signature' = @{ Words = @(); Model = 'signatures' }
        'export --rename-signature' = @{ Words = @() }
        'export --half' = @{ Words = @('float16', 'bfloat16') }
        'export --tolerance' = @{ Words = @() }
        'export --warmup' = @{ Words = @(); Files = $true }
        'export --add-defaults' = @{ Words = @() }
        'export --quantize' = @{ Words = @('dynamic', 'float16', 'int8') }
        'export --representative' = @{ Words = @(); Files = $true }
        'export --opset' = @{ Words = @() }
        'export --inputs' = @{ Words = @(); Files = $true }
        'export --timeout' = @{ Words = @() }
        'export --cache-dir' = @{ Words = @(); Directories = $true }
        'export --color' = @{ Words = @('auto', 'always', 'never') }
        'finetune-export --method' = @{ Words = @('auto', 'resave', 'rewrite') }
        'finetune-export --weights' = @{ Words = @(); Files = $true }
        'finetune-export --root' = @{ Words = @() }
        'finetune-export --map' = @{ Words = @(); Files = $true }
        'finetune-export --train' = @{ Words = @(); Files = $true }
        'finetune-export --arg' = @{ Words = @() }
        'finetune-export --strategy' = @{ Words = @('mirrored', 'multiworker') }
        'finetune-export --tag-set' = @{ Words = @('serve', 'train', 'serve,gpu', 'serve,tpu') }
        'finetune-export --signature' = @{ Words = @(); Model = 'signatures' }
        'finetune-export --drop-signature' = @{ Words = @(); Model = 'signatures' }
        'finetune-export --rename-signature' = @{ Words = @() }
        'finetune-export --half' = @{ Words = @('float16', 'bfloat16') }
        'finetune-export --tolerance' = @{ Words = @() }
        'finetune-export --warmup' = @{ Words = @(); Files = $true }
        'finetune-export --add-defaults' = @{ Words = @() }
        'finetune-export --cache-dir' = @{ Words = @(); Directories = $true }
        'finetune-export --color' = @{ Words = @('auto', 'always', 'never') }
        'publish --license' = @{ Words = @('Apache 2.0', 'MIT', 'CC BY 4.0', 'CC0: Public Domain', 'BSD-3-Clause') }
        'publish --title' = @{ Words = @() }
        'publish --notes' = @{ Words = @() }
        'publish --description' = @{ Words = @(); Files = $true }
        'publish --framework' = @{ Words = @('tensorFlow2', 'tensorFlow1') }
        'publish --wait' = @{ Words = @() }
        'publish --timeout' = @{ Words = @() }
        'publish --cacert' = @{ Words = @(); Files = $true }
        'publish --cache-dir' = @{ Words = @(); Directories = $true }
        'publish --color' = @{ Words = @('auto', 'always', 'never') }
        'ls --sort' = @{ Words = @('name', 'name:asc', 'name:desc', 'size', 'size:asc', 'size:desc', 'fetched', 'fetched:asc', 'fetched:desc', 'used', 'used:asc', 'used:desc') }
        'ls --filter' = @{ Words = @('size<', 'size>', 'used<', 'used>', 'fetched<', 'fetched>', 'kind=TF2', 'kind=TF1', 'kind=TF1 Hub', 'kind=Keras', 'state=ok', 'state=incomplete', 'state=downloading', 'state=unknown', 'state=foreign', 'pinned=yes', 'pinned=no') }
        'ls --limit' = @{ Words = @() }
        'ls --cache-dir' = @{ Words = @(); Directories = $true }
        'ls --color' = @{ Words = @('auto', 'always', 'never') }
        'gc --older-than' = @{ Words = @() }
        'gc --max-size' = @{ Words = @() }
        'gc --min-free' = @{ Words = @() }
        'gc --keep-versions' = @{ Words = @() }
        'gc --grace' = @{ Words = @() }
        'gc --keep-partial' = @{ Words = @() }
        'gc --cache-dir' = @{ Words = @(); Directories = $true }
        'gc --color' = @{ Words = @('auto', 'always', 'never') }
        'rm --cache-dir' = @{ Words = @(); Directories = $true }
        'rm --color' = @{ Words = @('auto', 'always', 'never') }
        'pin --cache-dir' = @{ Words = @(); Directories = $true }
        'pin --color' = @{ Words = @('auto', 'always', 'never') }
        'unpin --cache-dir' = @{ Words = @(); Directories = $true }
        'unpin --color' = @{ Words = @('auto', 'always', 'never') }
        'push --lock' = @{ Words = @(); Files = $true }
        'push --tier' = @{ Words = @('s3://', 'gs://', 'az://'); Directories = $true }
        'push --cacert' = @{ Words = @(); Files = $true }
        'push --timeout' = @{ Words = @() }
        'push --cache-dir' = @{ Words = @(); Directories = $true }
        'push --color' = @{ Words = @('auto', 'always', 'never') }
        'tier --tier' = @{ Words = @('s3://', 'gs://', 'az://'); Directories = $true }
        'tier --older-than' = @{ Words = @() }
        'tier --max-count' = @{ Words = @() }
        'tier --max-size' = @{ Words = @() }
        'tier --keep' = @{ Words = @(); Files = $true }
        'tier --grace' = @{ Words = @() }
        'tier --cacert' = @{ Words = @(); Files = $true }
        'tier --timeout' = @{ Words = @() }
        'tier --cache-dir' = @{ Words = @(); Directories = $true }
        'tier --color' = @{ Words = @('auto', 'always', 'never') }
        'doctor --python' = @{ Words = @(); Files = $true }
        'doctor --mirror' = @{ Words = @('https://tfhub.dev=', 'https://www.kaggle.com/models=') }
        'doctor --cacert' = @{ Words = @(); Files = $true }
        'doctor --timeout' = @{ Words = @() }
        'doctor --cache-dir' = @{ Words = @(); Directories = $true }
        'doctor --color' = @{ Words = @('auto', 'always', 'never') }
    }

    # What may be an argument, by its number; 0 is for all.
    $arguments = @{
        'search 0' = @{ Words = @() }
        'versions 1' = @{ Words = @(); Handles = $true; Directories = $true }
        'info 1' = @{ Words = @('example://mul/1'); Handles = $true; Files = $true }
        'fetch 0' = @{ Words = @('example://mul/1'); Handles = $true; Files = $true }
        'inspect 1' = @{ Words = @('example://mul/1'); Handles = $true; Files = $true }
        'run 1' = @{ Words = @('example://mul/1'); Handles = $true; Files = $true }
        'verify 0' = @{ Words = @(); Handles = $true; Files = $true }
        'export 1' = @{ Words = @('example://mul/1'); Handles = $true; Files = $true }
        'export 2' = @{ Words = @(); Files = $true }
        'finetune-export 1' = @{ Words = @(); Handles = $true; Files = $true }
        'finetune-export 2' = @{ Words = @(); Files = $true }
        'publish 1' = @{ Words = @('example://mul/1'); Handles = $true; Files = $true }
        'publish 2' = @{ Words = @(); Directories = $true }
        'ls 0' = @{ Words = @(); Handles = $true }
        'gc 0' = @{ Words = @(); Handles = $true }
        'rm 0' = @{ Words = @(); Handles = $true }
        'pin 0' = @{ Words = @(); Handles = $true }
        'unpin 0' = @{ Words = @(); Handles = $true }
        'push 0' = @{ Words = @(); Handles = $true; Files = $true }
        'tier 1' = @{ Words = @('ls', 'verify', 'gc', 'stat') }
        'doctor 0' = @{ Words = @() }
    }

    $repeatable = @('fetch --requirement', 'fetch -r', 'fetch --mirror', 'fetch --tier', 'run --arg', 'run --input', 'run -i', 'export --output-layer', 'export --input-layer', 'export --signature', 'export --drop-signature', 'export --rename-signature', 'export --add-defaults', 'export --representative', 'export --inputs', 'finetune-export --arg', 'finetune-export --signature', 'finetune-export --drop-signature', 'finetune-export --rename-signature', 'finetune-export --add-defaults', 'ls --filter', 'tier --keep', 'doctor --mirror')

    function New-Result([string]$text, [string]$told) {
        if ($text -cmatch '^[A-Za-z0-9:/._+~=%-]+$') {
            $inserted = $text
        } else {
            $inserted = "'" + $text.Replace("'", "''") + "'"
        }
        if (-not $told) { $told = $text }
        [System.Management.Automation.CompletionResult]::new($inserted, $text, 'ParameterValue', $told)
    }

    # The value of cache-dir in the config file, where it is a string of one line without escapes.
    function Get-NamedRoot {
        $file = $env:HUBCLI_CONFIG
        if (-not (Test-Path -LiteralPath 'env:HUBCLI_CONFIG')) {
            $folder = $env:XDG_CONFIG_HOME
            if ($env:OS -eq 'Windows_NT') {
                $folder = $env:LOCALAPPDATA
            } elseif (-not $folder -and $IsMacOS) {
                $folder = [System.IO.Path]::Combine($HOME, 'Library', 'Application Support')
            } elseif (-not $folder) {
                $folder = [System.IO.Path]::Combine($HOME, '.config')
            }
            $file = [System.IO.Path]::Combine($folder, 'hubcli', 'config.toml')
        }
        # A pipe has no length.
        if (-not $file -or -not [System.IO.File]::Exists($file) -or [System.IO.FileInfo]::new($file).Length -eq 0) {
            return ''
        }
        foreach ($line in [System.IO.File]::ReadAllLines($file)) {
            if ($line -cmatch '^\s*\[') { return '' }
            if ($line -cmatch '^\s*["'']?cache-dir["'']?\s*=\s*(?:"([^"\\]+)"|''([^'']+)'')') {
                if ($Matches[1]) { return $Matches[1] }
                return $Matches[2]
            }
        }
        return ''
    }

    function Get-Root([string]$typed) {
        foreach ($root in @($typed, $env:HUBCLI_CACHE_DIR, $env:TFHUB_CACHE_DIR, (Get-NamedRoot))) {
            if ($root) {
                return $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($root)
            }
        }
        if ($env:OS -eq 'Windows_NT') {
            return [System.IO.Path]::Combine($env:LOCALAPPDATA, 'hubcli', 'Cache')
        }
        if ($env:XDG_CACHE_HOME) { return [System.IO.Path]::Combine($env:XDG_CACHE_HOME, 'hubcli') }
        if ($IsMacOS) { return [System.IO.Path]::Combine($HOME, 'Library', 'Caches', 'hubcli') }
        return [System.IO.Path]::Combine($HOME, '.cache', 'hubcli')
    }

    function Get-Size([string]$file) {
        # A pipe has no length.
        if (-not [System.IO.File]::Exists($file) -or [System.IO.FileInfo]::new($file).Length -eq 0) { return '' }
        $bytes = 0.0
        foreach ($line in [System.IO.File]::ReadAllLines($file)) {
            if ($line -cmatch '^   "size": ([0-9]+)') { $bytes += [double]$Matches[1] }
        }
        $unit = 0
        while ($bytes -ge 999.5 -and $unit -lt 4) { $bytes /= 1000; $unit += 1 }
        $form = if ($unit -eq 0 -or $bytes -ge 99.95) { '0' } else { '0.0' }
        $bytes.ToString($form, [cultureinfo]::InvariantCulture) + ' ' + @('B', 'kB', 'MB', 'GB', 'TB')[$unit]
    }

    # Handles of the cache. What isn't plain ASCII could command a terminal, and isn't told.
    function Get-Handles([string]$root) {
        if (-not [System.IO.Directory]::Exists($root)) { return }
        foreach ($file in [System.IO.Directory]::EnumerateFiles($root, '*.descriptor.txt')) {
            $name = [System.IO.Path]::GetFileName($file)
            if ($name -cnotmatch '^([0-9a-f]{40})\.descriptor\.txt$') { continue }
            $entry = [System.IO.Path]::Combine($root, $Matches[1])
            # A pipe has no length.
            if (-not [System.IO.Directory]::Exists($entry) -or [System.IO.FileInfo]::new($file).Length -eq 0) {
                continue
            }
            $reader = [System.IO.StreamReader]::new($file)
            try { $line = $reader.ReadLine() } finally { $reader.Dispose() }
            if ($line -cmatch '^Module: ([!-~]{1,2000})$') {
                @{ Handle = $Matches[1]; Size = (Get-Size ($entry + '.hubcli.json')) }
            }
        }
    }

    # What begins with the typed text; where nothing does, handles that hold it.
    function Get-Offered($offered, [string]$typed, [string]$cache, [string]$before) {
        $results = @(Get-Beginning $offered $typed $cache $before)
        if ($results.Count -eq 0 -and $offered.Handles -and $typed) {
            $results = @(
                foreach ($entry in Get-Handles (Get-Root $cache)) {
                    if ($entry.Handle.IndexOf($typed, [System.StringComparison]::OrdinalIgnoreCase) -ge 0) {
                        New-Result ($before + $entry.Handle) $entry.Size
                    }
                }
            )
        }
        $results
    }

    function Get-Beginning($offered, [string]$typed, [string]$cache, [string]$before) {
        foreach ($word in $offered.Words) {
            if ($word.StartsWith($typed, $ordinal)) { New-Result ($before + $word) '' }
        }
        if ($offered.Model) {
            # Names that the model on the line has, which hubcli itself reads.
            $program = $commandAst.CommandElements[0].Extent.Text
            foreach ($word in & $program __complete $offered.Model @given 2>$null) {
                if ($word.StartsWith($typed, $ordinal)) { New-Result ($before + $word) '' }
            }
        }
        if ($offered.Handles) {
            foreach ($entry in Get-Handles (Get-Root $cache)) {
                if ($entry.Handle.StartsWith($typed, $ordinal)) { New-Result ($before + $entry.Handle) $entry.Size }
            }
        }
        if (($offered.Files -or $offered.Directories) -and -not $before) {
            foreach ($found in [System.Management.Automation.CompletionCompleters]::CompleteFilename($typed)) {
                if ($offered.Files -or $found.ResultType -eq 'ProviderContainer') { $found }
            }
        }
    }

    function Get-OptionResults([string]$command, [string]$typed, $given) {
        foreach ($option in $options[$command]) {
            $name, $told = $option
            if ($name.StartsWith($typed, $ordinal) -and ($given -cnotcontains $name -or $repeatable -ccontains "$command $name")) {
                New-Result $name $told
            }
        }
    }

    try {
        $given = @(
            $commandAst.CommandElements |
                Where-Object { $_.Extent.EndOffset -lt $cursorPosition } |
                Select-Object -Skip 1 |
                ForEach-Object {
                    if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) {
                        $_.Value
                    } else {
                        $_.Extent.Text
                    }
                }
        )
        $typed = $wordToComplete.TrimStart("'", '"')
        $command = ''
        $option = ''
        $cache = ''
        $onlyArguments = $false
        $position = 1
        foreach ($word in $given) {
            if ($option) {
                if ($option -ceq '--cache-dir') { $cache = $word }
                $option = ''
            } elseif ($onlyArguments) {
                $position += 1
            } elseif ($word -ceq '--') {
                $onlyArguments = $true
            } elseif ($word.StartsWith('--cache-dir=', $ordinal)) {
                $cache = $word.Substring(12)
            } elseif ($word.StartsWith('-', $ordinal) -and $word -cne '-') {
                if ($values.ContainsKey("$command $word")) { $option = $word }
            } elseif (-not $command) {
                $command = $word
            } else {
                $position += 1
            }
        }
        if ($option) {
            Get-Offered $values["$command $option"] $typed $cache ''
        } elseif (-not $onlyArguments -and $typed -cmatch '^(--[a-z0-9-]+)=(.*)$') {
            $name, $typed = $Matches[1], $Matches[2]
            if ($values.ContainsKey("$command $name")) {
                Get-Offered $values["$command $name"] $typed $cache "$name="
            }
        } elseif (-not $onlyArguments -and $typed.StartsWith('-', $ordinal)) {
            Get-OptionResults $command $typed $given
        } elseif (-not $command) {
            foreach ($pair in $commands) {
                if ($pair[0].StartsWith($typed, $ordinal)) { New-Result $pair[0] $pair[1] }
            }
        } elseif ($arguments.ContainsKey("$command 0")) {
            Get-Offered $arguments["$command 0"] $typed $cache ''
        } elseif ($arguments.ContainsKey("$command $position")) {
            Get-Offered $arguments["$command $position"] $typed $cache ''
        } elseif (-not $typed) {
            Get-OptionResults $command $typed $given
        }
    } catch {
        # Completion says nothing rather than something wrong.
        Write-Debug "$_"
    }
}
