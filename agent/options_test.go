package main

import (
	"encoding/json"
	"os"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/testenv"
)

var shared = testenv.Shared{CRDs: true}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// kubectl apply writes the whole object into an annotation.
func TestNothingOfWhatSecretsContainIsHeld(t *testing.T) {
	g := NewWithT(t)
	hub := shared.ControlPlane(t)
	var o options
	held := o.cache(app.Options{})
	held.Scheme = scheme()
	c, err := cache.New(hub.Config(), held)
	g.Expect(err).NotTo(HaveOccurred())
	go func() { _ = c.Start(t.Context()) }() // the test ends it

	writer, err := hub.Client(scheme())
	g.Expect(err).NotTo(HaveOccurred())
	about := metav1.ObjectMeta{
		Namespace: "default", Name: "edge-1", Labels: map[string]string{"reconcile.fluxcd.io/watch": "Enabled"},
		Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: `{"stringData":{"value":"hunter2"}}`},
	}
	for _, made := range []client.Object{&corev1.Secret{ObjectMeta: about}, &corev1.ConfigMap{ObjectMeta: about}} {
		kind, err := writer.GroupVersionKindFor(made)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(writer.Create(t.Context(), made)).To(Succeed())
		found := &metav1.PartialObjectMetadata{}
		found.SetGroupVersionKind(kind)
		g.Eventually(func() error { return c.Get(t.Context(), client.ObjectKeyFromObject(made), found) }, "10s").Should(Succeed())
		g.Expect(found.Labels).To(Equal(about.Labels))
		g.Expect(found.ResourceVersion).NotTo(BeEmpty())
		g.Expect(json.Marshal(found)).NotTo(ContainSubstring("hunter2"))
	}
}
