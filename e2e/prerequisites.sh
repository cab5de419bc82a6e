#!/usr/bin/env bash
# Checks that the machine has what the build and the tests need, and installs
# it with apt-get where that is possible:
#
#   git with git-http-backend   the tests' Git server is Git's own
#   gcc and libc's headers      go test -race links against them
#   gnupg, ssh-keygen           git verifies signatures by them
#   make                        the commands
#
# Go itself is not installed here: go.mod says which version is needed.
set -euo pipefail

if ! command -v go >/dev/null; then
	echo "prerequisites: go is not on the PATH: install the version that go.mod names" >&2
	exit 1
fi

missing=()
{ command -v git && test -x "$(git --exec-path)/git-http-backend"; } >/dev/null 2>&1 || missing+=(git)
echo '#include <stdlib.h>' | gcc -E -x c - >/dev/null 2>&1 || missing+=(gcc libc6-dev)
command -v gpg >/dev/null || missing+=(gnupg)
command -v ssh-keygen >/dev/null || missing+=(openssh-client)
command -v make >/dev/null || missing+=(make)
test ${#missing[@]} -eq 0 && exit 0

root=()
test "$(id -u)" -eq 0 || root=(sudo -n)
if ! command -v apt-get >/dev/null || ! "${root[@]}" true 2>/dev/null; then
	echo "prerequisites: install ${missing[*]} with this machine's package manager, then run this again" >&2
	exit 1
fi
echo "==> installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get update -q
"${root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
