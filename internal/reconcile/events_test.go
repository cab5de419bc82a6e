package reconcile

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// receiver records what is posted to it, and answers with the codes in turn.
func receiver(t *testing.T, codes ...int) (address string, bodies chan map[string]any) {
	t.Helper()
	bodies = make(chan map[string]any, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			t.Errorf("%s with error %v", r.Method, err)
		}
		decoded := map[string]any{}
		if err := json.Unmarshal(body, &decoded); err != nil {
			t.Errorf("body %q: %v", body, err)
		}
		code := http.StatusAccepted
		if len(codes) > 0 {
			code, codes = codes[0], codes[1:]
		}
		w.WriteHeader(code)
		bodies <- decoded
	}))
	t.Cleanup(server.Close)
	return server.URL, bodies
}

func startRecorder(t *testing.T, address string) (*Recorder, *record.FakeRecorder) {
	t.Helper()
	scheme := runtime.NewScheme()
	NewWithT(t).Expect(kustomizev1.AddToScheme(scheme)).To(Succeed())
	kubernetes := record.NewFakeRecorder(10)
	recorder := NewRecorder(kubernetes, scheme, "headwater-agent", address)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- recorder.Start(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return recorder, kubernetes
}

// The fields are those of FLUX.md §2.5, so that Flux's notification-controller
// can receive them.
func TestEventsArePosted(t *testing.T) {
	g := NewWithT(t)
	address, bodies := receiver(t)
	recorder, kubernetes := startRecorder(t, address)
	obj := kustomization()
	obj.UID = "7"
	obj.Annotations["event.toolkit.fluxcd.io/env"] = "prod"

	recorder.Publish(t.Context(), obj, Event{
		Severity: "error", Reason: "BuildFailed", Message: "https://me:hunter2@git.example is gone",
		Metadata: map[string]string{"kustomize.toolkit.fluxcd.io/revision": "main@sha1:1"},
	})

	var body map[string]any
	g.Eventually(bodies).Should(Receive(&body))
	g.Expect(body).To(HaveKeyWithValue("involvedObject", SatisfyAll(
		HaveKeyWithValue("kind", "Kustomization"),
		HaveKeyWithValue("apiVersion", "kustomize.toolkit.fluxcd.io/v1"),
		HaveKeyWithValue("namespace", "apps"), HaveKeyWithValue("name", "web"), HaveKeyWithValue("uid", "7"))))
	g.Expect(body).To(HaveKeyWithValue("severity", "error"))
	g.Expect(body).To(HaveKeyWithValue("reason", "BuildFailed"))
	g.Expect(body).To(HaveKeyWithValue("message", "https://*****@git.example is gone"))
	g.Expect(body).To(HaveKeyWithValue("reportingController", "headwater-agent"))
	g.Expect(body).To(HaveKeyWithValue("timestamp", MatchRegexp(`^\d{4}-\d\d-\d\dT`)))
	g.Expect(body).To(HaveKeyWithValue("metadata", Equal(map[string]any{
		"event.toolkit.fluxcd.io/env": "prod", "kustomize.toolkit.fluxcd.io/revision": "main@sha1:1"})))
	g.Expect(kubernetes.Events).To(Receive(Equal("Warning BuildFailed https://*****@git.example is gone map[kustomize.toolkit.fluxcd.io/revision:main@sha1:1]")))
}

func TestPostsAreRetriedOnServerErrorsAlone(t *testing.T) {
	g := NewWithT(t)
	address, bodies := receiver(t, http.StatusBadGateway, http.StatusAccepted, http.StatusTooManyRequests, http.StatusBadRequest)
	recorder, _ := startRecorder(t, address)
	for _, reason := range []string{"First", "Second", "Third", "Fourth"} {
		recorder.Publish(t.Context(), kustomization(), Event{Severity: "info", Reason: reason})
	}
	var reasons []any
	for range 5 {
		var body map[string]any
		g.Eventually(bodies, "5s").Should(Receive(&body))
		reasons = append(reasons, body["reason"])
	}
	g.Expect(reasons).To(Equal([]any{"First", "First", "Second", "Third", "Fourth"}))
}

func TestTraceEventsAreNotPosted(t *testing.T) {
	g := NewWithT(t)
	address, bodies := receiver(t)
	recorder, kubernetes := startRecorder(t, address)
	recorder.Publish(t.Context(), kustomization(), Event{Severity: "trace", Reason: "Progressing", Message: "a"})
	recorder.Publish(t.Context(), kustomization(), Event{Severity: "info", Reason: "Done", Message: "b"})
	var body map[string]any
	g.Eventually(bodies).Should(Receive(&body))
	g.Expect(body).To(HaveKeyWithValue("reason", "Done"))
	g.Expect(kubernetes.Events).To(Receive(HavePrefix("Normal Progressing a")))
}
