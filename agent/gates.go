package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// cancelGate is always on: a wait holds nothing up, and follows a new revision
// by itself.
const cancelGate = "CancelHealthCheckOnNewRevision"

// gates are the feature gates that mean something here, by Flux's names.
var gates = map[string]func(*options, bool){
	"ExternalArtifact":           func(o *options, on bool) { o.kustomizations.ExternalArtifacts = on },
	"AdditiveCELDependencyCheck": func(o *options, on bool) { o.kustomizations.AdditiveReadyExpr = on },
	"AllowDNSLookups":            func(o *options, on bool) { o.helm.AllowDNSLookups = on },
	"DefaultToRetryOnFailure":    func(o *options, on bool) { o.helm.RetryByDefault = on },
	"DisableChartDigestTracking": func(o *options, on bool) { o.helm.IgnoreChartDigest = on },
	cancelGate:                   func(*options, bool) {},
}

// featureGates is the flag --feature-gates: Name=true,Other=false.
type featureGates struct{ options *options }

func (f featureGates) Type() string   { return "mapStringBool" }
func (f featureGates) String() string { return "" }

// Set reads the gates. One that means nothing here is refused: whoever turns it
// on expects something of it.
func (f featureGates) Set(text string) error {
	for item := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			return fmt.Errorf("%q: want Name=true or Name=false", item)
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q: want Name=true or Name=false", item)
		}
		set, known := gates[name]
		if !known {
			return fmt.Errorf("there is no feature gate %s here: there are %s", name, strings.Join(gateNames(), ", "))
		}
		if name == cancelGate && !on {
			return fmt.Errorf("%s cannot be turned off: waiting holds no worker here", name)
		}
		set(f.options, on)
	}
	return nil
}

func gateNames() []string {
	names := make([]string, 0, len(gates))
	for name := range gates {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
