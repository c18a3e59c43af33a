# hubcli completion for fish 3 and later.
# Written by `python -m tools.make_completions`: change tools/templates, then run it.

# The words of the line up to the one at the cursor, without their quotes.
function __hubcli_line
    commandline -xpc 2>/dev/null; or commandline -opc
end

# Whether the option $argv[2] of the command $argv[1] takes a value.
function __hubcli_takes_value
    switch "$argv[1] $argv[2]"
        case ' --install-completion' ' --show-completion' ' --cache-dir' ' --color' \
            'search --owner' 'search --framework' 'search --max-size' 'search --sort' \
            'search --limit' 'search --host' 'search --timeout' 'search --cacert' \
            'search --cache-dir' 'search --color' 'versions --limit' 'versions --timeout' \
            'versions --cacert' 'versions --cache-dir' 'versions --color' 'info --timeout' \
            'info --cacert' 'info --cache-dir' 'info --color' 'fetch --requirement' \
            'fetch -r' 'fetch --jobs' 'fetch --lock' 'fetch --from' \
            'fetch --sha256' 'fetch --mirror' 'fetch --tier' 'fetch --cacert' \
            'fetch --connections' 'fetch --retries' 'fetch --timeout' 'fetch --min-rate' \
            'fetch --lock-timeout' 'fetch --max-unpacked' 'fetch --max-members' 'fetch --max-path-length' \
            'fetch --max-depth' 'fetch --max-headers' 'fetch --cache-dir' 'fetch --color' \
            'inspect --depth' 'inspect --tag-set' 'inspect --svg' 'inspect --fail-on' \
            'inspect --diff' 'inspect --for' 'inspect --timeout' 'inspect --min-rate' \
            'inspect --cache-dir' 'inspect --color' 'run --signature' 'run --function' \
            'run --arg' 'run --tag-set' 'run --input' 'run -i' \
            'run --request' 'run --batch-size' 'run --image-size' 'run --scale' \
            'run --output' 'run -o' 'run --top' 'run --labels' \
            'run --repeat' 'run --runner' 'run --timeout' 'run --cache-dir' \
            'run --color' 'verify --cache-dir' 'verify --color' 'export --format' \
            'export --layout' 'export --name' 'export --version' 'export --output-layer' \
            'export --input-layer' 'export --custom-objects' 'export --signature' 'export --drop-signature' \
            'export --rename-signature' 'export --half' 'export --tolerance' 'export --warmup' \
            'export --add-defaults' 'export --quantize' 'export --representative' 'export --opset' \
            'export --inputs' 'export --timeout' 'export --cache-dir' 'export --color' \
            'finetune-export --method' 'finetune-export --weights' 'finetune-export --root' 'finetune-export --map' \
            'finetune-export --train' 'finetune-export --arg' 'finetune-export --strategy' 'finetune-export --tag-set' \
            'finetune-export --signature' 'finetune-export --drop-signature' 'finetune-export --rename-signature' 'finetune-export --half' \
            'finetune-export --tolerance' 'finetune-export --warmup' 'finetune-export --add-defaults' 'finetune-export --cache-dir' \
            'finetune-export --color' 'publish --license' 'publish --title' 'publish --notes' \
            'publish --description' 'publish --framework' 'publish --wait' 'publish --timeout' \
            'publish --cacert' 'publish --cache-dir' 'publish --color' 'ls --sort' \
            'ls --filter' 'ls --limit' 'ls --cache-dir' 'ls --color' \
            'gc --older-than' 'gc --max-size' 'gc --min-free' 'gc --keep-versions' \
            'gc --grace' 'gc --keep-partial' 'gc --cache-dir' 'gc --color' \
            'rm --cache-dir' 'rm --color' 'pin --cache-dir' 'pin --color' \
            'unpin --cache-dir' 'unpin --color' 'push --lock' 'push --tier' \
            'push --cacert' 'push --timeout' 'push --cache-dir' 'push --color' \
            'tier --tier' 'tier --older-than' 'tier --max-count' 'tier --max-size' \
            'tier --keep' 'tier --grace' 'tier --cacert' 'tier --timeout' \
            'tier --cache-dir' 'tier --color' 'doctor --python' 'doctor --mirror' \
            'doctor --cacert' 'doctor --timeout' 'doctor --cache-dir' 'doctor --color'
            return 0
    end
    return 1
end

