// Package fleet has the benchmark's cases of many targets: what targets that are
// down, hang or crawl cost the others; what it costs to replace credentials all
// the time; how much memory an agent takes for many targets; and what those who
// wait for health cost the others.
//
// Each case makes a fleet of its own: a hub with some agents, with default
// flags, kubeconfig Secrets for two API servers, and a Kustomization for each
// Secret. What is printed is measured from outside: times by a watch on the hub,
// requests by the proxies in front of the targets, memory by the kernel. It
// judges nothing, and promises to leave nothing behind.
package fleet
