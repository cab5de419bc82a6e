package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	"github.com/headwater-dev/headwater/e2e/stack"
)

// ownership is what the record says: cluster → agent. Scenes choose by it whom
// to kill and when to commit; they are never judged by it.
type ownership map[string]string

func (w *world) owners(ctx context.Context) (ownership, error) {
	var records fleetv1.RemoteClusterList
	if err := w.hub.List(ctx, &records, client.InNamespace(stack.Namespace)); err != nil {
		return nil, err
	}
	owners := ownership{}
	for _, record := range records.Items {
		if ref := record.Spec.KubeConfig; ref != nil && ref.SecretRef != nil {
			owners[ref.SecretRef.Name] = record.Status.Agent
		}
	}
	return owners, nil
}

// of lists the clusters of an agent.
func (o ownership) of(agent string) []string {
	var clusters []string
	for _, cluster := range slices.Sorted(maps.Keys(o)) {
		if o[cluster] == agent {
			clusters = append(clusters, cluster)
		}
	}
	return clusters
}

// busiest is the agent with the most clusters.
func (o ownership) busiest() string {
	return slices.MaxFunc(agentNames(), func(a, b string) int { return len(o.of(a)) - len(o.of(b)) })
}

// balanced returns nil when every cluster has an owner and every agent owns
// one at least.
func (o ownership) balanced(targets []*cluster) error {
	for _, target := range targets {
		if !slices.Contains(agentNames(), o[target.name]) {
			return fmt.Errorf("%s is recorded as owned by %q", target.name, o[target.name])
		}
	}
	var errs []error
	for _, agent := range agentNames() {
		if len(o.of(agent)) == 0 {
			errs = append(errs, fmt.Errorf("%s owns no cluster", agent))
		}
	}
	return errors.Join(errs...)
}
