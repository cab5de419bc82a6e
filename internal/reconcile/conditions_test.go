package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
	"github.com/headwater-dev/headwater/api/meta"
)

func kustomization() *kustomizev1.Kustomization {
	return &kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "apps", Name: "web", Generation: 3,
			Annotations: map[string]string{"reconcile.fluxcd.io/requestedAt": "now"},
		},
		Spec: kustomizev1.KustomizationSpec{
			Interval:      metav1.Duration{Duration: 10 * time.Minute},
			RetryInterval: &metav1.Duration{Duration: time.Minute},
		},
	}
}

func TestFinish(t *testing.T) {
	cases := []struct {
		name string
		err  error
		// want of the conditions: "Type=Status Reason", in this order
		conditions []string
		observed   int64
		requested  string
		after      time.Duration
	}{
		{
			name:       "success",
			conditions: []string{"Ready=True Done"},
			observed:   3, requested: "now", after: 10 * time.Minute,
		},
		{
			name:       "progress",
			err:        Wait("Progressing", "waiting for a Deployment", 2*time.Second),
			conditions: []string{"Ready=Unknown Progressing", "Reconciling=True Progressing"},
			requested:  "now", after: 2 * time.Second,
		},
		{
			name:       "unmet dependency",
			err:        Wait("DependencyNotReady", "apps/base is not ready", 30*time.Second),
			conditions: []string{"Ready=False DependencyNotReady", "Reconciling=True Progressing"},
			requested:  "now", after: 30 * time.Second,
		},
		{
			name:       "failure with a reason, wrapped",
			err:        fmt.Errorf("in stage 1: %w", Fail("BuildFailed", errors.New("no such file"))),
			conditions: []string{"Ready=False BuildFailed", "Reconciling=True ProgressingWithRetry"},
			requested:  "now", after: time.Minute,
		},
		{
			name:       "bare error",
			err:        errors.New("connection reset"),
			conditions: []string{"Ready=False Failed", "Reconciling=True ProgressingWithRetry"},
			requested:  "now", after: time.Minute,
		},
		{
			name:       "stall",
			err:        Unsupported("spec.force"),
			conditions: []string{"Ready=False UnsupportedField", "Stalled=True UnsupportedField"},
			observed:   3, requested: "now",
		},
		{
			name:       "another's",
			err:        fmt.Errorf("apply: %w", ErrNotOwner),
			conditions: []string{"Stalled=True Old"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			obj := kustomization()
			obj.Status.Conditions = []metav1.Condition{{Type: "Stalled", Status: "True", Reason: "Old"}}

			next := finish(obj, c.err, func() (string, string) { return "Done", "Applied revision: x" })

			var got []string
			for _, kind := range []string{"Ready", "Reconciling", "Stalled"} {
				if condition := apimeta.FindStatusCondition(obj.Status.Conditions, kind); condition != nil {
					got = append(got, fmt.Sprintf("%s=%s %s", kind, condition.Status, condition.Reason))
				}
			}
			g.Expect(got).To(Equal(c.conditions))
			g.Expect(obj.Status.ObservedGeneration).To(Equal(c.observed))
			g.Expect(obj.Status.LastHandledReconcileAt).To(Equal(c.requested))
			g.Expect(next.after).To(Equal(c.after))
		})
	}
}

func TestFailKeepsAnEarlierOutcome(t *testing.T) {
	g := NewWithT(t)
	stalled := Stall("AccessDenied", errors.New("no"))
	g.Expect(Fail("BuildFailed", stalled)).To(BeIdenticalTo(stalled))
	g.Expect(Fail("BuildFailed", nil)).To(Succeed())
	g.Expect(errors.Is(Fail("BuildFailed", ErrNotOwner), ErrNotOwner)).To(BeTrue())
}

func TestMessagesAreRedactedAndBounded(t *testing.T) {
	g := NewWithT(t)
	obj := kustomization()
	finish(obj, errors.New("clone https://me:hunter2@git.example/x: "+strings.Repeat("ä", 40000)), nil)
	ready := apimeta.FindStatusCondition(obj.Status.Conditions, "Ready")
	g.Expect(ready.Message).NotTo(ContainSubstring("hunter2"))
	g.Expect(len(ready.Message)).To(BeNumerically("<=", 32768))
	g.Expect(ready.Message).To(HaveSuffix("..."))
}

func TestRedact(t *testing.T) {
	cases := map[string]string{
		"get https://user:pa$$@host/x failed":                                     "get https://*****@host/x failed",
		"Authorization: Bearer abcdefgh12345678":                                  "Authorization: Bearer *****",
		"GET /x?token=abc&y=1":                                                    "GET /x?token=*****&y=1",
		"jwt eyJhbGciOiJSUzI1.eyJzdWIiOiJzeXN0.c2lnbmF0dXJl":                      "jwt *****",
		"-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- end": "-----BEGIN RSA PRIVATE KEY-----***** end",
		"nothing to hide: https://host/path?x=1":                                  "nothing to hide: https://host/path?x=1",
	}
	for text, want := range cases {
		if got := Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestUnsupportedFields(t *testing.T) {
	supported := []string{"interval", "retryInterval", "prune", "sourceRef", "kubeConfig.secretRef", "force=false"}
	cases := []struct {
		name   string
		change func(*kustomizev1.KustomizationSpec)
		want   string
	}{
		{name: "nothing set", change: func(*kustomizev1.KustomizationSpec) {}},
		{name: "supported branch", change: func(s *kustomizev1.KustomizationSpec) {
			s.KubeConfig = &meta.KubeConfigReference{SecretRef: &meta.SecretKeyReference{Name: "prod"}}
		}},
		{name: "other branch", want: "spec.kubeConfig.configMapRef is set", change: func(s *kustomizev1.KustomizationSpec) {
			s.KubeConfig = &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "prod"}}
		}},
		{name: "another value", want: "spec.force is set", change: func(s *kustomizev1.KustomizationSpec) { s.Force = true }},
		{name: "a list", want: "spec.components is set", change: func(s *kustomizev1.KustomizationSpec) { s.Components = []string{"a"} }},
		{name: "an empty list", change: func(s *kustomizev1.KustomizationSpec) { s.Components = []string{} }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			obj := kustomization()
			c.change(&obj.Spec)
			err := UnsupportedFields(obj, supported...)
			if c.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			var s *stall
			g.Expect(errors.As(err, &s)).To(BeTrue())
		})
	}
}

func TestOneLineIsShortAndText(t *testing.T) {
	g := NewWithT(t)
	g.Expect(OneLine(errors.New("a\n  b\tc \xff"))).To(Equal("a b c ?"))
	g.Expect(OneLine(errors.New(strings.Repeat("x", 299) + "é" + "more"))).To(Equal(strings.Repeat("x", 299) + "..."))
}