# The command on the line and how many arguments stand behind it, one a line; nothing without a command.
function __hubcli_place
    set -l command ''
    set -l count 0
    set -l option ''
    set -l only_arguments ''
    for word in (__hubcli_line)[2..-1]
        if test -n "$option"
            set option ''
        else if test -z "$only_arguments"; and test "$word" = --
            set only_arguments 1
        else if test -z "$only_arguments"; and string match -q -- '-?*' "$word"
            __hubcli_takes_value "$command" "$word"; and set option "$word"
        else if test -z "$command"
            set command "$word"
        else
            set count (math $count + 1)
        end
    end
    test -n "$command"; and printf '%s\n' "$command" $count
end

# Whether no command is on the line yet.
function __hubcli_at_root
    set -l place (__hubcli_place)
    not set -q place[1]
end

# Whether the line is at one of these commands.
function __hubcli_at
    set -l place (__hubcli_place)
    set -q place[1]; and contains -- "$place[1]" $argv
end

# Whether the line is at argument number $argv[2] of the command $argv[1], or at any for a number of 0.
function __hubcli_at_argument
    set -l place (__hubcli_place)
    set -q place[1]; and test "$place[1]" = "$argv[1]"; or return 1
    test "$argv[2]" -eq 0; or test (math $place[2] + 1) -eq "$argv[2]"
end

# Whether the word at the cursor may be a file beside a handle: fish offers files behind a colon too.
function __hubcli_is_no_handle
    not string match -q -- '*:*' (commandline -ct)
end

# Handles of the cache, each with its size.
function __hubcli_handles
    set -l cache ''
    set -l before ''
    for word in (__hubcli_line)[2..-1]
        test "$before" = --cache-dir; and set cache "$word"
        string match -q -- '--cache-dir=*' "$word"; and set cache (string replace -- '--cache-dir=' '' "$word")
        set before "$word"
    end
    set -l program '
root=${1:-${HUBCLI_CACHE_DIR:-$TFHUB_CACHE_DIR}}
if [ -z "$root" ]; then
  case $(uname) in
    Darwin) root=$HOME/Library/Caches config="$HOME/Library/Application Support" ;;
    *) root=$HOME/.cache config=$HOME/.config ;;
  esac
  root=${XDG_CACHE_HOME:-$root}/hubcli
  config=${HUBCLI_CONFIG-${XDG_CONFIG_HOME:-$config}/hubcli/config.toml}
  case $config in "~/"*) config=$HOME/${config#??} ;; esac
  named=
  [ ! -f "$config" ] || named=$(awk "$4" "$config")
  root=${named:-$root}
fi
case $root in
  "~/"*) root=$HOME/${root#??} ;;
  "\$HOME/"*) root=$HOME/${root#??????} ;;
  /*) ;;
  *) root=./$root ;;
esac
cd "$root" || exit 0
LC_ALL=C
export LC_ALL
for record in *.descriptor.txt; do
  model=${record%%.*}
  # What is no regular file, such as a pipe, would be read for ever.
  if [ -e "$model.hubcli.json" ] && [ ! -f "$model.hubcli.json" ]; then continue; fi
  [ -f "$record" ] && [ -d "$model" ] && printf "%s\n" "$model"
done | awk -v sizes="$3" "$2"
'
    set -l records '
function shown(bytes, unit) {
  if (bytes < 1000) return bytes " B"
  unit = 1
  for (bytes /= 1000; bytes >= 999.5 && unit < 4; unit++) bytes /= 1000
  return sprintf(bytes < 99.95 ? "%.1f %sB" : "%.0f %sB", bytes, substr("kMGT", unit, 1))
}
BEGIN { typed = ENVIRON["hubcli_typed"]; part = tolower(ENVIRON["hubcli_part"]) }
length($0) != 40 || /[^0-9a-f]/ { next }
{
  file = $0 ".descriptor.txt"; handle = ""
  if ((getline line < file) > 0 && line ~ /^Module: /) handle = substr(line, 9)
  close(file)
  if (handle == "" || length(handle) > 2000 || handle ~ /[^!-~]/ || handle in told) next
  if (substr(handle, 1, length(typed)) != typed || (part != "" && !index(tolower(handle), part))) next
  told[handle]; size = ""
  if (sizes) {
    file = $0 ".hubcli.json"; bytes = -1
    while ((getline line < file) > 0)
      if (substr(line, 1, 11) == "   \"size\": ") bytes += substr(line, 12) + (bytes < 0)
    close(file)
    if (bytes >= 0) size = shown(bytes)
  }
  print sizes ? handle "\t" size : handle
}
'
    set -l settings '
/^[ \t]*\[/ { exit }
/^[ \t]*["\047]?cache-dir["\047]?[ \t]*=[ \t]*["\047]/ {
  sub(/^[^=]*=[ \t]*/, "")
  quote = substr($0, 1, 1); rest = substr($0, 2); end = index(rest, quote)
  if (end > 1) value = substr(rest, 1, end - 1)
  if (quote == "\"" && index(value, sprintf("%c", 92))) value = ""
  if (value ~ /^[\/~]/) print value
  exit
}
'
    hubcli_typed= hubcli_part= command sh -c "$program" hubcli "$cache" "$records" 1 "$settings" 2>/dev/null
