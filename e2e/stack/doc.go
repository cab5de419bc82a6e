// Package stack runs the product for end-to-end tests, the demo and the
// benchmark: on a control plane that serves as hub it installs the CRDs and
// the RBAC of config/, and starts the real binaries as processes.
//
// It promises that every process has a ServiceAccount of its own with the
// rights of config/rbac and no more, and a log file; and that Stop leaves none
// running.
//
// It never imports the hub or the agent: what it runs is what users run.
package stack
