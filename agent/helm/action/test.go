package action

import (
	"time"

	helmaction "helm.sh/helm/v3/pkg/action"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Test runs the tests of the release.
func (s *Session) Test() error {
	var options helmv2.Test
	if s.Object.Spec.Test != nil {
		options = *s.Object.Spec.Test
	}
	test := helmaction.NewReleaseTesting(s.config)
	test.Namespace = s.Target.Namespace
	test.Timeout = timeoutOf(s.Object, options.Timeout)
	if options.Filters != nil {
		for _, filter := range *options.Filters {
			list := helmaction.IncludeNameFilter
			if filter.Exclude {
				list = helmaction.ExcludeNameFilter
			}
			test.Filters[list] = append(test.Filters[list], filter.Name)
		}
	}
	_, err := test.Run(s.Target.Name)
	return s.ended(err)
}

// timeoutOf is an action's own time limit, or that of the spec.
func timeoutOf(obj *helmv2.HelmRelease, own *metav1.Duration) time.Duration {
	if own == nil {
		return obj.Timeout()
	}
	return own.Duration
}
