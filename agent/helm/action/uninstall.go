package action

import (
	"cmp"

	helmaction "helm.sh/helm/v3/pkg/action"
	"k8s.io/utils/ptr"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Uninstall removes the release. One that is gone already is no error.
func (s *Session) Uninstall() error {
	var options helmv2.Uninstall
	if s.Object.Spec.Uninstall != nil {
		options = *s.Object.Spec.Uninstall
	}
	if err := s.learn(); err != nil {
		return s.ended(err)
	}
	uninstall := helmaction.NewUninstall(s.config)
	uninstall.Timeout = timeoutOf(s.Object, options.Timeout)
	uninstall.DisableHooks = options.DisableHooks
	uninstall.KeepHistory = options.KeepHistory
	uninstall.Wait = !options.DisableWait
	uninstall.DeletionPropagation = cmp.Or(ptr.Deref(options.DeletionPropagation, ""), "background")
	uninstall.IgnoreNotFound = true
	_, err := uninstall.Run(s.Target.Name)
	return s.ended(err)
}
