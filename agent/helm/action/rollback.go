package action

import (
	helmaction "helm.sh/helm/v3/pkg/action"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Rollback releases an earlier revision again.
func (s *Session) Rollback(version int) error {
	var options helmv2.Rollback
	if s.Object.Spec.Rollback != nil {
		options = *s.Object.Spec.Rollback
	}
	rollback := helmaction.NewRollback(s.config)
	rollback.Version = version
	rollback.Timeout = timeoutOf(s.Object, options.Timeout)
	rollback.Wait = !options.DisableWait
	rollback.WaitForJobs = !options.DisableWaitForJobs
	rollback.DisableHooks = options.DisableHooks
	rollback.Force = options.Force
	rollback.CleanupOnFail = options.CleanupOnFail
	rollback.MaxHistory = maxHistory(s.Object)
	return s.ended(rollback.Run(s.Target.Name))
}
