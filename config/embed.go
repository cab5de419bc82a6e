// Package config gives the manifests of the agent to the one program that installs
// it elsewhere, so that there is one source of them.
package config

import _ "embed"

//go:embed agent/statefulset.yaml
var agentWorkload []byte

//go:embed rbac/agent.yaml
var agentRules []byte

//go:embed policy/agents.yaml
var agentPolicy []byte

// AgentWorkload is the StatefulSet of the agents in the hub.
func AgentWorkload() []byte { return agentWorkload }

// AgentRules are the Roles of the agents in the hub, and their bindings.
func AgentRules() []byte { return agentRules }

// AgentPolicy is what RBAC cannot say of the agents' rights, and its binding.
func AgentPolicy() []byte { return agentPolicy }
