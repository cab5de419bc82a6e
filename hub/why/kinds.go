package why

import (
	"fmt"
	"strings"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// kinds are what can be explained, by the names that people use for them.
var kinds = map[string]string{
	"ks": kustomizev1.KustomizationKind, "kustomization": kustomizev1.KustomizationKind, "kustomizations": kustomizev1.KustomizationKind,
	"hr": helmv2.HelmReleaseKind, "helmrelease": helmv2.HelmReleaseKind, "helmreleases": helmv2.HelmReleaseKind,
	"rcl": fleetv1.RemoteClusterKind, "remotecluster": fleetv1.RemoteClusterKind, "remoteclusters": fleetv1.RemoteClusterKind,
}

// parseObject reads KIND/NAME, or the two as words of their own.
func parseObject(args []string) (kind, name string, err error) {
	const want = "want KIND/NAME, such as kustomization/apps, helmrelease/web or remotecluster/prod-eu"
	switch {
	case len(args) == 0:
		return "", "", fmt.Errorf("the object is missing: %s", want)
	case len(args) > 2:
		return "", "", fmt.Errorf("unexpected argument %q: one object at a time", args[2])
	}
	word, name, slash := strings.Cut(args[0], "/")
	if !slash && len(args) == 2 {
		name = args[1]
	} else if len(args) == 2 {
		return "", "", fmt.Errorf("unexpected argument %q: one object at a time", args[1])
	}
	// A group may follow, as kubectl prints it.
	word, _, _ = strings.Cut(strings.ToLower(word), ".")
	kind, known := kinds[word]
	switch {
	case !known:
		return "", "", fmt.Errorf("kind %q cannot be explained: %s (or ks, hr, rcl)", word, want)
	case name == "" || strings.Contains(name, "/"):
		return "", "", fmt.Errorf("%q names no object: %s", strings.Join(args, " "), want)
	}
	return kind, name, nil
}
