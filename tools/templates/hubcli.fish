# hubcli completion for fish 3 and later.
# Written by `python -m tools.make_completions`: change tools/templates, then run it.

# The words of the line up to the one at the cursor, without their quotes.
function __hubcli_line
    commandline -xpc 2>/dev/null; or commandline -opc
end

# Whether the option $argv[2] of the command $argv[1] takes a value.
function __hubcli_takes_value
    switch "$argv[1] $argv[2]"
@VALUES@
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
    set -l program '@SH_PROGRAM@'
    set -l records '@AWK_PROGRAM@'
    set -l settings '@CONFIG_PROGRAM@'
    hubcli_typed= hubcli_part= command sh -c "$program" hubcli "$cache" "$records" 1 "$settings" 2>/dev/null
end

# Names that the model on the line has, which hubcli itself reads.
function __hubcli_of_model
    set -l line (__hubcli_line)
    command $line[1] __complete $argv[1] $line[2..-1] 2>/dev/null
end

complete -c hubcli -f
@ROOT@
@COMMANDS@
@OPTIONS@
@ARGUMENTS@