end

# Names that the model on the line has, which hubcli itself reads.
function __hubcli_of_model
    set -l line (__hubcli_line)
    command $line[1] __complete $argv[1] $line[2..-1] 2>/dev/null
end

complete -c hubcli -f
complete -c hubcli -n __hubcli_at_root -l version -s V -d 'Print the version'
complete -c hubcli -n __hubcli_at_root -l install-completion -x -a 'bash zsh fish powershell pwsh' -d 'Install completion for the current shell, or for SHELL'
complete -c hubcli -n __hubcli_at_root -l show-completion -x -a 'bash zsh fish powershell pwsh' -d 'Print the completion script of the current shell, or of SHELL'
complete -c hubcli -n __hubcli_at_root -l help -s h -d 'Show this message and exit'
complete -c hubcli -n __hubcli_at_root -l json -d 'Print JSON'
complete -c hubcli -n __hubcli_at_root -l quiet -s q -d 'Print only paths or handles'
complete -c hubcli -n __hubcli_at_root -l offline -d 'Never use the network. [env: HUBCLI_OFFLINE=1]'
complete -c hubcli -n __hubcli_at_root -l cache-dir -x -a '(__fish_complete_directories)' -d 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'
complete -c hubcli -n __hubcli_at_root -l color -x -a 'auto always never' -d 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'
complete -c hubcli -n __hubcli_at_root -l no-color -d 'Same as --color never'
complete -c hubcli -n __hubcli_at_root -l no-progress -d 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'
complete -c hubcli -n __hubcli_at_root -l debug -d 'Show tracebacks of errors'
complete -c hubcli -n __hubcli_at_root -a search -d 'Find SavedModels on Kaggle or on another host'
complete -c hubcli -n __hubcli_at_root -a versions -d 'List the versions of a model, and which are cached'
complete -c hubcli -n __hubcli_at_root -a info -d 'Show description, license and usage of a model'
complete -c hubcli -n __hubcli_at_root -a fetch -d 'Fetch models into the cache and print their paths'
complete -c hubcli -n __hubcli_at_root -a inspect -d 'Show signatures, functions and variables of a model'
complete -c hubcli -n __hubcli_at_root -a run -d 'Run a signature or function of a model'
complete -c hubcli -n __hubcli_at_root -a verify -d 'Check models against their checksums'
complete -c hubcli -n __hubcli_at_root -a export -d 'Export a model as a directory, an archive, LiteRT or ONNX'
complete -c hubcli -n __hubcli_at_root -a finetune-export -d 'Export a fine-tuned model as a drop-in replacement'
complete -c hubcli -n __hubcli_at_root -a publish -d 'Publish a model on Kaggle, in a directory or in a bucket'
complete -c hubcli -n __hubcli_at_root -a ls -d 'List cached models'
complete -c hubcli -n __hubcli_at_root -a gc -d 'Remove leftovers, and models by age, size or free space'
complete -c hubcli -n __hubcli_at_root -a rm -d 'Remove models from the cache'
complete -c hubcli -n __hubcli_at_root -a pin -d 'Protect models from gc'
complete -c hubcli -n __hubcli_at_root -a unpin -d 'Remove the protection of pinned models'
complete -c hubcli -n __hubcli_at_root -a push -d 'Push models to a shared tier'
complete -c hubcli -n __hubcli_at_root -a tier -d 'List, verify, clean up or measure a shared tier'
complete -c hubcli -n __hubcli_at_root -a doctor -d 'Diagnose download and load problems'
complete -c hubcli -n '__hubcli_at search' -l owner -x -d 'Show only models of this publisher'
complete -c hubcli -n '__hubcli_at search' -l framework -x -a 'tensorFlow2 tensorFlow1' -d 'Show only models of tensorFlow2 or tensorFlow1. [default: both]'
complete -c hubcli -n '__hubcli_at search' -l max-size -x -d 'Show only models up to this size'
complete -c hubcli -n '__hubcli_at search' -l sort -x -a 'hotness downloads votes created updated name size' -d 'Sort by hotness, downloads, votes, created, updated, name or size. [default: hotness; name with --host]'
complete -c hubcli -n '__hubcli_at search' -l limit -x -d 'Show at most N models'
complete -c hubcli -n '__hubcli_at search' -l host -x -a '(__fish_complete_directories)' -d 'Search the index of this host or directory instead of Kaggle'
complete -c hubcli -n '__hubcli_at search versions info' -l refresh -d 'Ask the host again, even if a recent answer is cached'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect publish push tier' -l timeout -x -d 'Fail after this long without data. [default: 30s]'
complete -c hubcli -n '__hubcli_at search versions info fetch publish push tier doctor' -l cacert -r -F -d 'Trust only the CA certificates in FILE. [env: SSL_CERT_FILE]'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l json -d 'Print JSON'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l quiet -s q -d 'Print only paths or handles'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l offline -d 'Never use the network. [env: HUBCLI_OFFLINE=1]'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l cache-dir -x -a '(__fish_complete_directories)' -d 'Cache directory. [env: HUBCLI_CACHE_DIR, TFHUB_CACHE_DIR]'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l color -x -a 'auto always never' -d 'When to color the output. [env: NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE]'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l no-color -d 'Same as --color never'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l no-progress -d 'Hide progress. [env: HUBCLI_NO_PROGRESS=1]'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l debug -d 'Show tracebacks of errors'
complete -c hubcli -n '__hubcli_at search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor' -l help -s h -d 'Show this message and exit'
complete -c hubcli -n '__hubcli_at versions' -l limit -x -d 'Show at most N versions'
complete -c hubcli -n '__hubcli_at fetch' -l requirement -s r -r -F -a '-' -d 'Fetch the handles listed in FILE, one per line. Repeatable'
complete -c hubcli -n '__hubcli_at fetch' -l jobs -x -d 'Models to fetch in parallel. [default: 2]'
complete -c hubcli -n '__hubcli_at fetch' -l lock -r -F -d 'Write a lock file'
complete -c hubcli -n '__hubcli_at fetch' -l locked -d 'Fetch exactly what the lock file records (--lock FILE or -r FILE)'
complete -c hubcli -n '__hubcli_at fetch' -l dry-run -d 'Show what would be fetched, with sizes, without fetching'
complete -c hubcli -n '__hubcli_at fetch' -l from -r -F -a '-' -d 'Import a local archive or directory as HANDLE'
complete -c hubcli -n '__hubcli_at fetch' -l sha256 -x -d 'Expected SHA-256 of the archive'
complete -c hubcli -n '__hubcli_at fetch' -l force -d 'Fetch again and replace the cached model'
complete -c hubcli -n '__hubcli_at fetch' -l refresh -d 'Check for a newer version'
complete -c hubcli -n '__hubcli_at fetch' -l pin -d 'Protect the model from gc'
complete -c hubcli -n '__hubcli_at fetch' -l kagglehub -d 'Make models from Kaggle available to kagglehub'
complete -c hubcli -n '__hubcli_at fetch doctor' -l mirror -x -a '\'https://tfhub.dev=\' \'https://www.kaggle.com/models=\'' -d 'Use URL as a mirror for handles with PREFIX. Repeatable. [env: HUBCLI_MIRRORS]'
complete -c hubcli -n '__hubcli_at fetch' -l tier -x -a '\'s3://\' \'gs://\' \'az://\' \'https://\' (__fish_complete_directories)' -d 'Shared tier to ask before the origin. Repeatable. [env: HUBCLI_TIERS]'
complete -c hubcli -n '__hubcli_at fetch' -l require-tier -d 'Fail if a shared tier fails, instead of skipping it'
complete -c hubcli -n '__hubcli_at fetch' -l connections -x -d 'Parallel connections for a large archive. [default: 8]'
complete -c hubcli -n '__hubcli_at fetch' -l retries -x -d 'Retries after a transient error. [default: 5]'
complete -c hubcli -n '__hubcli_at fetch inspect' -l min-rate -x -d 'Minimum rate in bytes per second, averaged over 60s; 0: no minimum. [default: 1KiB] [env: HUBCLI_MIN_RATE]'
complete -c hubcli -n '__hubcli_at fetch' -l lock-timeout -x -d 'Fail after waiting this long for another process without progress. [default: 10m]'
complete -c hubcli -n '__hubcli_at fetch' -l max-unpacked -x -d 'Total size of all files'
complete -c hubcli -n '__hubcli_at fetch' -l max-members -x -d 'Number of files and directories'
complete -c hubcli -n '__hubcli_at fetch' -l max-path-length -x -d 'Length of a path in bytes'
complete -c hubcli -n '__hubcli_at fetch' -l max-depth -x -d 'Depth of directories'
complete -c hubcli -n '__hubcli_at fetch' -l max-headers -x -d 'Total size of extension headers'
complete -c hubcli -n '__hubcli_at fetch verify export finetune-export publish gc rm pin unpin' -l no-sync -d 'Do not wait for data to reach the disk. [env: HUBCLI_NO_SYNC=1]'
complete -c hubcli -n '__hubcli_at fetch inspect run verify export finetune-export' -l anonymous -d 'Read buckets without credentials. [env: HUBCLI_BUCKET_ANONYMOUS=1]'
complete -c hubcli -n '__hubcli_at fetch inspect run verify export finetune-export' -l requester-pays -d 'Read requester-pays buckets, and pay for the traffic. [env: HUBCLI_BUCKET_REQUESTER_PAYS=1]'
complete -c hubcli -n '__hubcli_at inspect' -l signatures -d 'Show signatures'
complete -c hubcli -n '__hubcli_at inspect' -l functions -d 'Show functions and their traces'
complete -c hubcli -n '__hubcli_at inspect' -l variables -d 'Show all variables'
complete -c hubcli -n '__hubcli_at inspect' -l assets -d 'Show assets'
complete -c hubcli -n '__hubcli_at inspect' -l ops -d 'Show ops and how often each occurs'
complete -c hubcli -n '__hubcli_at inspect' -l tree -d 'Show the object tree with parameter counts'
complete -c hubcli -n '__hubcli_at inspect' -l depth -x -d 'With --tree: maximum depth'
complete -c hubcli -n '__hubcli_at inspect' -l all -d 'Include submodules; do not abbreviate'
complete -c hubcli -n '__hubcli_at inspect' -l tag-set -x -a 'serve train \'serve,gpu\' \'serve,tpu\'' -d 'Tags of the MetaGraph to inspect'
complete -c hubcli -n '__hubcli_at inspect' -l fetch -d 'Fetch the model into the cache if it is not cached'
complete -c hubcli -n '__hubcli_at inspect' -l svg -r -F -d 'Also save the output as SVG'
complete -c hubcli -n '__hubcli_at inspect' -l check -d 'Check for the Reusable SavedModel interface'
complete -c hubcli -n '__hubcli_at inspect' -l scan -d 'Scan for ops and files that run code or access files or the network'
complete -c hubcli -n '__hubcli_at inspect' -l fail-on -x -a 'info low medium high critical' -d 'With --scan: minimum severity that fails: info, low, medium, high or critical. [default: high]'
complete -c hubcli -n '__hubcli_at inspect' -l diff -r -F -a '(__hubcli_handles)' -d 'Compare with another model, values included'
complete -c hubcli -n '__hubcli_at inspect' -l for -x -a 'tensorflow serving session litert cpu keras3-layer hub.KerasLayer' -d 'Check whether these can load the model, such as tensorflow>=2.12, serving==2.19, session, litert, cpu, keras3-layer or hub.KerasLayer'
complete -c hubcli -n '__hubcli_at inspect' -l try -d 'With --for litert: run the converter too; needs TensorFlow'
complete -c hubcli -n '__hubcli_at run' -l signature -x -a '(__hubcli_of_model signatures)' -d 'A signature. [default: serving_default, or the only one]'
complete -c hubcli -n '__hubcli_at run' -l function -x -a '(__hubcli_of_model functions)' -d 'A traced function, such as __call__ or encoder.__call__'
complete -c hubcli -n '__hubcli_at run' -l arg -x -d 'A Python argument that chooses a trace of the function. Repeatable'
complete -c hubcli -n '__hubcli_at run' -l tag-set -x -a 'serve train \'serve,gpu\' \'serve,tpu\'' -d 'Tags of the MetaGraph to run'
complete -c hubcli -n '__hubcli_at run' -l input -s i -x -a '(__hubcli_of_model inputs)' -d 'JSON, text, @FILE or @- (standard input). Repeat to stack a batch'
complete -c hubcli -n '__hubcli_at run' -l request -r -F -a '-' -d 'TensorFlow Serving predict request; prints the response of TensorFlow Serving'
complete -c hubcli -n '__hubcli_at run' -l batch-size -x -d 'Rows per run. [default: 32 for a stream, else all]'
complete -c hubcli -n '__hubcli_at run' -l image-size -x -d 'Resize images where the signature has no fixed size'
complete -c hubcli -n '__hubcli_at run' -l scale -x -d 'Range of image values. [default: 0,1]'
complete -c hubcli -n '__hubcli_at run' -l output -s o -r -F -d 'Write .npz, .npy, .json, .jsonl, .csv, or a directory of .npy files'
complete -c hubcli -n '__hubcli_at run' -l force -d 'Overwrite the file of --output'
complete -c hubcli -n '__hubcli_at run' -l json-lines -d 'Print one JSON object a row'
complete -c hubcli -n '__hubcli_at run' -l top -x -d 'Show the K classes with the largest values'
complete -c hubcli -n '__hubcli_at run' -l labels -r -F -d 'With --top: file with the class names, one per line'
complete -c hubcli -n '__hubcli_at run' -l repeat -x -d 'Measure latency, throughput and memory over N runs'
complete -c hubcli -n '__hubcli_at run' -l dry-run -d 'Check the inputs without TensorFlow'
complete -c hubcli -n '__hubcli_at run' -l runner -x -a 'auto c python' -d 'Run with TensorFlow\'s C library or its Python package'
complete -c hubcli -n '__hubcli_at run' -l timeout -x -d 'Fail if loading or a run takes longer. [default: 1h]'
complete -c hubcli -n '__hubcli_at run' -l unsafe -d 'Run the model even if the scan finds unsafe ops'
complete -c hubcli -n '__hubcli_at verify' -l repair -d 'Fetch corrupt models again'
complete -c hubcli -n '__hubcli_at verify' -l quick -d 'Skip the graph, and SHA-256 of shards; check tensor checksums only'
complete -c hubcli -n '__hubcli_at export' -l format -x -a 'dir tar tar.gz tflite onnx' -d 'Output format; default: by the name of DEST'
complete -c hubcli -n '__hubcli_at export finetune-export' -l force -d 'Overwrite DEST'
complete -c hubcli -n '__hubcli_at export' -l layout -x -a 'plain serving hub' -d 'serving: DEST/<name>/<version>/. hub: DEST/<publisher>/<model>/<version>, an archive'
complete -c hubcli -n '__hubcli_at export' -l name -x -d 'Model name; default: from the handle. With hub: PUBLISHER/MODEL'
complete -c hubcli -n '__hubcli_at export' -l version -x -d 'Version; default: from the handle'
complete -c hubcli -n '__hubcli_at export' -l output-layer -x -d 'Last layer of the exported part. Repeatable'
complete -c hubcli -n '__hubcli_at export' -l input-layer -x -d 'First layer of the exported part. Repeatable'
complete -c hubcli -n '__hubcli_at export' -l custom-objects -r -F -d 'Python file or module with the model\'s custom classes'
complete -c hubcli -n '__hubcli_at export' -l unsafe -d 'Trust the model: run code in a Keras model, convert despite the scan'
complete -c hubcli -n '__hubcli_at export' -l dry-run -d 'Show what the export would lose without writing it'
complete -c hubcli -n '__hubcli_at export finetune-export' -l signature -x -a '(__hubcli_of_model signatures)' -d 'Keep this signature and drop the others. Repeatable'
complete -c hubcli -n '__hubcli_at export finetune-export' -l drop-signature -x -a '(__hubcli_of_model signatures)' -d 'Drop this signature. Repeatable'
complete -c hubcli -n '__hubcli_at export finetune-export' -l rename-signature -x -d 'Rename a signature. Repeatable'
complete -c hubcli -n '__hubcli_at export finetune-export' -l allow-none -d 'Allow an export without signatures'
complete -c hubcli -n '__hubcli_at export finetune-export' -l clear-devices -d 'Remove device names from the graph'
complete -c hubcli -n '__hubcli_at export finetune-export' -l serving -d 'Keep only what the signatures need to be served'
complete -c hubcli -n '__hubcli_at export finetune-export' -l half -x -a 'float16 bfloat16' -d 'Store float32 weights in half the bytes'
complete -c hubcli -n '__hubcli_at export finetune-export' -l tolerance -x -d 'Largest error allowed, relative to an output\'s largest value. [default: 0.01 with --half]'
complete -c hubcli -n '__hubcli_at export finetune-export' -l warmup -r -F -d 'Write warmup requests: those in FILE, or N sampled ones'
complete -c hubcli -n '__hubcli_at export finetune-export' -l add-defaults -x -d 'Default of a signature input. Repeatable'
complete -c hubcli -n '__hubcli_at export finetune-export' -l no-compare -d 'Do not run the export to compare it with SOURCE'
complete -c hubcli -n '__hubcli_at export' -l quantize -x -a 'dynamic float16 int8' -d 'Store the weights of a .tflite file in fewer bits'
complete -c hubcli -n '__hubcli_at export' -l representative -r -F -d 'Inputs to calibrate --quantize int8 on: npz, npy, JSON Lines or CSV. Repeatable'
complete -c hubcli -n '__hubcli_at export' -l select-tf-ops -d 'Allow TensorFlow ops in a .tflite file'
complete -c hubcli -n '__hubcli_at export' -l opset -x -d 'ONNX opset, 9 to 18. [default: 18]'
complete -c hubcli -n '__hubcli_at export' -l inputs -r -F -d 'Inputs to compare the outputs on. Repeatable. [default: sampled]'
complete -c hubcli -n '__hubcli_at export' -l timeout -x -d 'Limit for the conversion, and for each run. [default: 1h, 2m a run]'
complete -c hubcli -n '__hubcli_at finetune-export' -l method -x -a 'auto resave rewrite' -d 'resave: save with TensorFlow. rewrite: replace values only. auto: what preserves all'
complete -c hubcli -n '__hubcli_at finetune-export' -l allow-unchanged -d 'Export even if no trainable value changed'
complete -c hubcli -n '__hubcli_at finetune-export' -l allow-nan -d 'Allow NaN and infinite values'
complete -c hubcli -n '__hubcli_at finetune-export' -l weights -r -F -d 'A checkpoint, a SavedModel, .weights.h5, .h5, .keras, .npz or .safetensors'
complete -c hubcli -n '__hubcli_at finetune-export' -l root -x -d 'Object or layer in the file that is the model'
complete -c hubcli -n '__hubcli_at finetune-export' -l map -r -F -d 'Mapping of variables to values: lines `variable = key`, or JSON'
complete -c hubcli -n '__hubcli_at finetune-export' -l dry-run -d 'Show the mapping of values to variables without exporting'
complete -c hubcli -n '__hubcli_at finetune-export' -l train -r -F -d 'Function that trains the loaded object: FILE.py:function or package.module:function'
complete -c hubcli -n '__hubcli_at finetune-export' -l arg -x -d 'Argument of the function; VALUE is JSON or text. Repeatable'
complete -c hubcli -n '__hubcli_at finetune-export' -l strategy -x -a 'mirrored multiworker' -d 'Distribution strategy; with TF_CONFIG on several machines, the chief writes'
complete -c hubcli -n '__hubcli_at finetune-export' -l tag-set -x -a 'serve train \'serve,gpu\' \'serve,tpu\'' -d 'Tags of the MetaGraph to train'
complete -c hubcli -n '__hubcli_at publish' -l license -x -a '\'Apache 2.0\' MIT \'CC BY 4.0\' \'CC0: Public Domain\' BSD-3-Clause' -d 'License of the model; required for a new variation'
complete -c hubcli -n '__hubcli_at publish' -l title -x -d 'Title of a new model'
complete -c hubcli -n '__hubcli_at publish' -l notes -x -d 'Notes of the version'
complete -c hubcli -n '__hubcli_at publish' -l description -r -F -d 'Markdown text for a new model and a new variation'
complete -c hubcli -n '__hubcli_at publish' -l framework -x -a 'tensorFlow2 tensorFlow1' -d 'tensorFlow2 or tensorFlow1, if HANDLE has no framework'
complete -c hubcli -n '__hubcli_at publish' -l public -d 'Let everyone download the model. [default: private]'
complete -c hubcli -n '__hubcli_at publish' -l no-wait -d 'Do not wait for processing, and skip the comparison'
complete -c hubcli -n '__hubcli_at publish' -l wait -x -d 'Wait for processing at most this long'
complete -c hubcli -n '__hubcli_at publish' -l restart -d 'Discard an earlier upload, even one with unknown outcome'
complete -c hubcli -n '__hubcli_at publish' -l check -d 'Only check the model against the checklist for publishers'
complete -c hubcli -n '__hubcli_at publish' -l card -d 'Only print a model card to fill in, as Markdown'
complete -c hubcli -n '__hubcli_at publish' -l dry-run -d 'Show what would be created without sending it'
complete -c hubcli -n '__hubcli_at publish' -l unsafe -d 'Publish despite findings of the scan'
complete -c hubcli -n '__hubcli_at publish' -l yes -s y -d 'Publish without asking'
complete -c hubcli -n '__hubcli_at ls' -l sort -x -a 'name name:asc name:desc size size:asc size:desc fetched fetched:asc fetched:desc used used:asc used:desc' -d 'Sort by name, size, fetched or used'
complete -c hubcli -n '__hubcli_at ls' -l filter -x -a '\'size<\' \'size>\' \'used<\' \'used>\' \'fetched<\' \'fetched>\' \'kind=TF2\' \'kind=TF1\' \'kind=TF1 Hub\' \'kind=Keras\' \'state=ok\' \'state=incomplete\' \'state=downloading\' \'state=unknown\' \'state=foreign\' \'pinned=yes\' \'pinned=no\'' -d 'Filter such as \'size>1GB\', \'used>30d\', \'kind=TF2\' or \'state!=ok\'. Repeatable'
complete -c hubcli -n '__hubcli_at ls' -l limit -x -d 'Show at most N models'
complete -c hubcli -n '__hubcli_at ls' -l path -d 'Print only the path of the model or the cache'
complete -c hubcli -n '__hubcli_at ls' -l size -d 'Print only the total size (with -q: in bytes)'
complete -c hubcli -n '__hubcli_at gc' -l older-than -x -d 'Remove models not used for this long'
complete -c hubcli -n '__hubcli_at gc' -l max-size -x -d 'Remove least recently used models until the cache is at most this large'
complete -c hubcli -n '__hubcli_at gc' -l min-free -x -d 'Remove least recently used models until this much disk space is free'
complete -c hubcli -n '__hubcli_at gc' -l keep-versions -x -d 'Keep the newest N versions of each model'
complete -c hubcli -n '__hubcli_at gc' -l broken -d 'Remove models that fail verification'
complete -c hubcli -n '__hubcli_at gc' -l grace -x -d 'Never remove anything used within this time'
complete -c hubcli -n '__hubcli_at gc' -l keep-partial -x -d 'Keep partial downloads for this long'
complete -c hubcli -n '__hubcli_at gc rm tier' -l dry-run -d 'Show what would be removed, without removing it'
complete -c hubcli -n '__hubcli_at gc rm tier' -l yes -s y -d 'Remove models without asking'
complete -c hubcli -n '__hubcli_at rm' -l force -d 'Remove pinned models too'
complete -c hubcli -n '__hubcli_at push' -l all -d 'Push all cached models that came from a host'
complete -c hubcli -n '__hubcli_at push' -l lock -r -F -d 'Push exactly what the lock file records'
complete -c hubcli -n '__hubcli_at push tier' -l tier -x -a '\'s3://\' \'gs://\' \'az://\' (__fish_complete_directories)' -d 'Shared tier to use. [env: HUBCLI_TIERS]'
complete -c hubcli -n '__hubcli_at push' -l force -d 'Upload again, and replace other archives of the handle'
complete -c hubcli -n '__hubcli_at tier' -l older-than -x -d 'Remove models not used for this long'
complete -c hubcli -n '__hubcli_at tier' -l max-count -x -d 'Remove least recently used models beyond N'
complete -c hubcli -n '__hubcli_at tier' -l max-size -x -d 'Remove least recently used models until the archives are at most this large'
complete -c hubcli -n '__hubcli_at tier' -l keep -r -F -d 'Keep what the lock file names. Repeatable'
complete -c hubcli -n '__hubcli_at tier' -l grace -x -d 'Never remove anything used or written within this time. [default: 1d]'
complete -c hubcli -n '__hubcli_at doctor' -l network -d 'Check hosts and shared tiers over the network'
complete -c hubcli -n '__hubcli_at doctor' -l python -r -F -d 'Check the packages of this interpreter or virtual environment'
complete -c hubcli -n '__hubcli_at doctor' -l fix -d 'Remove leftovers of interrupted exports'
complete -c hubcli -n '__hubcli_at doctor' -l timeout -x -d 'With --network: fail after this long without data'

