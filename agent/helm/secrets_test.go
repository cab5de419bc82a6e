package helm

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/action"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// quoting is a policy of the target that repeats the Secrets that it denies.
const quoting = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NS}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE, DELETE], resources: [secrets]}]
  matchConditions: [{name: passwords, expression: "'password' in (object == null ? oldObject : object).data"}]
  validations:
  - expression: "object == null || object.data.password != 'aHVudGVyMg=='"
    messageExpression: "'too weak: ' + object.data.password"
  - expression: "object == null || object.data.password != 'aHVudGVyMw=='"
    reason: Forbidden
    messageExpression: "'too weak: ' + object.data.password"
  - expression: "object != null || oldObject.data.password != 'aHVudGVyNA=='"
    messageExpression: "'too good to lose: ' + oldObject.data.password"
`

const quotingBinding = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NS}
spec: {policyName: NS, validationActions: [Deny]}
`

// quote puts the policy in force, which the server does some time after it has it.
func (e *env) quote() {
	e.t.Helper()
	for _, text := range []string{quoting, quotingBinding} {
		made := e.create(text)
		e.t.Cleanup(func() { _ = e.hub.Delete(context.WithoutCancel(e.t.Context()), made) })
	}
	probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "probe"}, StringData: map[string]string{"password": "hunter2"}}
	e.Eventually(func() error { return e.hub.Create(e.t.Context(), probe.DeepCopy(), client.DryRunAll) }, "2m", "50ms").
		Should(MatchError(ContainSubstring("too weak: aHVudGVyMg==")))
}

// locked is a chart of a Secret and a ConfigMap.
func locked(password string) files {
	return appChart("1.0.0", files{"templates/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}-lock}\nstringData: {password: " + password + "}\n"})
}

func TestWhatTheServerQuotesOfASecretIsNotRepeated(t *testing.T) {
	shown := Or(ContainSubstring("hunter"), ContainSubstring("aHVudGVy"))
	free := func(context.Context) error { return nil }
	const hook = "apiVersion: v1\nkind: Secret\nmetadata: {name: hook, annotations: {helm.sh/hook: pre-install}}\nstringData: {password: hunter2}\n"
	for name, c := range map[string]struct {
		before, chart files
		force         bool
		act           func(*action.Session) error
		want          string
	}{
		"a Secret that is denied": {nil, locked("hunter2"), false, (*action.Session).Install, `Secret/NS/web-lock create failed (Invalid): secrets "web-lock" is forbidden: ValidatingAdmissionPolicy 'NS' with binding 'NS' denied request; why is not shown, it may quote the data`},
		"with another reason":     {nil, locked("hunter3"), false, (*action.Session).Install, `Secret/NS/web-lock create failed (Forbidden): secrets "web-lock" is forbidden: ValidatingAdmissionPolicy 'NS' with binding 'NS' denied request; why is not shown, it may quote the data`},
		"a Secret that is none":   {nil, locked("[hunter2]"), false, (*action.Session).Install, "Secret/NS/web-lock create failed (BadRequest): the server's message is not shown, it may quote the data"},
		"a hook":                  {nil, appChart("1.0.0", files{"templates/hook.yaml": hook}), false, (*action.Session).Install, `Secret/NS/hook create failed (Invalid): secrets "hook" is forbidden: ValidatingAdmissionPolicy 'NS' with binding 'NS' denied request; why is not shown, it may quote the data`},
		"an upgrade":              {locked("hunter1"), locked("hunter2"), false, (*action.Session).Upgrade, `Secret/NS/web-lock patch failed (Invalid): secrets "web-lock" is forbidden: ValidatingAdmissionPolicy 'NS' with binding 'NS' denied request; why is not shown, it may quote the data`},
		"a replacement":           {locked("hunter1"), locked("hunter2"), true, (*action.Session).Upgrade, `Secret/NS/web-lock update failed (Invalid): secrets "web-lock" is forbidden: ValidatingAdmissionPolicy 'NS' with binding 'NS' denied request; why is not shown, it may quote the data`},
		"an uninstall":            {locked("hunter4"), locked("hunter4"), false, (*action.Session).Uninstall, "failed to delete release: web"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.quote()
			force := func(order *action.Order) { order.Object.Spec.Upgrade = &helmv2.Upgrade{Force: c.force} }
			if c.before != nil {
				e.Expect(e.session(free, c.before, force).Install()).To(Succeed())
			}
			session := e.session(free, c.chart, force)
			err := c.act(session)
			e.Expect(err).To(HaveOccurred())
			e.Expect(strings.ReplaceAll(err.Error(), e.namespace, "NS")).To(ContainSubstring(c.want))
			e.Expect(err.Error()).NotTo(shown)
			e.Expect(session.Log()).NotTo(ContainElement(shown))
		})
	}
}

func TestNothingOfASecretIsInConditionsOrEvents(t *testing.T) {
	e := newEnv(t)
	e.quote()
	e.release("web", func(obj *helmv2.HelmRelease) {
		obj.Spec.Install = &helmv2.Install{Remediation: &helmv2.InstallRemediation{Retries: 1}}
	})
	e.start()
	e.push("web", locked("hunter2"))
	e.becomes("web", "False RetriesExceeded: ")
	e.Expect(e.ready("web")).To(ContainSubstring("Secret/NS/web-lock create failed (Invalid)"))
	e.Expect(e.published("InstallFailed")).NotTo(ContainSubstring("aHVudGVy"))
	e.Expect(e.published("RetriesExceeded")).NotTo(ContainSubstring("aHVudGVy"))
	status, err := json.Marshal(e.get("web").Status)
	e.Expect(err).NotTo(HaveOccurred())
	e.Expect(string(status)).NotTo(ContainSubstring("aHVudGVy"))
}
