package action

import (
	helmaction "helm.sh/helm/v3/pkg/action"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Upgrade releases once more.
func (s *Session) Upgrade() error {
	var options helmv2.Upgrade
	if s.Object.Spec.Upgrade != nil {
		options = *s.Object.Spec.Upgrade
	}
	s.timeout = timeoutOf(s.Object, options.Timeout)
	loaded, err := s.prepare(checks{crds: options.CRDs, reuse: options.PreserveValues, skipSchema: options.DisableSchemaValidation})
	if err != nil {
		return s.ended(err)
	}
	if err := s.learn(); err != nil {
		return s.ended(err)
	}
	upgrade := helmaction.NewUpgrade(s.config)
	upgrade.Namespace = s.Target.Namespace
	upgrade.Timeout = s.timeout
	upgrade.Wait = !options.DisableWait
	upgrade.WaitForJobs = !options.DisableWaitForJobs
	upgrade.DisableHooks = options.DisableHooks
	upgrade.DisableOpenAPIValidation = options.DisableOpenAPIValidation
	upgrade.SkipSchemaValidation = true // they were validated above
	upgrade.TakeOwnership = !options.DisableTakeOwnership
	upgrade.Force = options.Force
	upgrade.ResetValues = !options.PreserveValues
	upgrade.ReuseValues = options.PreserveValues
	upgrade.CleanupOnFail = options.CleanupOnFail
	upgrade.MaxHistory = maxHistory(s.Object)
	upgrade.SkipCRDs = true // they were applied above
	upgrade.Devel = true
	upgrade.EnableDNS = s.EnableDNS
	if s.Render != nil {
		upgrade.PostRenderer = postRender{s}
	}
	_, err = upgrade.Run(s.Target.Name, loaded, s.Values)
	return s.ended(err)
}
