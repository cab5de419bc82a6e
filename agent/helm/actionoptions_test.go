package helm

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/agent/helm/action"
	helmv2 "github.com/headwater-dev/headwater/api/helm/v2"
)

// soon is a time limit for what never comes.
var soon = &metav1.Duration{Duration: time.Second}

// doing is an action on the release web by a HelmRelease with that spec.
func (e *env) doing(all files, spec helmv2.HelmReleaseSpec) *action.Session {
	e.t.Helper()
	free := func(context.Context) error { return nil }
	return e.session(free, all, func(order *action.Order) { order.Object.Spec = spec })
}

// stands says whether there is a ConfigMap of that name.
func (e *env) stands(name string) bool {
	e.t.Helper()
	err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: name}, &corev1.ConfigMap{})
	e.Expect(client.IgnoreNotFound(err)).To(Succeed())
	return err == nil
}

// chartWith is the chart with a template more.
func chartWith(path, content string) files {
	return appChart("1.0.0", files{"templates/" + path: content})
}

func plainMap(name string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"
}

// hooked is a ConfigMap that is made by a hook, and stays.
func hooked(event string) files {
	return chartWith("hook.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hook, annotations: {helm.sh/hook: "+event+"}}\n")
}

const (
	// refused is no name, so that the API server refuses the object.
	refused = "z_refused"
	// picky is a schema that the default values do not fit.
	picky = `{"properties": {"value": {"type": "number"}}}`
	// endless is a Job that nobody runs.
	endless = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: endless}\n" +
		"spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}\n"
	// held is a ConfigMap that does not go away by itself.
	held = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/held]}\n"
)

