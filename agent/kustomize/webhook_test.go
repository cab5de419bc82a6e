package kustomize

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// judge is a real admission webhook, which answers as it is told: nothing, no
// with a code, or not at all.
type judge struct {
	code   atomic.Int32
	silent atomic.Bool
	asked  atomic.Int32
	// ended lets go of those who are still asking.
	ended chan struct{}
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	j.asked.Add(1)
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if j.silent.Load() {
		select {
		case <-r.Context().Done():
		case <-j.ended:
		}
		return
	}
	code := j.code.Load()
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: code == 0}
	if code != 0 {
		review.Response.Result = &metav1.Status{Code: code, Message: "this value is not liked here"}
		if code == http.StatusUnprocessableEntity {
			review.Response.Result.Reason = metav1.StatusReasonInvalid
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// judged puts a webhook in force for the ConfigMaps of the test's namespace.
func (e *env) judged() *judge {
	e.t.Helper()
	j := &judge{ended: make(chan struct{})}
	server := httptest.NewTLSServer(j)
	e.t.Cleanup(func() {
		close(j.ended)
		server.Close()
	})
	made := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: e.namespace},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "judge.headwater.dev",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: ptr.To(server.URL), CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: e.namespace}},
			FailurePolicy:           ptr.To(admissionregistrationv1.Fail),
			SideEffects:             ptr.To(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds:          ptr.To(int32(1)),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	e.Expect(e.hub.Create(e.t.Context(), made)).To(Succeed())
	e.t.Cleanup(func() { _ = e.hub.Delete(context.WithoutCancel(e.t.Context()), made) })
	e.Eventually(func() int32 {
		_ = e.hub.Create(e.t.Context(), parsed(e, configMap("probe", "NS", "a")))
		_ = e.hub.Delete(e.t.Context(), parsed(e, configMap("probe", "NS", "a")))
		return j.asked.Load()
	}, "30s", "50ms").Should(BeNumerically(">", 0), "the server asks some time after it has it")
	return j
}

func TestWebhooksThatDenyAndThatDoNotAnswer(t *testing.T) {
	e := newEnv(t)
	hook := e.judged()
	e.push("1", "web/one.yaml", configMap("one", "NS", "a"), "web/account.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: NS}\n",
		"other/account.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: other, namespace: NS}\n")
	at := func(path string) func(*kustomizev1.Kustomization) {
		return func(obj *kustomizev1.Kustomization) { obj.Spec.Path, obj.Spec.Force = path, true }
	}
	e.kustomization("web", at("web"))
	e.start()
	e.becomes("web", "True")
	made := e.object("v1", "ConfigMap", "one").GetUID()

	for code, reason := range map[int32]string{http.StatusForbidden: "code 403", http.StatusUnprocessableEntity: "Invalid"} {
		hook.code.Store(code)
		e.push("2", "web/one.yaml", configMap("one", "NS", "b"), "web/late.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: late, namespace: NS}\n",
			"other/account.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: other, namespace: NS}\n")
		e.becomes("web", "False ReconciliationFailed: ConfigMap/NS/one dry-run failed ("+reason+`): admission webhook "judge.headwater.dev" denied the request: this value is not liked here`)
	}
	hook.silent.Store(true)
	e.becomes("web", "False ReconciliationFailed: ConfigMap/NS/one dry-run failed (InternalError): ")
	e.Expect(e.ready("web")).To(ContainSubstring(`failed calling webhook "judge.headwater.dev"`))
	e.Expect(e.object("v1", "ServiceAccount", "late")).To(BeNil(), "one that is denied stops its stage")
	e.Expect(e.object("v1", "ConfigMap", "one").GetUID()).To(Equal(made), "with force as well")
	e.kustomization("other", at("other"))
	e.becomes("other", "True")

	hook.silent.Store(false)
	hook.code.Store(0)
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(e.value()).To(Equal("b"))
	e.Expect(e.object("v1", "ConfigMap", "one").GetUID()).To(Equal(made))
}
