package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
)

const refreshInterval = 500 * time.Millisecond

// watching is the goroutine that refreshes the table.
type watching struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Watch shows what the hub says of everything until it is stopped.
func (w *world) Watch(ctx context.Context) *watching {
	ctx, cancel := context.WithCancel(ctx)
	watching := &watching{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(watching.done)
		ticker := time.NewTicker(refreshInterval)
		defer ticker.Stop()
		for {
			// A refresh that fails leaves the table as it was.
			if lines, err := w.table(ctx); err == nil {
				w.screen.Show(lines)
			}
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
	}()
	return watching
}

// Stop returns when the table is not touched any more.
func (w *watching) Stop() {
	w.cancel()
	<-w.done
}

// table is one line for each source, Kustomization and cluster.
func (w *world) table(ctx context.Context) ([]string, error) {
	var (
		sources        sourcev1.GitRepositoryList
		images         imagev1.ImageUpdateAutomationList
		kustomizations kustomizev1.KustomizationList
		clusters       fleetv1.RemoteClusterList
	)
	for _, list := range []client.ObjectList{&sources, &images, &kustomizations, &clusters} {
		if err := w.hub.List(ctx, list, client.InNamespace(stack.Namespace)); err != nil {
			return nil, err
		}
	}
	var text strings.Builder
	columns := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(columns, strings.Join(cells, "\t")) }
	row("OBJECT", "AGENT", "READY", "REVISION", "MESSAGE")
	for _, o := range sources.Items {
		revision := ""
		if o.Status.Artifact != nil {
			revision = o.Status.Artifact.Revision
		}
		row("source "+o.Name, "(hub)", ready(o.Status.Conditions, meta.ReadyCondition), short(revision),
			message(o.Status.Conditions, meta.ReadyCondition))
	}
	for _, o := range images.Items {
		row("images "+o.Name, "(hub)", ready(o.Status.Conditions, meta.ReadyCondition), short(o.Status.ObservedSourceRevision),
			message(o.Status.Conditions, meta.ReadyCondition))
	}
	for _, o := range kustomizations.Items {
		row("kustomization "+o.Name, orDash(o.Labels[meta.AgentLabel]), ready(o.Status.Conditions, meta.ReadyCondition),
			short(o.Status.LastAppliedRevision), message(o.Status.Conditions, meta.ReadyCondition))
	}
	for _, o := range clusters.Items {
		row("cluster "+o.Name, orDash(o.Status.Agent), ready(o.Status.Conditions, fleetv1.ConnectedCondition),
			orDash(o.Status.Version), message(o.Status.Conditions, fleetv1.ConnectedCondition))
	}
	if err := columns.Flush(); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n"), nil
}

func ready(conditions []metav1.Condition, kind string) string {
	if condition := apimeta.FindStatusCondition(conditions, kind); condition != nil {
		return string(condition.Status)
	}
	return "-"
}

// message is the condition's, on one line and with short revisions.
func message(conditions []metav1.Condition, kind string) string {
	condition := apimeta.FindStatusCondition(conditions, kind)
	if condition == nil {
		return "-"
	}
	return short(strings.Join(strings.Fields(condition.Message), " "))
}

// short cuts the commits in revisions such as main@sha1:<commit> to 7 digits.
func short(text string) string {
	return orDash(regexp.MustCompile(`@sha1:([0-9a-f]{7})[0-9a-f]*`).ReplaceAllString(text, "@$1"))
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
