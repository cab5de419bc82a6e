#!/usr/bin/env bash
# Builds the control plane (etcd, kube-apiserver and kube-controller-manager
# in one binary) into bin/controlplane of the repository.
#
# The first build compiles some 2,500 packages, which takes about ten minutes
# on two cores: a line every 15 seconds says how far it is. With Go's build
# cache warm it takes seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly version=v1.36.3 # of k8s.io/kubernetes in go.mod
readonly output=../../bin/controlplane
readonly flags="-s -w
	-X k8s.io/component-base/version.gitVersion=$version
	-X k8s.io/component-base/version.gitMajor=1
	-X k8s.io/component-base/version.gitMinor=36"

# The version that the API server reports must be the one that is built.
grep -q "k8s.io/kubernetes $version\$" go.mod

echo "==> control plane: loading the packages of Kubernetes $version"
total=$(go list -deps . | wc -l)

log=$(mktemp)
trap 'rm -f "$log"; test -z "${ticker:-}" || kill "$ticker" 2>/dev/null || true' EXIT
# A pipe that nobody writes to: reading it with a time limit is a sleep that
# leaves no process behind.
exec 9<> <(:)
(
	while true; do
		read -rt 15 -u 9 || true
		printf '    %4ds  %d of at most %d packages compiled\n' "$SECONDS" "$(wc -l <"$log")" "$total"
	done
) &
ticker=$!

if ! go build -v -buildvcs=false -trimpath -ldflags "$flags" -o "$output" . 2>"$log"; then
	tail -n 40 "$log" >&2
	exit 1
fi
echo "==> control plane: built in ${SECONDS}s"
