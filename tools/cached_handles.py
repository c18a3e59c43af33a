"""The three small programs by which bash, zsh and fish read the handles of a cache.

Each TAB waits for them: a thousand entries take a tenth of what Python's own start
and as many records would. They are POSIX, hold no single quote and no doubled backslash,
and so can stand in single quotes in every shell. They write nothing and never complain.
"""

from __future__ import annotations

__all__ = ["AWK_PROGRAM", "CONFIG_PROGRAM", "SH_PROGRAM"]

# Arguments: the value of --cache-dir or nothing, the last program below, whether sizes are wanted
# (0, 1), the program for the config file.
# Only regular files are opened: a pipe of that name would stop the shell.
SH_PROGRAM = r"""
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
"""

# The value of cache-dir in a config file, where it is a string of one line without escapes: what
# Python's parser would take, as far as a shell may go without starting it. \047 is a single quote.
CONFIG_PROGRAM = r"""
/^[ \t]*\[/ { exit }
/^[ \t]*["\047]?cache-dir["\047]?[ \t]*=[ \t]*["\047]/ {
  sub(/^[^=]*=[ \t]*/, "")
  quote = substr($0, 1, 1); rest = substr($0, 2); end = index(rest, quote)
  if (end > 1) value = substr(rest, 1, end - 1)
  if (quote == "\"" && index(value, sprintf("%c", 92))) value = ""
  if (value ~ /^[\/~]/) print value
  exit
}
"""

# A line for each entry whose handle begins with $hubcli_typed, or holds $hubcli_part in any case: the
# handle, and after a tab its size.
# What isn't plain ASCII could command a terminal, and isn't told.
AWK_PROGRAM = r"""
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
"""
