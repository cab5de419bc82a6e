package kustomize

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/headwater-dev/headwater/api/kustomize/v1"
)

// unsteady is the way to an API server that fails each question, told apart by
// its object and whether it is meant, in all ways in turn before it answers.
type unsteady struct {
	mu    sync.Mutex
	asked map[string]int
	// failed counts the failures.
	failed int
}

var thing = schema.GroupResource{Resource: "things"}

// failures are what is answered, by turns; nil is a connection that is reset
// before the request has got to the server, and the number after them the one
// that is reset when it has.
var failures = []*apierrors.StatusError{
	apierrors.NewConflict(thing, "x", errors.New("try again")),
	apierrors.NewInvalid(schema.GroupKind{Kind: "Thing"}, "x", nil),
	apierrors.NewTooManyRequests("slow down", 0),
	apierrors.NewInternalError(errors.New("etcd is away")),
	nil,
}

// onward is one connection that goes that way.
type onward struct {
	*unsteady
	next http.RoundTripper
}

func (u onward) RoundTrip(request *http.Request) (*http.Response, error) {
	u.mu.Lock()
	key := request.Method + request.URL.Path + request.URL.Query().Get("dryRun")
	turn := u.asked[key]
	u.asked[key]++
	if turn <= len(failures) {
		u.failed++
	}
	u.mu.Unlock()
	switch {
	case turn < len(failures) && failures[turn] != nil:
		return answer(request, failures[turn].Status())
	case turn < len(failures):
		return nil, syscall.ECONNRESET
	}
	response, err := u.next.RoundTrip(request)
	if err == nil && turn == len(failures) {
		_ = response.Body.Close()
		return nil, syscall.ECONNRESET
	}
	return response, err
}

func answer(request *http.Request, status metav1.Status) (*http.Response, error) {
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	body, err := json.Marshal(status)
	return &http.Response{
		StatusCode: int(status.Code), Request: request, ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(strings.NewReader(string(body))),
	}, err
}

// whimsical puts an unsteady way between the agent and its targets.
func (e *env) whimsical() *unsteady {
	e.t.Helper()
	way := &unsteady{asked: map[string]int{}}
	e.wrap = func(next client.Client) client.Client {
		config := rest.CopyConfig(shared.ControlPlane(e.t).Config())
		config.Wrap(func(inner http.RoundTripper) http.RoundTripper { return onward{way, inner} })
		made, err := client.New(config, client.Options{Scheme: next.Scheme(), Mapper: next.RESTMapper()})
		if err != nil {
			panic(err)
		}
		return made
	}
	return way
}

func TestAServerThatFailsInAllWaysIsOutlasted(t *testing.T) {
	e := newEnv(t)
	way := e.whimsical()
	e.push("1", "one.yaml", configMap("one", "NS", "a"), "two.yaml", configMap("two", "NS", "a"), "web.yaml", deployment)
	e.kustomization("web", func(obj *kustomizev1.Kustomization) {
		obj.Spec.RetryInterval, obj.Spec.Force = duration(50*time.Millisecond), true
	})
	e.start()
	e.Eventually(func() string { return e.ready("web") }, within, "50ms").Should(HavePrefix("True ReconciliationSucceeded: Applied revision: main@sha1:1"))
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap", "NS_two__ConfigMap", "NS_web_apps_Deployment"}))
	e.Expect(e.object("apps/v1", "Deployment", "web").GetGeneration()).To(Equal(int64(1)), "it was made once and not changed")
	made := e.object("v1", "ConfigMap", "one")

	e.push("2", "one.yaml", configMap("one", "NS", "b"))
	e.Eventually(func() string { return e.ready("web") }, within, "50ms").Should(HavePrefix("True ReconciliationSucceeded: Applied revision: main@sha1:2"))
	e.Expect(e.inventory()).To(Equal([]string{"NS_one__ConfigMap"}))
	e.Expect(e.value()).To(Equal("b"))
	e.Expect(e.object("v1", "ConfigMap", "one").GetUID()).To(Equal(made.GetUID()))
	e.Expect(e.object("v1", "ConfigMap", "two")).To(BeNil())
	e.Expect(e.object("apps/v1", "Deployment", "web")).To(BeNil())
	way.mu.Lock()
	defer way.mu.Unlock()
	e.Expect(way.failed).To(BeNumerically(">", 30))
}

