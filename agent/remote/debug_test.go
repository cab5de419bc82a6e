package remote

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheDebugEndpoint(t *testing.T) {
	f := newFleet(t)
	f.kubeconfig("prod")
	f.Expect(f.hub.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: "dark"},
		StringData: map[string]string{"value": strings.Replace(goodKubeconfig, "6443", "1", 1)},
	})).To(Succeed())
	target := f.open(f.assign("prod", "agent-a", 1))
	defer target.Close()
	_, err := target.Fence(t.Context())
	f.Expect(err).NotTo(HaveOccurred())
	f.assign("dark", "agent-a", 1)
	f.Eventually(func() string { return f.connected("dark") }, "20s").Should(HavePrefix("False TargetUnreachable"))

	answer := httptest.NewRecorder()
	f.clusters.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/targets", http.NoBody))
	var said debugReport
	f.Expect(json.Unmarshal(answer.Body.Bytes(), &said)).To(Succeed())
	said.Targets = slices.DeleteFunc(said.Targets, func(of debugTarget) bool { // of the tests that ran before
		return !strings.HasPrefix(of.Key, f.namespace+"/")
	})
	f.Expect(json.Marshal(said)).To(MatchJSON(`{"agent": "agent-a", "targets": [
		{"key": "` + f.namespace + `/dark/value", "remoteCluster": "` + f.namespace + `/dark",
		 "breaker": "open", "error": "connection refused", "fence": "released", "queued": 0, "running": 0},
		{"key": "` + f.namespace + `/prod/value", "remoteCluster": "` + f.namespace + `/prod",
		 "breaker": "closed", "fence": "held", "queued": 0, "running": 0}
	]}`))
}
