#!/usr/bin/env bash
# Put the servers that the tests start (PostgreSQL, Redis, nginx) on this machine, from Debian packages;
# or, where `bench` comes second, what puts load on the service in the benchmarks (wrk).
# usage: tools/servers.sh install|report [bench]     `report` names what is still missing, and how to get it.
set -euo pipefail

has() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1 || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null; }

missing=()
who=tests
if [ "${2:-}" = bench ]; then
  who=benchmarks
  has wrk || missing+=(wrk)
else
  has pg_ctl || missing+=(postgresql)
  has redis-server || missing+=(redis-server)
  has nginx || missing+=(nginx-light)
fi
[ "${#missing[@]}" -gt 0 ] || exit 0

if [ "${1:-report}" = install ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "== installing ${missing[*]}"
  # RUNLEVEL=1 keeps the packages from starting a server of their own; another apt-get may hold the lock.
  export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if { apt-get -o DPkg::Lock::Timeout=400 update &&
       apt-get -o DPkg::Lock::Timeout=400 install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1
  then rm -f "$log"; exit 0; fi
  tail -n 5 "$log"
fi

if [ "${1:-report}" = report ]; then
  echo "COULD NOT RUN: $who that need ${missing[*]}. As root: apt-get install ${missing[*]}"
fi
