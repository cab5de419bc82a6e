// Package app is what the hub and the agent have in common as processes: flags,
// logs, the manager with its probes and metrics, events, signals, and a
// graceful stop. It knows no kind.
package app
