package fleet

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	replaceEvery = 10 * time.Second
	replaceFor   = 2 * time.Minute
)

// tally is what the proxies and the hub saw in some time.
type tally struct {
	lists, watches, denied, requests int
	failures                         []string
}

// replaceCredentials gives every target a new token every 10 s and revokes the
// one before as soon as the new one is written, while commits go on; and before
// that, for comparison, replaces nothing for as long.
func replaceCredentials(ctx context.Context, f *fleet) error {
	duration := f.For
	if duration == 0 {
		duration = replaceFor
	}
	bound := map[string]*corev1.Secret{}
	for _, quiet := range []bool{true, false} {
		f.forget()
		replaced := 0
		for end := time.Now().Add(duration); time.Now().Before(end); {
			if err := f.deliver(ctx); err != nil {
				return err
			}
			if !quiet {
				for _, t := range f.targets {
					if err := f.replace(ctx, t, bound); err != nil {
						return fmt.Errorf("replacing the credential of %s: %w", t.name, err)
					}
					replaced++
				}
			}
			if err := f.watch.await(ctx, f.revision, f.names()); err != nil {
				return err
			}
			timer := time.NewTimer(replaceEvery)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		f.tell(duration, replaced, f.count())
	}
	return nil
}

// replace writes a new token into the kubeconfig Secret and makes the old one
// worthless: tokens are bound to a Secret, and go with it.
func (f *fleet) replace(ctx context.Context, t *target, bound map[string]*corev1.Secret) error {
	admin, err := t.plane.Client(nil)
	if err != nil {
		return err
	}
	anchor := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: t.name + "-"}}
	if err := admin.Create(ctx, anchor); err != nil {
		return err
	}
	account := &corev1.ServiceAccount{ObjectMeta: named("headwater")}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: ptr.To(int64(lifetime.Seconds())),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: anchor.Name, UID: anchor.UID},
	}}
	if err := admin.SubResource("token").Create(ctx, account, request); err != nil {
		return err
	}
	kubeconfig, err := t.proxy.Kubeconfig(request.Status.Token)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: t.named(t.name)}
	if err := f.onHub.Get(ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
		return err
	}
	secret.Data["value"] = kubeconfig
	if err := f.onHub.Update(ctx, secret); err != nil {
		return err
	}
	last := bound[t.name]
	bound[t.name] = anchor
	if last == nil {
		return nil
	}
	return admin.Delete(ctx, last)
}

// forget starts counting anew.
func (f *fleet) forget() {
	f.watch.failed()
	for _, t := range f.targets {
		t.proxy.Reset()
	}
}

func (f *fleet) count() tally {
	n := tally{failures: f.watch.failed()}
	for _, t := range f.targets {
		for _, record := range t.proxy.Records() {
			n.requests++
			switch {
			case record.Status == 401:
				n.denied++
			case record.Verb == "list":
				n.lists++
			case record.Verb == "watch":
				n.watches++
			}
		}
	}
	return n
}

func (f *fleet) tell(duration time.Duration, replaced int, n tally) {
	fmt.Fprintf(f.out, "%s, %d credentials replaced: %d failed reconciles, %d lists, %d watches begun, %d requests refused with 401, of %d\n",
		duration, replaced, len(n.failures), n.lists, n.watches, n.denied, n.requests)
	for _, failure := range n.failures[:min(len(n.failures), 5)] {
		fmt.Fprintln(f.out, "  "+failure)
	}
}
