# hubcli completion for bash 3.2 and later.
# Written by `python -m tools.make_completions`: change tools/templates, then run it.

_hubcli_handles() {
  local program='
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
  local records='
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
  local settings='
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
  hubcli_typed=$2 hubcli_part=${3-} command sh -c "$program" hubcli "$1" "$records" 0 "$settings" 2>/dev/null
}

# What may stand behind the option $2 of the command $1; fails where that takes no value.
_hubcli_value() {
  handles='' files='' directories='' model='' words=()
  case "$1 $2" in
    ' --install-completion' | ' --show-completion')
      words=(bash zsh fish powershell pwsh) ;;
    ' --cache-dir' | 'search --host' | 'search --cache-dir' | 'versions --cache-dir' | 'info --cache-dir' |\
    'fetch --cache-dir' | 'inspect --cache-dir' | 'run --cache-dir' | 'verify --cache-dir' |\
    'export --cache-dir' | 'finetune-export --cache-dir' | 'publish --cache-dir' | 'ls --cache-dir' |\
    'gc --cache-dir' | 'rm --cache-dir' | 'pin --cache-dir' | 'unpin --cache-dir' | 'push --cache-dir' |\
    'tier --cache-dir' | 'doctor --cache-dir')
      directories=1 ;;
    ' --color' | 'search --color' | 'versions --color' | 'info --color' | 'fetch --color' |\
    'inspect --color' | 'run --color' | 'verify --color' | 'export --color' | 'finetune-export --color' |\
    'publish --color' | 'ls --color' | 'gc --color' | 'rm --color' | 'pin --color' | 'unpin --color' |\
    'push --color' | 'tier --color' | 'doctor --color')
      words=(auto always never) ;;
    'search --owner' | 'search --max-size' | 'search --limit' | 'search --timeout' | 'versions --limit' |\
    'versions --timeout' | 'info --timeout' | 'fetch --jobs' | 'fetch --sha256' | 'fetch --connections' |\
    'fetch --retries' | 'fetch --timeout' | 'fetch --min-rate' | 'fetch --lock-timeout' |\
    'fetch --max-unpacked' | 'fetch --max-members' | 'fetch --max-path-length' | 'fetch --max-depth' |\
    'fetch --max-headers' | 'inspect --depth' | 'inspect --timeout' | 'inspect --min-rate' | 'run --arg' |\
    'run --batch-size' | 'run --image-size' | 'run --scale' | 'run --top' | 'run --repeat' |\
    'run --timeout' | 'export --name' | 'export --version' | 'export --output-layer' |\
    'export --input-layer' | 'export --rename-signature' | 'export --tolerance' | 'export --add-defaults' |\
    'export --opset' | 'export --timeout' | 'finetune-export --root' | 'finetune-export --arg' |\
    'finetune-export --rename-signature' | 'finetune-export --tolerance' |\
    'finetune-export --add-defaults' | 'publish --title' | 'publish --notes' | 'publish --wait' |\
    'publish --timeout' | 'ls --limit' | 'gc --older-than' | 'gc --max-size' | 'gc --min-free' |\
    'gc --keep-versions' | 'gc --grace' | 'gc --keep-partial' | 'push --timeout' | 'tier --older-than' |\
    'tier --max-count' | 'tier --max-size' | 'tier --grace' | 'tier --timeout' | 'doctor --timeout')
      : ;;
    'search --framework' | 'publish --framework')
      words=(tensorFlow2 tensorFlow1) ;;
    'search --sort')
      words=(hotness downloads votes created updated name size) ;;
    'search --cacert' | 'versions --cacert' | 'info --cacert' | 'fetch --lock' | 'fetch --cacert' |\
    'inspect --svg' | 'run --labels' | 'export --custom-objects' | 'export --warmup' |\
    'export --representative' | 'export --inputs' | 'finetune-export --weights' | 'finetune-export --map' |\
    'finetune-export --train' | 'finetune-export --warmup' | 'publish --description' | 'publish --cacert' |\
    'push --lock' | 'push --cacert' | 'tier --keep' | 'tier --cacert' | 'doctor --python' |\
    'doctor --cacert')
      files=1 ;;
    'fetch --requirement' | 'fetch -r' | 'run --request')
      words=(-) files=1 ;;
    'fetch --from')
      words=(-) files=1 directories=1 ;;
    'fetch --mirror' | 'doctor --mirror')
      words=(https://tfhub.dev= https://www.kaggle.com/models=) ;;
    'fetch --tier')
      words=(s3:// gs:// az:// https://) directories=1 ;;
    'inspect --tag-set' | 'run --tag-set' | 'finetune-export --tag-set')
      words=(serve train serve,gpu serve,tpu) ;;
    'inspect --fail-on')
      words=(info low medium high critical) ;;
    'inspect --diff')
      handles=1 files=1 ;;
    'inspect --for')
      words=(tensorflow serving session litert cpu keras3-layer hub.KerasLayer) ;;
    'run --signature' | 'export --signature' | 'export --drop-signature' | 'finetune-export --signature' |\
    'finetune-export --drop-signature')
      model=signatures ;;
    'run --function')
      model=functions ;;
    'run --input' | 'run -i')
      model=inputs ;;
    'run --output' | 'run -o')
      files=1 directories=1 ;;
    'run --runner')
      words=(auto c python) ;;
    'export --format')
      words=(dir tar tar.gz tflite onnx) ;;
    'export --layout')
      words=(plain serving hub) ;;
    'export --half' | 'finetune-export --half')
      words=(float16 bfloat16) ;;
    'export --quantize')
      words=(dynamic float16 int8) ;;
    'finetune-export --method')
      words=(auto resave rewrite) ;;
    'finetune-export --strategy')
      words=(mirrored multiworker) ;;
    'publish --license')
      words=('Apache 2.0' MIT 'CC BY 4.0' 'CC0: Public Domain' BSD-3-Clause) ;;
    'ls --sort')
      words=(name name:asc name:desc size size:asc size:desc fetched fetched:asc fetched:desc used used:asc used:desc) ;;
    'ls --filter')
      words=('size<' 'size>' 'used<' 'used>' 'fetched<' 'fetched>' kind=TF2 kind=TF1 'kind=TF1 Hub' kind=Keras state=ok state=incomplete state=downloading state=unknown state=foreign pinned=yes pinned=no) ;;
    'push --tier' | 'tier --tier')
      words=(s3:// gs:// az://) directories=1 ;;
    *) return 1 ;;
  esac
}

