package action

import (
	helmaction "helm.sh/helm/v3/pkg/action"
	helmrelease "helm.sh/helm/v3/pkg/release"

	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// Install releases for the first time. A release whose records say that it was
// uninstalled is in nobody's way.
func (s *Session) Install() error {
	var options helmv2.Install
	if s.Object.Spec.Install != nil {
		options = *s.Object.Spec.Install
	}
	s.timeout = timeoutOf(s.Object, options.Timeout)
	loaded, err := s.prepare(checks{crds: options.CRDs, skipSchema: options.DisableSchemaValidation})
	if err != nil {
		return s.ended(err)
	}
	if err := s.learn(); err != nil {
		return s.ended(err)
	}
	replace := options.Replace
	if last, err := s.config.Releases.Last(s.Target.Name); err == nil {
		replace = replace || last.Info.Status == helmrelease.StatusUninstalled
	}
	install := helmaction.NewInstall(s.config)
	install.ReleaseName = s.Target.Name
	install.Namespace = s.Target.Namespace
	install.Timeout = s.timeout
	install.Wait = !options.DisableWait
	install.WaitForJobs = !options.DisableWaitForJobs
	install.DisableHooks = options.DisableHooks
	install.DisableOpenAPIValidation = options.DisableOpenAPIValidation
	install.SkipSchemaValidation = true // they were validated above
	install.TakeOwnership = !options.DisableTakeOwnership
	install.Replace = replace
	install.CreateNamespace = options.CreateNamespace
	install.SkipCRDs = true // they were applied above
	install.Devel = true
	install.EnableDNS = s.EnableDNS
	if s.Render != nil {
		install.PostRenderer = postRender{s}
	}
	_, err = install.Run(loaded, s.Values)
	return s.ended(err)
}
