package action

import (
	"encoding/json"
	"errors"
	"slices"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	helmrelease "helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// checks are what is done with a chart before Helm gets it.
type checks struct {
	crds helmv2.CRDsPolicy
	// reuse says that the release's present values count as well.
	reuse, skipSchema bool
}

// prepare returns the chart for Helm, when the values are what its schemas want and
// its CRDs are there. Both are of the charts that are going to be rendered: not of
// subcharts that the values switch off.
func (s *Session) prepare(c checks) (*chart.Chart, error) {
	loaded, err := s.Chart()
	if err != nil {
		return nil, err
	}
	noCRDs, noSchema := c.crds == helmv2.Skip || len(loaded.CRDObjects()) == 0, c.skipSchema || !hasSchema(loaded)
	if noCRDs && noSchema {
		return loaded, nil
	}
	composed, values, err := s.compose(c.reuse)
	if err != nil {
		return nil, err
	}
	if !noSchema {
		if err := s.validate(composed, values); err != nil {
			return nil, err
		}
	}
	return loaded, s.applyCRDs(composed, c.crds)
}

func hasSchema(of *chart.Chart) bool {
	return of.Schema != nil || slices.ContainsFunc(of.Dependencies(), hasSchema)
}

// compose does with a chart of its own and the values what Helm does before it
// renders them.
func (s *Session) compose(reuse bool) (*chart.Chart, map[string]any, error) {
	composed, err := s.Chart()
	if err != nil {
		return nil, nil, err
	}
	// A copy, for Helm merges into what it is given.
	values := map[string]any{}
	raw, err := json.Marshal(s.Values)
	if err == nil {
		err = json.Unmarshal(raw, &values)
	}
	if err != nil {
		return nil, nil, err
	}
	if reuse {
		present, err := s.present()
		if err != nil {
			return nil, nil, err
		}
		if composed.Values, err = chartutil.CoalesceValues(present.Chart, present.Config); err != nil {
			return nil, nil, err
		}
		values = chartutil.CoalesceTables(values, present.Config)
	}
	if err := chartutil.ProcessDependenciesWithMerge(composed, values); err != nil {
		return nil, nil, err
	}
	values, err = chartutil.CoalesceValues(composed, values)
	return composed, values, err
}

// present is the release that Helm takes for the one to upgrade.
func (s *Session) present() (*helmrelease.Release, error) {
	deployed, err := s.config.Releases.Deployed(s.Target.Name)
	if errors.Is(err, driver.ErrNoDeployedReleases) {
		return s.config.Releases.Last(s.Target.Name)
	}
	return deployed, err
}