# What may be argument number $2 of the command $1; fails where it takes none.
_hubcli_argument() {
  handles='' files='' directories='' model='' words=()
  case "$1 $2" in
    'search '* | 'doctor '*)
      : ;;
    'versions 1')
      handles=1 directories=1 ;;
    'info 1' | 'fetch '* | 'inspect 1' | 'run 1' | 'export 1' | 'publish 1')
      words=(example://mul/1) handles=1 files=1 ;;
    'verify '* | 'finetune-export 1' | 'push '*)
      handles=1 files=1 ;;
    'export 2' | 'finetune-export 2')
      files=1 ;;
    'publish 2')
      directories=1 ;;
    'ls '* | 'gc '* | 'rm '* | 'pin '* | 'unpin '*)
      handles=1 ;;
    'tier 1')
      words=(ls verify gc stat) ;;
    *) return 1 ;;
  esac
}

_hubcli_options() {
  case $1 in
    '') options=(--version -V --install-completion --show-completion --help -h --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug) ;;
    search) options=(--owner --framework --max-size --sort --limit --host --refresh --timeout --cacert --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    versions) options=(--limit --refresh --timeout --cacert --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    info) options=(--refresh --timeout --cacert --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    fetch) options=(--requirement -r --jobs --lock --locked --dry-run --from --sha256 --force --refresh --pin --kagglehub --mirror --tier --require-tier --cacert --connections --retries --timeout --min-rate --lock-timeout --max-unpacked --max-members --max-path-length --max-depth --max-headers --no-sync --anonymous --requester-pays --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    inspect) options=(--signatures --functions --variables --assets --ops --tree --depth --all --tag-set --fetch --svg --check --scan --fail-on --diff --for --try --timeout --min-rate --anonymous --requester-pays --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    run) options=(--signature --function --arg --tag-set --input -i --request --batch-size --image-size --scale --output -o --force --json-lines --top --labels --repeat --dry-run --runner --timeout --unsafe --anonymous --requester-pays --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    verify) options=(--repair --quick --no-sync --anonymous --requester-pays --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    export) options=(--format --force --layout --name --version --output-layer --input-layer --custom-objects --unsafe --dry-run --no-sync --anonymous --requester-pays --signature --drop-signature --rename-signature --allow-none --clear-devices --serving --half --tolerance --warmup --add-defaults --no-compare --quantize --representative --select-tf-ops --opset --inputs --timeout --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    finetune-export) options=(--method --force --allow-unchanged --allow-nan --weights --root --map --dry-run --train --arg --strategy --tag-set --no-sync --anonymous --requester-pays --signature --drop-signature --rename-signature --allow-none --clear-devices --serving --half --tolerance --warmup --add-defaults --no-compare --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    publish) options=(--license --title --notes --description --framework --public --no-wait --wait --restart --check --card --dry-run --unsafe --yes -y --timeout --cacert --no-sync --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    ls) options=(--sort --filter --limit --path --size --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    gc) options=(--older-than --max-size --min-free --keep-versions --broken --grace --keep-partial --dry-run --yes -y --no-sync --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    rm) options=(--force --dry-run --yes -y --no-sync --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    pin) options=(--no-sync --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    unpin) options=(--no-sync --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    push) options=(--all --lock --tier --force --cacert --timeout --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    tier) options=(--tier --older-than --max-count --max-size --keep --grace --dry-run --yes -y --cacert --timeout --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
    doctor) options=(--network --python --fix --mirror --cacert --timeout --json --quiet -q --offline --cache-dir --color --no-color --no-progress --debug --help -h) ;;
  esac
}

