# hubcli completion for bash 3.2 and later.
# Written by `python -m tools.make_completions`: change tools/templates, then run it.

_hubcli_handles() {
  local program='@SH_PROGRAM@'
  local records='@AWK_PROGRAM@'
  local settings='@CONFIG_PROGRAM@'
  hubcli_typed=$2 hubcli_part=${3-} command sh -c "$program" hubcli "$1" "$records" 0 "$settings" 2>/dev/null
}

# What may stand behind the option $2 of the command $1; fails where that takes no value.
_hubcli_value() {
  handles='' files='' directories='' model='' words=()
  case "$1 $2" in
@VALUES@
    *) return 1 ;;
  esac
}

# What may be argument number $2 of the command $1; fails where it takes none.
_hubcli_argument() {
  handles='' files='' directories='' model='' words=()
  case "$1 $2" in
@ARGUMENTS@
    *) return 1 ;;
  esac
}

_hubcli_options() {
  case $1 in
@OPTIONS@
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
@REPEATABLE@
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
    words=(@COMMANDS@) handles='' files='' directories='' model=''
  elif ! _hubcli_argument "$command" "$position"; then
    [[ -n $typed ]] || _hubcli_offer_options
    return 0
  fi
  _hubcli_offer
  return 0
}

complete -F _hubcli hubcli