// free lets the ConfigMap go whatever holds it.
func (e *env) free(name string) {
	e.t.Helper()
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: name}}
	e.Expect(e.hub.Patch(e.t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
}

// Each option of an action does what it says, and is not there without.
func TestOptionsOfActions(t *testing.T) {
	plain := appChart("1.0.0", nil)
	for name, do := range map[string]func(e *env){
		"install.disableHooks": func(e *env) {
			e.Expect(e.doing(hooked("pre-install"), helmv2.HelmReleaseSpec{Install: &helmv2.Install{DisableHooks: true}}).Install()).To(Succeed())
			e.Expect(e.stands("hook")).To(BeFalse())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Uninstall()).To(Succeed())
			e.Expect(e.doing(hooked("pre-install"), helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.stands("hook")).To(BeTrue())
		},
		"upgrade.disableHooks": func(e *env) {
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(hooked("pre-upgrade"), helmv2.HelmReleaseSpec{Upgrade: &helmv2.Upgrade{DisableHooks: true}}).Upgrade()).To(Succeed())
			e.Expect(e.stands("hook")).To(BeFalse())
			e.Expect(e.doing(hooked("pre-upgrade"), helmv2.HelmReleaseSpec{}).Upgrade()).To(Succeed())
			e.Expect(e.stands("hook")).To(BeTrue())
		},
		"rollback.disableHooks": func(e *env) {
			e.Expect(e.doing(hooked("pre-rollback"), helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Upgrade()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Rollback: &helmv2.Rollback{DisableHooks: true}}).Rollback(1)).To(Succeed())
			e.Expect(e.stands("hook")).To(BeFalse())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Rollback(1)).To(Succeed())
			e.Expect(e.stands("hook")).To(BeTrue())
		},
		"uninstall.disableHooks": func(e *env) {
			e.Expect(e.doing(hooked("pre-delete"), helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Uninstall: &helmv2.Uninstall{DisableHooks: true}}).Uninstall()).To(Succeed())
			e.Expect(e.stands("hook")).To(BeFalse())
			e.Expect(e.doing(hooked("pre-delete"), helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Uninstall()).To(Succeed())
			e.Expect(e.stands("hook")).To(BeTrue())
		},
		"install.disableTakeOwnership": func(e *env) {
			e.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: NS, name: web}\n")
			err := e.doing(plain, helmv2.HelmReleaseSpec{Install: &helmv2.Install{DisableTakeOwnership: true}}).Install()
			e.Expect(err).To(MatchError(ContainSubstring("invalid ownership metadata")))
			e.Expect(e.value("web")).To(BeEmpty())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Install: &helmv2.Install{Replace: true}}).Install()).To(Succeed())
			e.Expect(e.value("web")).To(Equal("default"))
		},
		"upgrade.disableTakeOwnership": func(e *env) {
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: NS, name: other}\n")
			other := chartWith("other.yaml", plainMap("other")+"data: {value: ours}\n")
			err := e.doing(other, helmv2.HelmReleaseSpec{Upgrade: &helmv2.Upgrade{DisableTakeOwnership: true}}).Upgrade()
			e.Expect(err).To(MatchError(ContainSubstring("invalid ownership metadata")))
			e.Expect(e.value("other")).To(BeEmpty())
			e.Expect(e.doing(other, helmv2.HelmReleaseSpec{}).Upgrade()).To(Succeed())
			e.Expect(e.value("other")).To(Equal("ours"))
		},
		"disableSchemaValidation": func(e *env) {
			strict := appChart("1.0.0", files{"values.schema.json": picky})
			e.Expect(e.doing(strict, helmv2.HelmReleaseSpec{}).Install()).To(MatchError(ContainSubstring("value")))
			e.Expect(e.doing(strict, helmv2.HelmReleaseSpec{Install: &helmv2.Install{DisableSchemaValidation: true}}).Install()).To(Succeed())
			e.Expect(e.doing(strict, helmv2.HelmReleaseSpec{}).Upgrade()).To(MatchError(ContainSubstring("value")))
			e.Expect(e.doing(strict, helmv2.HelmReleaseSpec{Upgrade: &helmv2.Upgrade{DisableSchemaValidation: true}}).Upgrade()).To(Succeed())
		},
		"install.replace": func(e *env) {
			e.Expect(e.doing(chartWith("bad.yaml", plainMap(refused)), helmv2.HelmReleaseSpec{}).Install()).NotTo(Succeed())
			e.Expect(e.records("web")).To(Equal([]string{"v1 failed"}))
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(MatchError(ContainSubstring("cannot re-use a name")))
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Install: &helmv2.Install{Replace: true}}).Install()).To(Succeed())
			e.Expect(e.value("web")).To(Equal("default"))
		},
		"upgrade.cleanupOnFail": func(e *env) {
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			half := chartWith("more.yaml", plainMap("fresh")+"---\n"+plainMap(refused))
			e.Expect(e.doing(half, helmv2.HelmReleaseSpec{}).Upgrade()).NotTo(Succeed())
			e.Expect(e.stands("fresh")).To(BeTrue())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Rollback(1)).To(Succeed())
			e.Expect(e.stands("fresh")).To(BeFalse())
			e.Expect(e.doing(half, helmv2.HelmReleaseSpec{Upgrade: &helmv2.Upgrade{CleanupOnFail: true}}).Upgrade()).NotTo(Succeed())
			e.Expect(e.stands("fresh")).To(BeFalse())
		},
		"rollback.cleanupOnFail": func(e *env) {
			two := chartWith("two.yaml", plainMap("fresh")+"---\n"+plainMap("locked")+"data: {value: ours}\n")
			e.Expect(e.doing(two, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Upgrade()).To(Succeed())
			e.create("apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: NS, name: locked}\ndata: {value: theirs}\nimmutable: true\n")
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Rollback: &helmv2.Rollback{CleanupOnFail: true}}).Rollback(1)).NotTo(Succeed())
			e.Expect(e.stands("fresh")).To(BeFalse())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Rollback(1)).NotTo(Succeed())
			e.Expect(e.stands("fresh")).To(BeTrue())
		},
		"rollback.force": func(e *env) {
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(appChart("1.1.0", files{"values.yaml": "value: new"}), helmv2.HelmReleaseSpec{}).Upgrade()).To(Succeed())
			label := func() string {
				var found corev1.ConfigMap
				e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, &found)).To(Succeed())
				return found.Labels["theirs"]
			}
			obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: e.namespace, Name: "web"}}
			e.Expect(e.hub.Patch(e.t.Context(), obj, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"theirs":"yes"}}}`)))).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Rollback(1)).To(Succeed())
			e.Expect(label()).To(Equal("yes"), "a patch leaves it")
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Rollback: &helmv2.Rollback{Force: true}}).Rollback(2)).To(Succeed())
			e.Expect(label()).To(BeEmpty(), "put whole")
		},
		"disableWaitForJobs": func(e *env) {
			job := chartWith("job.yaml", endless)
			e.Expect(e.doing(job, helmv2.HelmReleaseSpec{Install: &helmv2.Install{Timeout: soon}}).Install()).To(MatchError(ContainSubstring("timeout")))
			e.Expect(e.doing(job, helmv2.HelmReleaseSpec{Install: &helmv2.Install{Timeout: soon, DisableWaitForJobs: true, Replace: true}}).Install()).To(Succeed())
			e.Expect(e.doing(job, helmv2.HelmReleaseSpec{Upgrade: &helmv2.Upgrade{Timeout: soon}}).Upgrade()).To(MatchError(ContainSubstring("timeout")))
			e.Expect(e.doing(job, helmv2.HelmReleaseSpec{Upgrade: &helmv2.Upgrade{Timeout: soon, DisableWaitForJobs: true}}).Upgrade()).To(Succeed())
			e.Expect(e.doing(job, helmv2.HelmReleaseSpec{Rollback: &helmv2.Rollback{Timeout: soon}}).Rollback(1)).To(MatchError(ContainSubstring("timeout")))
			e.Expect(e.doing(job, helmv2.HelmReleaseSpec{Rollback: &helmv2.Rollback{Timeout: soon, DisableWaitForJobs: true}}).Rollback(1)).To(Succeed())
		},
		"uninstall.timeout and disableWait": func(e *env) {
			e.Expect(e.doing(chartWith("held.yaml", held), helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Uninstall: &helmv2.Uninstall{Timeout: soon, DisableWait: true}}).Uninstall()).To(Succeed())
			e.Expect(e.stands("held")).To(BeTrue())
			e.free("held")
			e.Expect(e.doing(chartWith("held.yaml", held), helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Uninstall: &helmv2.Uninstall{Timeout: soon}}).Uninstall()).To(MatchError(ContainSubstring("timeout of 1s")))
			e.free("held")
		},
		"uninstall.deletionPropagation": func(e *env) {
			for propagation, want := range map[string]string{"orphan": "orphan", "foreground": "foregroundDeletion"} {
				e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
				options := &helmv2.Uninstall{DisableWait: true, DeletionPropagation: ptr.To(propagation)}
				e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Uninstall: options}).Uninstall()).To(Succeed())
				var found corev1.ConfigMap
				e.Expect(e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, &found)).To(Succeed())
				e.Expect(found.Finalizers).To(Equal([]string{want}), "for the garbage collector, which is not here")
				e.free("web")
			}
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Uninstall()).To(Succeed())
			err := e.hub.Get(e.t.Context(), client.ObjectKey{Namespace: e.namespace, Name: "web"}, &corev1.ConfigMap{})
			e.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "in the background")
		},
		"test.timeout": func(e *env) {
			pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: probe, annotations: {helm.sh/hook: test}}\nspec: {restartPolicy: Never, containers: [{name: a, image: a}]}\n"
			e.Expect(e.doing(chartWith("test.yaml", pod), helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{Test: &helmv2.Test{Timeout: soon}}).Test()).To(MatchError(ContainSubstring("timeout of 1s")))
		},
		"maxHistory": func(e *env) {
			e.Expect(e.doing(plain, helmv2.HelmReleaseSpec{}).Install()).To(Succeed())
			few := helmv2.HelmReleaseSpec{MaxHistory: ptr.To(2)}
			for range 3 {
				e.Expect(e.doing(plain, few).Upgrade()).To(Succeed())
			}
			e.Expect(e.records("web")).To(Equal([]string{"v4 deployed", "v3 superseded"}))
			e.Expect(e.doing(plain, few).Rollback(3)).To(Succeed())
			e.Expect(e.records("web")).To(Equal([]string{"v5 deployed", "v4 superseded"}))
		},
	} {
		t.Run(name, func(t *testing.T) { do(newEnv(t)) })
	}
}