# The words up to the cursor. Readline breaks them at : and = too: what follows without a space goes on.
_hubcli_line() {
  local rest=${COMP_LINE-} word gap index
  [[ -z ${COMP_POINT-} ]] || rest=${rest:0:COMP_POINT}
  line=()
  for ((index = 0; index <= COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]-}
    if [[ -n ${COMP_LINE-} ]]; then
      gap=${rest%%[![:space:]]*}
      rest=${rest#"$gap"}
      ((index < COMP_CWORD)) || word=$rest
      rest=${rest#"$word"}
    elif ((index)) && [[ $word == [:=]* || ${line[${#line[@]} - 1]} == *[:=] ]]; then
      gap=''
    else
      gap=' '
    fi
    if [[ -z $gap && $index -gt 0 ]]; then
      line[${#line[@]} - 1]+=$word
    else
      line+=("$word")
    fi
  done
}

# The part of the word at the cursor that readline leaves as it is, and the quote that is open.
_hubcli_kept() {
  local index character
  kept='' quote=''
  for ((index = 0; index < ${#typed}; index++)); do
    character=${typed:index:1}
    if [[ -n $quote ]]; then
      [[ $character != "$quote" ]] || quote=''
    elif [[ $character == '\' ]]; then
      ((index++))
    elif [[ $character == [\'\"] ]]; then
      quote=$character kept=${typed:0:index + 1}
    elif [[ $character == [:=] && ${COMP_WORDBREAKS-} == *"$character"* ]]; then
      kept=${typed:0:index + 1}
    fi
  done
}

_hubcli_add() {
  [[ $1 != "$plain"* ]] || found+=("$1")
}

# Puts what was found where readline takes it, quoted as the line needs it.
_hubcli_reply() {
  local word kept quote
  _hubcli_kept
  kept=${kept//[\\\'\"]/}
  if [[ -n $only_files ]]; then
    compopt -o filenames 2>/dev/null
  elif ((${#found[@]} == 1)) && [[ ${found[0]} == *[=\<\>/] ]]; then
    compopt -o nospace 2>/dev/null
  fi
  for word in "${found[@]}"; do
    word=$before$word
    word=${word#"$kept"}
    if [[ -z $only_files && -n $quote ]]; then
      [[ $word != *[\'\"\\\$\`\!]* ]] || continue
    elif [[ -z $only_files ]]; then
      printf -v word %q "$word"
    fi
    COMPREPLY+=("$word")
  done
}

# Handles that begin with $1 or hold $2. Read as a whole: from a pipe, read takes a byte at a time.
_hubcli_add_handles() {
  local globs=''
  # What they hold is no pattern.
  [[ $- == *f* ]] || globs=1
  set -f
  found+=($(_hubcli_handles "$cache" "$1" "$2"))
  [[ -z $globs ]] || set +f
}

# Handles that hold what is typed. It stays on the line where what they have in common isn't more.
_hubcli_add_by_part() {
  local word common
  _hubcli_add_handles '' "$plain"
  ((${#found[@]} > 1)) || return 0
  common=${found[0]}
  for word in "${found[@]}"; do
    while [[ $word != "$common"* ]]; do common=${common%?}; done
  done
  [[ $common == *"$plain"* ]] || found+=("$plain")
}

# Names that the model on the line has, which hubcli itself reads.
_hubcli_add_of_model() {
  local word
  local -a given=()
  for word in "${line[@]:1:${#line[@]} - 2}"; do
    given+=("${word//[\\\'\"]/}")
  done
  while IFS= read -r word; do
    _hubcli_add "$word"
  done < <(command "${line[0]}" __complete "$model" "${given[@]}" 2>/dev/null)
}

_hubcli_offer() {
  local word only_files=''
  local -a found=()
  for word in ${words[@]+"${words[@]}"}; do
    _hubcli_add "$word"
  done
  [[ -z $handles ]] || _hubcli_add_handles "$plain" ''
  [[ -z $model ]] || _hubcli_add_of_model
  ((${#found[@]})) || only_files=1
  if [[ -n $files$directories ]]; then
    while IFS= read -r word; do
      [[ -n $only_files || ! -d $word ]] || word+=/
      [[ -z $plain && $word == .* ]] || found+=("$word")
    done < <(if [[ -n $files ]]; then compgen -f -- "$plain"; else compgen -d -- "$plain"; fi)
  fi
  if [[ -n $handles && -n $plain && ${#found[@]} -eq 0 ]]; then
    only_files=''
    _hubcli_add_by_part
  fi
  ((${#found[@]} == 0)) || _hubcli_reply
}

# The options that aren't on the line yet.
_hubcli_offer_options() {
  local word
  local -a options=()
  _hubcli_options "$command"
  for word in "${options[@]}"; do
    case " ${line[*]:1:${#line[@]} - 2} " in
      *" $word "* | *" $word="*)
        case "$command $word" in
          'fetch --requirement' | 'fetch -r' | 'fetch --mirror' | 'fetch --tier' | 'run --arg' | 'run --input' | 'run -i' | 'export --output-layer' | 'export --input-layer' | 'export --signature' | 'export --drop-signature' | 'export --rename-signature' | 'export --add-defaults' | 'export --representative' | 'export --inputs' | 'finetune-export --arg' | 'finetune-export --signature' | 'finetune-export --drop-signature' | 'finetune-export --rename-signature' | 'finetune-export --add-defaults' | 'ls --filter' | 'tier --keep' | 'doctor --mirror') ;;
          *) continue ;;
        esac ;;
    esac
    [[ $word != "$typed"* ]] || COMPREPLY+=("$word")
  done
}

_hubcli() {
  local IFS=$' \t\n' command='' option='' only_arguments='' cache='' before='' position=1
  local typed plain word handles files directories model
  local -a line=() words=()
  COMPREPLY=()
  _hubcli_line
  typed=${line[${#line[@]} - 1]}
  for word in "${line[@]:1:${#line[@]} - 2}"; do
    if [[ -n $option ]]; then
      [[ $option != --cache-dir ]] || cache=${word//[\\\'\"]/}
      option=''
    elif [[ -n $only_arguments ]]; then
      ((position++))
    elif [[ $word == -- ]]; then
      only_arguments=1
    elif [[ $word == --cache-dir=* ]]; then
      word=${word#*=} cache=${word//[\\\'\"]/}
    elif [[ $word == -?* ]]; then
      _hubcli_value "$command" "$word" && option=$word
    elif [[ -z $command ]]; then
      command=$word
    else
      ((position++))
    fi
  done
  plain=${typed//[\\\'\"]/}
  if [[ -n $option ]]; then
    _hubcli_value "$command" "$option"
  elif [[ -z $only_arguments && $typed == --*=* ]]; then
    before=${typed%%=*}= plain=${plain#*=}
    _hubcli_value "$command" "${typed%%=*}" || return 0
  elif [[ -z $only_arguments && $typed == -?* ]]; then
    _hubcli_offer_options
    return 0
  elif [[ -z $command ]]; then
    words=(search versions info fetch inspect run verify export finetune-export publish ls gc rm pin unpin push tier doctor) handles='' files='' directories='' model=''
  elif ! _hubcli_argument "$command" "$position"; then
    [[ -n $typed ]] || _hubcli_offer_options
    return 0
  fi
  _hubcli_offer
  return 0
}

complete -F _hubcli hubcli