// denial is a policy of the target for the namespace of the test.
const denial = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NS}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
  validations: [{expression: "object.data.value != 'bad'", message: this value is not liked here}]
`

const denialBinding = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NS}
spec: {policyName: NS, validationActions: [Deny]}
`

func TestWhatAdmissionDeniesIsNamed(t *testing.T) {
	e := newEnv(t)
	e.policy(denial, denialBinding, func() bool {
		return e.hub.Create(t.Context(), parsed(e, configMap("probe", "NS", "bad")), client.DryRunAll) != nil
	})
	e.push("1", "one.yaml", configMap("one", "NS", "bad"), "two.yaml", configMap("two", "NS", "good"))
	e.kustomization("web")
	e.start()
	e.becomes("web", "False ReconciliationFailed: ConfigMap/NS/one dry-run failed (Invalid): ")
	e.Expect(e.ready("web")).To(ContainSubstring("this value is not liked here"))
	e.Expect(e.object("v1", "ConfigMap", "two")).To(BeNil(), "one that is denied stops its stage")
	e.push("2", "one.yaml", configMap("one", "NS", "good"), "two.yaml", configMap("two", "NS", "good"))
	e.becomes("web", "True")
}

// policy puts a policy in force, which the server does some time after it has it.
func (e *env) policy(policy, binding string, inForce func() bool) {
	e.t.Helper()
	for _, text := range []string{policy, binding} {
		made := parsed(e, text)
		e.Expect(e.hub.Create(e.t.Context(), made)).To(Succeed())
		e.t.Cleanup(func() { _ = e.hub.Delete(context.WithoutCancel(e.t.Context()), made) })
	}
	e.Eventually(inForce, "30s", "50ms").Should(BeTrue())
}

// rewriting is a policy that has a mind of its own about what we apply.
const rewriting = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: NS}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: "[JSONPatch{op: 'add', path: '/data', value: {'value': 'rewritten'}}]"}
`

const rewritingBinding = `apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: NS}
spec: {policyName: NS}
`

func TestAPolicyThatRewritesCausesNoLoop(t *testing.T) {
	e := newEnv(t)
	e.policy(rewriting, rewritingBinding, func() bool {
		probe := parsed(e, configMap("probe", "NS", "a"))
		e.Expect(e.hub.Create(t.Context(), probe, client.DryRunAll)).To(Succeed())
		return reflect.DeepEqual(probe.Object["data"], map[string]any{"value": "rewritten"})
	})
	var all, applies atomic.Int32
	e.wrap = func(next client.Client) client.Client { return &asked{next, &all, &applies} }
	e.push("1", "one.yaml", configMap("one", "NS", "a"))
	e.kustomization("web")
	// An agent that has just started asks the server about everything.
	for _, request := range []string{"first", "second", "third", "fourth"} {
		stop := e.start()
		e.request("web", request)
		e.becomes("web", "True")
		stop()
	}
	// One that stays is not woken by what the policy makes of its writes.
	e.start()
	e.request("web", "fifth")
	written := applies.Load()
	e.Expect(written).To(BeNumerically("<=", 2), "it is the policy that decides, and writing again changes nothing")
	e.push("2", "one.yaml", configMap("one", "NS", "b"))
	e.becomes("web", "True ReconciliationSucceeded: Applied revision: main@sha1:2")
	e.Expect(applies.Load()).To(BeNumerically(">", written))
	e.settled()
	before := all.Load()
	e.Consistently(all.Load, "1s", "50ms").Should(Equal(before))
	e.Expect(e.value()).To(Equal("rewritten"))
}