complete -c hubcli -n '__hubcli_at_argument versions 1' -a '(__hubcli_handles) (__fish_complete_directories)'
complete -c hubcli -n '__hubcli_at_argument info 1' -a '\'example://mul/1\' (__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument info 1; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument fetch 0' -a '\'example://mul/1\' (__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument fetch 0; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument inspect 1' -a '\'example://mul/1\' (__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument inspect 1; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument run 1' -a '\'example://mul/1\' (__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument run 1; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument verify 0' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument verify 0; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument export 1' -a '\'example://mul/1\' (__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument export 1; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument export 2' -F
complete -c hubcli -n '__hubcli_at_argument finetune-export 1' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument finetune-export 1; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument finetune-export 2' -F
complete -c hubcli -n '__hubcli_at_argument publish 1' -a '\'example://mul/1\' (__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument publish 1; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument publish 2' -a '(__fish_complete_directories)'
complete -c hubcli -n '__hubcli_at_argument ls 0' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument gc 0' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument rm 0' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument pin 0' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument unpin 0' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument push 0' -a '(__hubcli_handles)'
complete -c hubcli -n '__hubcli_at_argument push 0; and __hubcli_is_no_handle' -F
complete -c hubcli -n '__hubcli_at_argument tier 1' -a 'ls verify gc stat'

