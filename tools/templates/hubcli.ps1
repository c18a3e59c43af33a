# hubcli completion for PowerShell 5.1 and later.
# Written by `python -m tools.make_completions`: change tools/templates, then run it.

Register-ArgumentCompleter -Native -CommandName 'hubcli' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    Set-StrictMode -Off
    $ordinal = [System.StringComparison]::Ordinal

    $commands = @(
@COMMANDS@
    )

    # By command: the names of each option, and what it does.
    $options = @{
@OPTIONS@
    }

    # What may stand behind an option; no entry for what takes no value.
    $values = @{
@VALUES@
    }

    # What may be an argument, by its number; 0 is for all.
    $arguments = @{
@ARGUMENTS@
    }

    $repeatable = @(@REPEATABLE@)

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
