package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
)

// imageInterval is how often the hub looks for new tags, and whether there is
// something to commit.
const imageInterval = 2 * time.Second

// followImage pushes the tag that runs, tells the hub to follow the image, and
// waits until it has chosen that tag.
func (w *world) followImage(ctx context.Context, running string) error {
	if _, err := w.registry.Push("shop", running, nil); err != nil {
		return err
	}
	for _, object := range w.imageObjects() {
		if err := w.hub.Create(ctx, object); err != nil {
			return fmt.Errorf("creating %T %s on the hub: %w", object, object.GetName(), err)
		}
	}
	w.screen.Say("told the hub to follow the image %s/shop, and to commit its newest 1.x", w.registry.Host)
	return poll(ctx, func(ctx context.Context) error {
		policy := &imagev1.ImagePolicy{ObjectMeta: named("shop")}
		if err := w.hub.Get(ctx, client.ObjectKeyFromObject(policy), policy); err != nil {
			return err
		}
		if chosen := policy.Status.LatestRef; chosen == nil || chosen.Tag != running {
			return fmt.Errorf("imagepolicy shop has not chosen %s", running)
		}
		return nil
	})
}

func (w *world) imageObjects() []client.Object {
	every := metav1.Duration{Duration: imageInterval}
	repository := &imagev1.ImageRepository{ObjectMeta: named("shop")}
	repository.Spec.Image, repository.Spec.Interval, repository.Spec.Insecure = w.registry.Host+"/shop", every, true
	policy := &imagev1.ImagePolicy{ObjectMeta: named("shop")}
	policy.Spec.ImageRepositoryRef = meta.NamespacedObjectReference{Name: "shop"}
	policy.Spec.Policy.SemVer = &imagev1.SemVerPolicy{Range: "1.x"}
	automation := &imagev1.ImageUpdateAutomation{ObjectMeta: named("shop")}
	automation.Spec.Interval = every
	automation.Spec.SourceRef = imagev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "fleet"}
	automation.Spec.Update = &imagev1.UpdateStrategy{Path: "./base"}
	automation.Spec.GitSpec = &imagev1.GitSpec{Commit: imagev1.CommitSpec{
		Author:          imagev1.CommitUser{Name: "Headwater", Email: "headwater@example.com"},
		MessageTemplate: "Roll out {{range .Changed.Changes}}{{.NewValue}}{{end}}",
	}}
	return []client.Object{repository, policy, automation}
}
