#!/usr/bin/env bash
# Puts the services that tests talk to into bin/, as far as they are not there,
# and the kubectl of make deploy:
#
#   docker-registry   Debian's package, unpacked: installed, it would start itself
#   fake-gcs-server   an emulator of Google Cloud Storage, built from source
#   azurite           Microsoft's emulator of Azure Storage, by npm
#   kubectl           built from source, unless the machine has one
#
# Their versions are Debian's, and those of internal/tools/gcs,
# internal/tools/azurite and internal/tools/kubectl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p bin

root=()
test "$(id -u)" -eq 0 || root=(sudo -n)
export DEBIAN_FRONTEND=noninteractive
debian() {
	if ! command -v apt-get >/dev/null || ! "${root[@]}" true 2>/dev/null; then
		echo "services: $1" >&2
		exit 1
	fi
}

if ! test -x bin/docker-registry; then
	debian "put the program of Distribution's registry 2.8 at bin/docker-registry, then run this again"
	echo "==> unpacking docker-registry"
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	"${root[@]}" apt-get update -q
	(cd "$work" && apt-get -o APT::Sandbox::User=root download -q docker-registry && dpkg -x docker-registry_*.deb .)
	mv "$work/usr/bin/docker-registry" bin/
fi

if ! test -x bin/fake-gcs-server || test internal/tools/gcs/go.mod -nt bin/fake-gcs-server; then
	echo "==> building fake-gcs-server (a minute)"
	CGO_ENABLED=0 go build -C internal/tools/gcs -o "$PWD/bin/" github.com/fsouza/fake-gcs-server
	touch bin/fake-gcs-server
fi

if ! test -e bin/azurite/node_modules || test internal/tools/azurite/package-lock.json -nt bin/azurite/node_modules; then
	if ! { command -v node && command -v npm; } >/dev/null; then
		debian "install Node.js with npm, then run this again"
		echo "==> installing nodejs npm"
		"${root[@]}" apt-get update -q
		"${root[@]}" apt-get install -q -y --no-install-recommends nodejs npm
	fi
	echo "==> installing azurite"
	mkdir -p bin/azurite
	cp internal/tools/azurite/package*.json bin/azurite/
	npm ci --prefix bin/azurite --ignore-scripts --no-audit --no-fund --loglevel=error
	touch bin/azurite/node_modules
fi

if ! command -v kubectl >/dev/null && { ! test -x bin/kubectl || test internal/tools/kubectl/go.mod -nt bin/kubectl; }; then
	echo "==> building kubectl (two minutes)"
	CGO_ENABLED=0 go build -C internal/tools/kubectl -ldflags "-s -w" -o "$PWD/bin/kubectl" .
	touch bin/kubectl
fi
