#Requires -Version 5.1
<#
.SYNOPSIS
Start LocalStack in Docker, make the worker's table, queues and topic in it, and say what is next.
.DESCRIPTION
May be run again at any time: what is there already stays. The worker itself needs Linux or macOS:
on Windows it runs in Docker or in WSL.
#>
[CmdletBinding()]
param()

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

function Stop-WithMessage([string] $Message) {
    [Console]::Error.WriteLine("Setup-LocalStack: $Message")
    exit 1
}

# Runs docker; its exit code decides, not what it writes to its error stream.
function Invoke-Docker([string[]] $Arguments, [string] $Otherwise, [switch] $Quiet) {
    $preference = $ErrorActionPreference
    $ErrorActionPreference = 'Continue'
    try {
        if ($Quiet) { & docker @Arguments 2>&1 | Out-Null } else { & docker @Arguments }
    }
    finally {
        $ErrorActionPreference = $preference
    }
    if ($LASTEXITCODE -ne 0) { Stop-WithMessage $Otherwise }
}

if (-not (Get-Command docker -ErrorAction SilentlyContinue)) {
    Stop-WithMessage 'needs Docker, which is not installed'
}

Push-Location (Split-Path -Parent $PSScriptRoot)
try {
    Invoke-Docker @('info') 'Docker is installed but not running: start it, then try again' -Quiet
    Invoke-Docker @('compose', 'version') "needs Docker Compose 2 (the command 'docker compose')" -Quiet
    Invoke-Docker @('compose', 'up', '--detach', '--wait', 'localstack') `
        'LocalStack did not start: docker compose logs localstack'
    Invoke-Docker @('compose', 'build', 'provision') "the worker's image could not be built"
    Invoke-Docker @('compose', 'run', '--rm', 'provision') 'the resources could not be made'
}
finally {
    Pop-Location
}

$port = if ($env:LOCALSTACK_PORT) { $env:LOCALSTACK_PORT } else { '4566' }
Write-Output @"

LocalStack runs at http://127.0.0.1:$port and has the worker's resources. Next:

  docker compose up --detach worker
  docker compose run --rm worker events    # what the worker publishes, as it does
  docker compose down --volumes            # stop everything and forget its data
"@
